"""Which services are stopped first, and which never; Docker is not asked."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import docker
import pytest

from testbed.events import Events
from testbed.lifecycle import capacity, warm
from testbed.lifecycle.deployment import Deployment
from testbed.lifecycle.lease import lease_tenants
from testbed.lifecycle.store import Record
from testbed.model.load import parse_topology
from testbed.plan.build import build_plan
from testbed.plan.identity import parse_deployment_id
from testbed.plan.resources import TenantPlan

TEXT = "services_start: lease\ntenants: {a: {services: {dns}}, b: {services: {dns}}, c: {}, d: {}}"
CLIENT: docker.DockerClient = SimpleNamespace()


class Machine:
    """Containers that run, and tenants in the order in which they were stopped and started."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.running: set[str] = set()
        self.stopped: list[str] = []
        self.started: list[str] = []

    def run(self, *names: str) -> None:
        for name in names:
            self.running |= {c.name for c in self.deployment.plan.tenant(name).containers}

    def want(self, name: str, ago_s: float) -> None:
        folder = self.deployment.folder / "wanted"
        folder.mkdir(exist_ok=True)
        (folder / name).touch()
        os.utime(folder / name, (1e9 - ago_s, 1e9 - ago_s))

    def stop(self, tenant: TenantPlan) -> int:
        self.stopped.append(tenant.name)
        names = {container.name for container in tenant.containers}
        gone = len(self.running & names)
        self.running -= names
        return gone


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    topology = parse_topology(TEXT, where="t", name="t")
    plan = build_plan(topology, parse_deployment_id("aaaaaa"))
    made = Machine(Deployment(Record(plan.deployment, "t", "t.yaml", 0.0), plan, tmp_path))

    def start(_client: Any, _deployment: Any, cold: Any, *_: Any) -> None:
        made.started += [tenant.name for tenant in cold]

    monkeypatch.setattr(warm, "_running", lambda *_: frozenset(made.running))
    monkeypatch.setattr(warm, "_stop", lambda _client, _deployment, tenant: made.stop(tenant))
    monkeypatch.setattr(warm, "_start", start)
    return made


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    def set_limit(number: int) -> None:
        monkeypatch.setattr(capacity, "warm_limit", lambda *_: number)

    return set_limit


def ensure(machine: Machine, *names: str, alone: bool = False) -> tuple[str, ...]:
    return warm.ensure_warm(CLIENT, machine.deployment, names, Events(), alone=alone)


def test_longest_unwanted_goes_first(machine: Machine, limit: Callable[[int], None]) -> None:
    machine.run("a", "b", "c")  # 2 + 2 + 1 containers
    for name, ago_s in (("a", 10), ("b", 30), ("c", 20)):
        machine.want(name, ago_s)
    limit(5)
    assert ensure(machine, "d") == ("d",)
    assert machine.stopped == ["b"]
    assert machine.started == ["d"]


def test_never_wanted_goes_before_all(machine: Machine, limit: Callable[[int], None]) -> None:
    machine.run("a", "b", "c")
    machine.want("a", 50)
    machine.want("b", 60)
    limit(5)
    ensure(machine, "d")
    assert machine.stopped == ["c"]


def test_no_more_than_needed_is_stopped(machine: Machine, limit: Callable[[int], None]) -> None:
    machine.run("a", "b", "c")
    limit(6)
    ensure(machine, "d")
    assert not machine.stopped


def test_leased_ones_stay_however_old(machine: Machine, limit: Callable[[int], None]) -> None:
    machine.run("a", "b", "c")
    for name, ago_s in (("a", 90), ("b", 80), ("c", 1)):
        machine.want(name, ago_s)
    limit(5)
    with lease_tenants(machine.deployment.folder, [["a", "b"]]):
        ensure(machine, "d")
    assert machine.stopped == ["c"]


def test_where_all_are_leased_none_goes(machine: Machine, limit: Callable[[int], None]) -> None:
    machine.run("a", "b")
    limit(1)
    with lease_tenants(machine.deployment.folder, [["a", "b"]]):
        assert ensure(machine, "c") == ("c",)
    assert not machine.stopped


def test_wanted_ones_are_spared_alone_too(machine: Machine, limit: Callable[[int], None]) -> None:
    machine.run("a", "b")
    limit(1)
    assert ensure(machine, "a", "c", alone=True) == ("c",)
    assert machine.stopped == ["b"]


def test_warm_ones_are_left_alone_and_remembered(
    machine: Machine, limit: Callable[[int], None]
) -> None:
    machine.run("a")
    machine.want("a", 1000)
    limit(1)
    assert ensure(machine, "a") == ()
    assert not machine.stopped + machine.started
    assert (machine.deployment.folder / "wanted" / "a").stat().st_mtime > 1e9
