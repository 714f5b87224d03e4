"""The command line tells the truth of a running deployment: health, drift, leases, frames, events."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest

from testbed.api import Deadline, Running, Tenant, ping, wait_for

TESTBED = str(Path(sys.executable).with_name("testbed"))
_LIMIT_S = 120


def told(deployment: Running, *arguments: str) -> tuple[int, Any]:
    """Run a verb with `--format json`; return its exit code and what it says."""
    done = subprocess.run(
        [TESTBED, *arguments, "--format", "json"],
        env={**os.environ, "TESTBED_DEPLOYMENT": deployment.plan.deployment},
        capture_output=True,
        timeout=_LIMIT_S,
        check=False,
    )
    return done.returncode, json.loads(done.stdout)


@contextmanager
def at_work(deployment: Running, *arguments: str) -> Iterator[IO[bytes]]:
    """Let a verb work while the block lasts; yield what it prints on stdout."""
    with subprocess.Popen(
        [TESTBED, *arguments],
        env={**os.environ, "TESTBED_DEPLOYMENT": deployment.plan.deployment},
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout
        finally:
            process.terminate()


@pytest.mark.exclusive
@pytest.mark.tenants(1)
def test_status_tells_a_fib_that_somebody_has_changed(deployment: Running, tenant: Tenant) -> None:
    fib = str(tenant.fib)
    code, status = told(deployment, "status")
    (seen,) = status["deployments"]
    assert (code, seen["drift"]) == (0, [])
    # Other workers may wait for it.
    held = [lease for lease in seen["leases"] if lease["holds"] is not None]
    assert [(lease["whole"], lease["pid"]) for lease in held] == [(True, os.getpid())]
    route = (
        "198.51.100.0/24",
        "dev",
        deployment.plan.sut.interface,
        "table",
        f"{100000 + int(fib)}",
    )
    with deployment.broken("egress-guard"):  # its end applies the plan again, and the route goes
        deployment.sut.channel.run(["ip", "route", "add", *route])
        code, status = told(deployment, "status")
    (seen,) = status["deployments"]
    found = {f"{drift['subject']}: {drift['found']}" for drift in seen["drift"]}
    assert code == 1
    assert found == {
        "sut: egress-guard is broken on purpose",
        f"{tenant.name}: route 198.51.100.0/24 is not planned",
    }
    assert [part["name"] for part in seen["parts"] if not part["ok"]] == ["fibs"]
    assert told(deployment, "status")[0] == 0


@pytest.mark.tenants(2)
def test_capture_streams_the_frames_of_its_tenant_alone(
    deployment: Running, tenants: tuple[Tenant, ...]
) -> None:
    own, other = tenants
    mac = bytes.fromhex(own.plan.router.uplink.mac.replace(":", ""))
    with at_work(deployment, "capture", own.name, "--seconds", "60") as stream:
        assert stream.read(4) == bytes.fromhex("4d3cb2a1")  # pcap with nanoseconds
        stream.read(20)
        for tenant in (other, own):
            assert ping(tenant.client, tenant.server).ok
        # Nothing of the other tenant's, whose ping came first, is before our request and its answer.
        for _ in range(2):
            length = int.from_bytes(stream.read(16)[8:12], sys.byteorder)
            assert mac in stream.read(length)[:12]


@pytest.mark.tenants(1)
def test_events_tell_this_scenarios_lease(
    deployment: Running, tenant: Tenant, request: pytest.FixtureRequest
) -> None:
    purpose = f"{tenant.name}: {request.node.nodeid}"

    def lease() -> list[str]:
        with at_work(deployment, "events", "--tail", "200", "--format", "json") as stream:
            events = [json.loads(line) for line in stream]
        return [e["step"] for e in events if e["detail"].startswith(purpose)]

    assert wait_for(lease, Deadline.after(20), what="the lease in the events") == ["lease taken"]


@pytest.mark.tenants(1)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("where", ["sut", "client"])
def test_a_signal_ends_what_exec_runs_without_a_terminal(
    deployment: Running, tenant: Tenant, where: str, number: signal.Signals
) -> None:
    target = "sut" if where == "sut" else f"{tenant.name}:client"
    what = f"sleep 40.{os.getpid()}"  # of this test alone: others run commands in the SUT as well
    count = ("sh", "-c", f"pgrep -cfx '{what}' || true")

    def running() -> int:
        if where == "sut":
            return int(deployment.sut.channel.run(count).stdout)
        return int(tenant.client.run(count).output)

    argv = [TESTBED, "exec", target, "--", "sh", "-c", f"echo begun; exec {what}"]
    environment = {**os.environ, "TESTBED_DEPLOYMENT": deployment.plan.deployment}
    with subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        assert running() == 1, "one that runs is not seen"
        process.send_signal(number)
        try:
            is_killed = number == signal.SIGKILL
            assert process.wait(timeout=20) == (-number if is_killed else 128 + number)
        finally:
            process.kill()
    left_s = 20 if is_killed else 0  # to its watcher, which goes on alone
    wait_for(lambda: running() == 0, Deadline.after(left_s), what="its end there")
