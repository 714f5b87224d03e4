"""What a router, a container, a FIB and `testbed` itself take: the figures of `lifecycle.capacity`.

    python -m testbed.bench footprint

Containers are measured by their control group (everything, files' cache too) and the PSS of their
shim, which no other process on the machine disturbs; a FIB by what the guest has less; `testbed` by
the most that a process has had which computed a plan.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import docker

from testbed.drivers import containers, process
from testbed.lifecycle import daemon
from testbed.lifecycle.deployment import Deployment
from testbed.model.load import parse_topology
from testbed.plan.build import build_plan
from testbed.plan.fibstate import fib_state
from testbed.plan.identity import parse_deployment_id
from testbed.plan.resources import Plan, VmPlan
from testbed.sut.extension import COMMAND
from testbed.sut.protocol import Sut

_ID = "benchy"  # of no deployment
_PLAN = """
import re, sys
import testbed.cli.views, testbed.lifecycle.up
from testbed.bench.footprint import plan_of
from testbed.plan.daemon import daemon_config
from testbed.plan.fibstate import fib_state
plan = plan_of(int(sys.argv[1]))
fib_state(plan), daemon_config(plan)
# Of this process alone: ru_maxrss would begin with what the one that started it has.
print(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
"""
# The most that fibctl has had comes last on standard error: it is gone when there is time to look.
_APPLY = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(done.returncode)
"""


def plan_of(count: int) -> Plan:
    """Return the plan of `count` tenants such as those of topologies/thousand.yaml."""
    text = "tenants: {t: {count: %d, mix: [{share: 3, services: {dns, ldap}}, {services: {dns, kdc}}]}}"
    topology = parse_topology(text % count, where="bench", name="bench")
    return build_plan(topology, parse_deployment_id(_ID))


def of_testbed(few: int, many: int) -> dict[str, Any]:
    """Return what a process needs to compute a plan, and each tenant adds."""
    peaks = [_peak_kib(count) for count in (few, many)]
    return {
        "footprint": "testbed",
        "mib": peaks[0] / 1024,
        "kib_a_tenant": (peaks[1] - peaks[0]) / (many - few),
        "tenants": many,
    }


def _peak_kib(count: int) -> int:
    return int(process.run([sys.executable, "-c", _PLAN, str(count)], timeout_s=600).stdout)


def of_containers(
    client: docker.DockerClient, deployment: Deployment, names: list[str]
) -> Iterator[dict[str, Any]]:
    """Return what the running containers of the tenants called `names` take, by role."""
    taken: dict[str, list[int]] = {}
    for tenant in map(deployment.plan.tenant, names):
        for container in tenant.containers:
            pid = containers.main_process(client, container.name)
            taken.setdefault(container.role, []).append(_group_kib(pid) + _shim_kib(pid))
    for role, sizes in taken.items():
        yield {
            "container": role,
            "mib": median(sizes) / 1024,
            "most_mib": max(sizes) / 1024,
            "containers": len(sizes),
        }


def _shim_kib(pid: int) -> int:
    return _pss_kib(process.parent(pid))


def _pss_kib(pid: int) -> int:
    rows = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return int(next(row for row in rows if row.startswith("Pss:")).split()[1])


def _group_kib(pid: int) -> int:
    """Return what the control group of `pid` is charged, in either version of control groups.

    Files' cache is left out: who reads a file first is charged for it, and the kernel drops it.
    """
    for row in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = row.split(":", 2)
        if "memory" in controllers.split(","):
            group = Path(f"/sys/fs/cgroup/memory{path}")
            return _charged_kib(group / "memory.usage_in_bytes", "total_")
        group = Path(f"/sys/fs/cgroup{path}")
        if not controllers and (group / "memory.current").exists():
            return _charged_kib(group / "memory.current", "")
    raise LookupError(f"process {pid} is in no control group that counts memory")


def _charged_kib(usage: Path, prefix: str) -> int:
    rows = (row.split() for row in (usage.parent / "memory.stat").read_text().splitlines())
    found = {name: int(size) for name, size in rows}
    cached = sum(found[f"{prefix}{kind}_file"] for kind in ("active", "inactive"))
    return (int(usage.read_text()) - cached) >> 10


def of_guest(
    deployment: Deployment, count: int, meanwhile: Callable[[int], Iterator[dict[str, Any]]]
) -> Iterator[dict[str, Any]]:
    """Give the guest `count` FIBs and a daemon that serves them; return what each takes.

    Yields also what is measured `meanwhile`, given how many FIBs there are: first few, then many.
    The guest is left with the many.
    """
    sut, machine = deployment.sut(), deployment.plan.sut.machine
    if not isinstance(machine, VmPlan):
        return
    _apply(sut, deployment.plan)
    many = _grown(deployment.plan, count)
    added = len(many.sut.fibs) - len(deployment.plan.sut.fibs)
    before = _guest_kib(sut)
    yield from meanwhile(len(deployment.plan.sut.fibs))
    start = time.monotonic()
    peak_kib = _apply(sut, many)
    applied_s = time.monotonic() - start
    used = _guest_kib(sut)
    yield {
        "footprint": "guest",
        "memory_mib": machine.memory_mib,
        "system_mib": machine.memory_mib - before["MemAvailable"] / 1024,
        "kib_a_fib": (before["MemAvailable"] - used["MemAvailable"]) / added,
        "fibctl_kib_a_fib": peak_kib / added,
        "apply_s": applied_s,
        "fibs": len(many.sut.fibs),
    }
    yield from meanwhile(len(many.sut.fibs))
    yield {"footprint": "qemu", "mib": _qemu_mib(deployment, machine)}


def _grown(plan: Plan, count: int) -> Plan:
    """Return `plan` with as many tenants more as make `count`: its own keep their FIBs."""
    many, own = plan_of(count), len(plan.tenants)
    fibs = (*plan.sut.fibs, *(fib for fib in many.sut.fibs if fib.fib > own))
    return replace(
        plan,
        tenants=(*plan.tenants, *many.tenants[own:]),
        sut=replace(plan.sut, fibs=fibs),
    )


def _apply(sut: Sut, plan: Plan) -> int:
    argv = ["python3", "-c", _APPLY, COMMAND, "apply", "-"]
    said = sut.channel.run(argv, stdin=fib_state(plan), timeout_s=1800)
    daemon.ensure(plan, sut)
    return int(said.stdout)


def _guest_kib(sut: Sut) -> Mapping[str, int]:
    script = "sync; echo 3 >/proc/sys/vm/drop_caches; cat /proc/meminfo"
    rows = sut.channel.run(["sh", "-c", script]).stdout.splitlines()
    return {row.partition(":")[0]: int(row.split()[1]) for row in rows}


def _qemu_mib(deployment: Deployment, machine: VmPlan) -> float:
    """Return what QEMU takes beside its guest's memory, which is its largest mapping."""
    pid = next(process.owned(f"{deployment.plan.deployment}/qemu"))
    guest_kib = machine.memory_mib << 10
    total, size = 0, 0
    for row in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        word, _, rest = row.partition(":")
        if word == "Size":
            size = int(rest.split()[0])
        elif word == "Pss" and size < guest_kib:
            total += int(rest.split()[0])
    return total / 1024
