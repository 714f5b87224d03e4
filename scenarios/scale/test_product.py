"""A daemon with A services, B workers and C tenants: its cost is A x B, whatever C is.

With a network namespace a tenant it would be A x B x C: a socket belongs to one namespace for good,
and so would the workers that wait on it.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from testbed.api import Deadline, Method, NotYet, Running, Tenant, held, route_to, wait_for

LISTENERS = 2  # TCP and UDP
OTHER_THREADS = 1  # it waits on all sockets; a second one warms up for some seconds after the start
BASE_KIB, TENANT_KIB = 36 << 10, 16  # a tenant's entry in the configuration, nothing that runs
REQUESTS = 8

few = pytest.mark.topology(str(Path(__file__).with_name("few.yaml")))
thousand = pytest.mark.topology("thousand")

_FACTS = """
pid=$(cat /run/tenantd.pid)
cat /run/tenantd/ready.json
awk '/^Threads:/ {print $2}' /proc/$pid/status
awk '/^VmRSS:/ {print $2}' /proc/$pid/status
ss -Hlntup | grep -c "pid=$pid,"
"""


def daemon(deployment: Running) -> tuple[dict[str, Any], int, int, int]:
    """Return what the daemon says of itself, its threads, memory (KiB), and listening sockets."""
    lines = deployment.sut.channel.run(["sh", "-c", _FACTS]).stdout.splitlines()
    threads, memory_kib, sockets = map(int, lines[-3:])
    return json.loads(lines[0]), threads, memory_kib, sockets


@pytest.mark.exclusive
@pytest.mark.parametrize("count", [pytest.param(7, marks=few), pytest.param(1000, marks=thousand)])
def test_threads_and_sockets_are_as_many_for_a_thousand_as_for_a_few(
    count: int, deployment: Running
) -> None:
    def warmed_up() -> tuple[dict[str, Any], int, int, int]:
        found = daemon(deployment)
        if found[1] > found[0]["workers"] + OTHER_THREADS:
            raise NotYet(f"{found[1]} threads")
        return found

    said, threads, memory_kib, sockets = wait_for(
        warmed_up, Deadline.after(30), what="the daemon has as many threads as it keeps"
    )
    assert said["tenants"] == count
    assert (threads, sockets) == (said["workers"] + OTHER_THREADS, LISTENERS)
    assert memory_kib < BASE_KIB + count * TENANT_KIB


@thousand
@pytest.mark.tenants("customer-0001", "customer-0004")
def test_one_busy_tenant_has_the_workers_of_all(
    deployment: Running, tenants: tuple[Tenant, ...]
) -> None:
    """All but one, which is kept for others: see docs/daemon.md."""
    said, threads, _, _ = daemon(deployment)
    for tenant in tenants:  # two services of the daemon: one asks directories, one KDCs
        with ExitStack() as stack:
            route = route_to(tenant.client)
            talks = [stack.enter_context(held(tenant.client, route)) for _ in range(REQUESTS)]
            for talk in talks:
                assert "connected" in talk.connected()
            user = tenant.users[0]
            request = {"op": "login", "user": user.name, "password": user.password}
            nonces = [talk.send(request) for talk in talks]
            replies = [talk.reply(nonce) for talk, nonce in zip(talks, nonces, strict=True)]
        assert {(r.error, r.verdict, r.tenant) for r in replies} == {("", "accepted", tenant.name)}
        assert len({reply.worker for reply in replies}) >= said["workers"] - 1
    assert {tenant.plan.login for tenant in tenants} == {Method.LDAP, Method.KERBEROS}
    assert daemon(deployment)[1] == threads
