"""What a topology needs of this machine, computed before anything is made, and what there is.

A topology that does not fit is refused with the numbers: half a deployment helps nobody, and a
machine without memory kills whatever it likes.

The figures are what `python -m testbed.bench footprint wiring` measures (2 cores, Linux 6.18, Docker
20.10, guest Debian 12 under TCG), rounded up. `make bench` measures them again, beside these.
"""

from __future__ import annotations

import math
import os
import resource
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from testbed.errors import PreflightError
from testbed.plan.resources import Plan, Role, VmPlan

ROUTER_KIB = 400
"""A namespace with a veth pair, a macvlan leg, addresses and neighbours of two families."""
CONTAINER_MIB: Mapping[Role, int] = MappingProxyType(
    {
        Role.CLIENT: 6,
        Role.DNS: 11,
        Role.LDAP: 17,
        Role.LDAP2: 17,
        Role.KDC: 7,
        Role.KDC2: 9,
    }
)
"""A service with its shim and some of its files' cache, and 2 MiB for what dockerd and the kernel keep."""
QEMU_MIB = 330
"""QEMU beside its guest's memory: translated code (256 MiB at most) and devices."""
GUEST_MIB = 260
"""What the guest's system and the daemon take, of up to 2 GiB; the kernel keeps 4 % of what is more."""
GUEST_FIB_KIB = 100
"""A FIB in the guest, with two families: 64 in the kernel and the daemon, 36 while fibctl works."""
OURSELVES_MIB = 100
OURSELVES_TENANT_KIB = 20
"""`testbed` itself with a plan in memory, and its documents for the SUT."""
RESERVE_MIB = 1024
"""Left for everybody else on the machine, tests among them."""

