"""Churn for TESTBED_SOAK seconds at a thousand tenants: nothing grows, in the SUT or on the host.

After a first round, which fills caches, every count must stay what it is, and memory within bounds.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from scenarios.checks import assert_logs_in
from scenarios.scale.load import load
from testbed.api import Deadline, NotYet, Running, Tenant, wait_for

SOAK_S = float(os.environ.get("TESTBED_SOAK") or 60)
STAYING, LEAVING, LOGGING_IN = 20, 10, 2
REPLIES = 60
SETTLE_S = 90

# What the SUT has, as one JSON object: entries of all maps, descriptors, memory in KiB.
_GUEST = """
import glob, json, subprocess
meminfo = dict(line.split(":") for line in open("/proc/meminfo"))
kib = {key: int(value.split()[0]) for key, value in meminfo.items()}
pid = open("/run/tenantd.pid").read().strip()
status = dict(line.split(":", 1) for line in open(f"/proc/{pid}/status"))
maps = json.loads(subprocess.run(["bpftool", "--json", "map", "show"], capture_output=True).stdout)
print(json.dumps({
    "slab_kib": kib["SUnreclaim"],
    "used_kib": kib["MemTotal"] - kib["MemAvailable"],
    "daemon_kib": int(status["VmRSS"].split()[0]),
    "daemon_files": len(glob.glob(f"/proc/{pid}/fd/*")),
    "daemon_threads": int(status["Threads"]),
    "files": int(open("/proc/sys/fs/file-nr").read().split()[0]),
    "bpf_maps": len(maps),
    "rules": len(subprocess.run(["ip", "rule"], capture_output=True).stdout.splitlines()),
    "routes": len(subprocess.run(["ip", "route", "show", "table", "all"],
                                 capture_output=True).stdout.splitlines()),
}))
"""
EXACT = ("bpf_maps", "rules", "routes", "daemon_threads", "links", "namespaces")
SLACK = {
    # A connection that is being closed is still there for a moment.
    "daemon_files": 4,
    "files": 300,
    "slab_kib": 8 << 10,
    "used_kib": 32 << 10,
    "daemon_kib": 8 << 10,
    "own_files": 4,
}

pytestmark = [
    pytest.mark.topology("thousand"),
    pytest.mark.timeout(SOAK_S + 1200),
    # Tenants go while packets of theirs are under way.
    pytest.mark.expects("sender", "guard-router", "guard-source", "guard-no-fib", "only"),
]


def counts(deployment: Running) -> dict[str, int]:
    """Return what there is, in the SUT and on the host."""
    said = deployment.sut.channel.run(["python3", "-c", _GUEST], timeout_s=120)
    found: dict[str, int] = json.loads(said.stdout)
    identity = str(deployment.plan.deployment)
    found["links"] = sum(identity in path.name for path in Path("/sys/class/net").iterdir())
    found["namespaces"] = sum(identity in path.name for path in Path("/run/netns").iterdir())
    found["own_files"] = len(list(Path("/proc/self/fd").iterdir()))
    return found


def grown(before: Mapping[str, int], now: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    """Return what there is more of than is allowed: (before, now)."""
    allowed = {**dict.fromkeys(EXACT, 0), **SLACK}
    return {
        key: (before[key], now[key])
        for key, slack in allowed.items()
        if now[key] > before[key] + slack
    }


def one_round(deployment: Running, tenants: Sequence[Tenant], draw: random.Random) -> None:
    """Load by some, others leave and return, real services start, log in, and stop."""
    drawn = draw.sample(deployment.idle(tenants), STAYING + LEAVING + LOGGING_IN)
    staying, leaving = drawn[:STAYING], drawn[STAYING : STAYING + LEAVING]
    using = drawn[STAYING + LEAVING :]
    with deployment.players(staying) as players, load(players) as counted:
        with deployment.without(leaving):
            counted.await_more(REPLIES)
        deployment.start_services(using)
        for tenant in using:
            assert_logs_in(tenant)
        deployment.stop_services(using)
        counted.await_more(REPLIES)


@pytest.mark.exclusive
def test_nothing_grows_with_churn(deployment: Running, seed: int) -> None:
    draw = random.Random(seed)  # noqa: S311 - no secret
    tenants = [deployment.tenant(tenant.name) for tenant in deployment.plan.tenants]
    end_s = time.monotonic() + SOAK_S
    one_round(deployment, tenants, draw)
    before = counts(deployment)
    rounds = 0
    while rounds < 1 or time.monotonic() < end_s:
        one_round(deployment, tenants, draw)
        rounds += 1

    def flat() -> bool:
        found = grown(before, counts(deployment))
        if found:
            raise NotYet(f"after {rounds} rounds: {found}")
        return True

    # What was closed last takes the kernel a moment: TIME_WAIT is a minute.
    wait_for(flat, Deadline.after(SETTLE_S), what="nothing has grown")
