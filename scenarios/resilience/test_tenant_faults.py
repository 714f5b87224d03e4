"""Every fault bites while it lasts, leaves other tenants alone, and is undone."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from scenarios.checks import assert_logs_in, assert_served
from testbed.api import (
    Reached,
    Record,
    Role,
    Running,
    Tenant,
    connect,
    faults,
    log_in,
    ping,
    resolve,
    route_to,
)

pair_with_ldap = pytest.mark.tenants(2, services=["dns", "ldap"])

# Says the numbers of datagrams in the order in which they came.
COUNTER = """
port, count = int(sys.argv[1]), int(sys.argv[2])
with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as s:
    s.bind(("::", port))
    s.settimeout(20)
    say("ready")
    say([int(s.recv(100)) for _ in range(count)])
"""
SEND_NUMBERS = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    for number in range(int(sys.argv[3])):
        s.sendto(str(number).encode(), (sys.argv[1], int(sys.argv[2])))
"""
FIRST_PORT = 23000
NUMBERS = 60


def verdict(tenant: Tenant) -> str:
    user = tenant.users[0]
    reply = log_in(tenant.client, route_to(tenant.client), user.name, user.password)
    assert (reply.error, reply.tenant) == ("", tenant.name)
    return reply.verdict


@pair_with_ldap
@pytest.mark.parametrize("role", [Role.LDAP, Role.DNS])
@pytest.mark.parametrize("how", [faults.service_stopped, faults.service_hung])
def test_lost_service_is_an_error_of_its_tenant_alone(
    how: Callable[..., AbstractContextManager[None]], role: Role, tenants: tuple[Tenant, ...]
) -> None:
    tenant, other = tenants
    assert verdict(tenant) == "accepted"
    with how(tenant, role):
        assert verdict(tenant) == "error"
        assert verdict(other) == "accepted"
    assert verdict(tenant) == "accepted"


@pair_with_ldap
@pytest.mark.parametrize("how", [faults.router_down, faults.link_down])
def test_lost_path_cuts_off_its_tenant_alone(
    how: Callable[..., AbstractContextManager[None]],
    deployment: Running,
    tenants: tuple[Tenant, ...],
) -> None:
    tenant, other = tenants
    port = deployment.plan.sut.port
    with how(tenant):
        reached = connect(tenant.client, tenant.server, port, wait_s=1).result
        assert reached in {Reached.SILENCE, Reached.UNREACHABLE}
        assert not ping(tenant.client, tenant.server, wait_s=1).ok
        assert verdict(other) == "accepted"
    assert_served(tenant)
    assert_logs_in(tenant)


@pytest.mark.tenants(2)
def test_delay_is_had_both_ways(deployment: Running, tenants: tuple[Tenant, ...]) -> None:
    tenant, other = tenants
    port = deployment.plan.sut.port
    with faults.line_impaired(tenant, delay_s=0.2) as passed:
        slow = connect(tenant.client, tenant.server, port, wait_s=5)
        quick = connect(other.client, other.server, port, wait_s=5)
        assert (slow.result, quick.result) == (Reached.YES, Reached.YES)
        assert slow.elapsed_s >= 0.4
        assert quick.elapsed_s < slow.elapsed_s
        assert passed.passed >= 2
    assert connect(tenant.client, tenant.server, port).elapsed_s < 0.4


@pytest.mark.tenants(1, services=["dns"])
def test_loss_costs_pings_and_no_login(tenant: Tenant, seed: int) -> None:
    with faults.line_impaired(tenant, loss=0.2, seed=seed) as passed:
        echo = ping(tenant.client, tenant.server, count=60)
        assert 0 < echo.received < echo.sent
        assert passed.lost >= echo.sent - echo.received
    assert ping(tenant.client, tenant.server, count=60).ok


def test_late_packets_are_overtaken(deployment: Running, tenant: Tenant, seed: int) -> None:
    port = FIRST_PORT + tenant.fib

    def order() -> list[int]:
        with deployment.program(COUNTER, port, NUMBERS) as program:
            assert program.said() == "ready"
            argv = ("python3", "-c", SEND_NUMBERS, str(tenant.server), str(port), str(NUMBERS))
            assert tenant.client.run(argv).exit_code == 0
            came: list[int] = program.said()
            return came

    with faults.line_impaired(tenant, late=0.2, seed=seed) as passed:
        reordered = order()
        assert passed.late > 0
    assert sorted(reordered) == list(range(NUMBERS))
    assert reordered != sorted(reordered)
    assert order() == list(range(NUMBERS))


@pytest.mark.tenants(2, services=["dns"])
def test_lie_is_believed_by_its_tenant_alone(tenants: tuple[Tenant, ...]) -> None:
    tenant, other = tenants
    lies = [Record("app.corp.test.", "A", "192.168.0.250")]

    def resolved(asker: Tenant) -> set[str]:
        reply = resolve(asker.client, route_to(asker.client), "app.corp.test")
        return {str(address) for address in reply.resolved if address.version == 4}

    truth, others = resolved(tenant), resolved(other)
    with faults.dns_lying(tenant, lies):
        assert resolved(tenant) == {"192.168.0.250"}
        assert resolved(other) == others
    assert resolved(tenant) == truth


@pytest.mark.exclusive
@pytest.mark.tenants(1)
def test_stopped_daemon_refuses_and_comes_back(
    deployment: Running, tenants: tuple[Tenant, ...]
) -> None:
    (tenant,) = tenants
    port = deployment.plan.sut.port
    with faults.daemon_stopped(deployment):
        assert connect(tenant.client, tenant.server, port, wait_s=2).result is Reached.REFUSED
        assert ping(tenant.client, tenant.server).ok, "the SUT itself is there"
    assert_served(tenant)


@pytest.mark.exclusive
@pytest.mark.tenants
def test_sut_that_was_off_serves_every_tenant_again(
    deployment: Running, tenants: tuple[Tenant, ...]
) -> None:
    port = deployment.plan.sut.port
    with faults.sut_off(deployment):
        silent = connect(tenants[0].client, tenants[0].server, port, wait_s=1).result
        assert silent in {Reached.SILENCE, Reached.UNREACHABLE}
    for tenant in tenants:
        assert_served(tenant)
        assert_logs_in(tenant)