_CONTAINER_PROCESSES = 16  # the shim's threads, init, the service
_CONTAINER_FILES = 40
_TENANT_FILES = 1  # kernel objects do not count; the tap, sockets and pipes do
_WIRING_FILES = 256
LEAST_WARM = 12
"""So many containers run even where memory says fewer: a scenario with a few tenants needs them."""
WARM = "TESTBED_WARM"


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that is needed: how much of it, how much there is, and what it is made of."""

    what: str
    needed: int
    available: int
    unit: str
    made_of: str
    mend: str

    @property
    def fits(self) -> bool:
        """Whether there is enough."""
        return self.needed <= self.available

    def __str__(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        return f"{self.what}: {self.needed:,} of {self.available:,}{unit} ({self.made_of})"


def budget(plan: Plan) -> tuple[Line, ...]:
    """Return what `plan` needs, when nothing of it exists yet, beside what this machine has."""
    return (_memory(plan), *_guest_memory(plan), *_kernel_limits(plan))


def require(lines: tuple[Line, ...]) -> None:
    """Raise one PreflightError that names everything there is too little of."""
    lacking = [line for line in lines if not line.fits]
    if lacking:
        raise PreflightError(
            "this topology does not fit: " + "; ".join(map(str, lacking)),
            hint="\n    ".join(dict.fromkeys(line.mend for line in lacking)),
        )


def warm_limit(plan: Plan, running: int) -> int:
    """Return how many containers may run on this machine, `running` of which do already.

    As many as memory allows, or as the environment's TESTBED_WARM says; never fewer than a scenario
    with a few tenants needs.

    Raises:
        PreflightError: when TESTBED_WARM is no number.
    """
    of_plan = sum(len(tenant.containers) for tenant in plan.tenants)
    given = os.environ.get(WARM, "")
    if given and not given.isdecimal():
        raise PreflightError(
            f"{WARM} is {given!r}", hint="say how many service containers may run: a number"
        )
    if given:
        allowed = int(given)
    else:
        free_mib = _available_mib() - RESERVE_MIB
        allowed = running + int(free_mib / max(1.0, _mean_container_mib(plan)))
    return max(LEAST_WARM, min(of_plan, allowed))


def _memory(plan: Plan) -> Line:
    tenants = len(plan.tenants)
    machine = plan.sut.machine
    vm_mib = machine.memory_mib + QEMU_MIB if isinstance(machine, VmPlan) else 0
    routers_mib = tenants * ROUTER_KIB >> 10
    ours_mib = OURSELVES_MIB + (tenants * OURSELVES_TENANT_KIB >> 10)
    started = _started(plan)
    parts = (
        (vm_mib, "VM"),
        (routers_mib, f"{tenants:,} routers"),
        (
            math.ceil(started * _mean_container_mib(plan)),
            f"{started:,} containers{' at least' * plan.starts_on_lease}",
        ),
        (ours_mib, "testbed"),
        (RESERVE_MIB, "reserve"),
    )
    return Line(
        "memory",
        sum(size for size, _ in parts),
        _available_mib(),
        "MiB",
        ", ".join(f"{name} {size:,}" for size, name in parts if size),
        "end something large, or give the topology fewer tenants or `services_start: lease`",
    )


def _guest_memory(plan: Plan) -> Iterator[Line]:
    machine = plan.sut.machine
    if isinstance(machine, VmPlan):
        fibs_mib = len(plan.sut.fibs) * GUEST_FIB_KIB >> 10
        yield Line(
            "memory of the VM",
            GUEST_MIB + fibs_mib,
            machine.memory_mib,
            "MiB",
            f"system {GUEST_MIB}, {len(plan.sut.fibs):,} FIBs {fibs_mib:,}",
            f"say `sut: {{memory_mib: {_rounded(GUEST_MIB + fibs_mib)}}}` in the topology",
        )


def _kernel_limits(plan: Plan) -> Iterator[Line]:
    tenants, started = len(plan.tenants), _started(plan)
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    mend = "raise it: ulimit -n 4096"
    yield Line("open files a process", _WIRING_FILES, soft, "", "descriptors while wiring", mend)
    used, _, most = map(int, Path("/proc/sys/fs/file-nr").read_text().split())
    needed = _WIRING_FILES + tenants * _TENANT_FILES + started * _CONTAINER_FILES
    yield _limit("fs.file-max", needed, most - used, f"{started:,} containers, {tenants:,} routers")
    mounts = Path("/proc/self/mountinfo").read_bytes()
    most_mounts = _sysctl("fs/mount-max", 100_000)
    yield _limit(
        "fs.mount-max", tenants + started * 4, most_mounts - mounts.count(b"\n"), "a mount a router"
    )
    most_spaces = _sysctl("user/max_net_namespaces", 1 << 31)
    spaces = mounts.count(b" nsfs ")
    made_of = "a namespace a router and container"
    yield _limit("user.max_net_namespaces", tenants + started, most_spaces - spaces, made_of)
    processes = int(Path("/proc/loadavg").read_text().split()[3].split("/")[1])
    most_processes = min(_sysctl("kernel/threads-max", 1 << 22), _sysctl("kernel/pid_max", 1 << 22))
    made_of = f"{_CONTAINER_PROCESSES} a container"
    yield _limit(
        "kernel.threads-max and pid_max",
        started * _CONTAINER_PROCESSES + 64,
        most_processes - processes,
        made_of,
    )


def _limit(name: str, needed: int, available: int, made_of: str) -> Line:
    first = name.partition(" ")[0]
    return Line(name, needed, available, "", made_of, f"raise it: sysctl -w {first}=...")


def _started(plan: Plan) -> int:
    """Return how many containers `up` starts, or must be able to start for a lease."""
    every = sum(len(tenant.containers) for tenant in plan.tenants)
    return min(every, LEAST_WARM) if plan.starts_on_lease else every


def _mean_container_mib(plan: Plan) -> float:
    """Return what a container of `plan` takes, taken over all of them."""
    sizes = [CONTAINER_MIB[container.role] for _, container in plan.containers()]
    return sum(sizes) / len(sizes) if sizes else 0.0


def _available_mib() -> int:
    rows = Path("/proc/meminfo").read_text().splitlines()
    return int(next(row for row in rows if row.startswith("MemAvailable")).split()[1]) >> 10


def _sysctl(key: str, default: int) -> int:
    path = Path("/proc/sys") / key
    return int(path.read_text()) if path.exists() else default


def _rounded(mib: int) -> int:
    return -(-mib // 256) * 256
