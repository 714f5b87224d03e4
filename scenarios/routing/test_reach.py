"""A client reaches its tenant's server addresses, and no other's."""

from __future__ import annotations

import pytest

from scenarios.checks import (
    CLOSED_PORT,
    assert_closed_port_refuses,
    assert_pings,
    assert_served,
)
from testbed.api import (
    Capture,
    Reached,
    Running,
    Tenant,
    connect,
    frames_of,
    ping,
    route_to,
    who_am_i,
)

TENANTS = ("alpha", "bravo", "charlie")
PAIRS = [(one, other) for one in TENANTS for other in TENANTS if one != other]
each_tenant = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.tenants(name)) for name in TENANTS]
)
each_pair = pytest.mark.parametrize(
    ("one", "other"), [pytest.param(*pair, marks=pytest.mark.tenants(*pair)) for pair in PAIRS]
)


@each_tenant
def test_client_is_served_at_its_own_server_addresses(name: str, tenant: Tenant) -> None:
    assert tenant.name == name
    assert_served(tenant)


@each_tenant
def test_udp_request_is_answered_from_the_address_it_was_sent_to(name: str, tenant: Tenant) -> None:
    del name
    for address in tenant.plan.server_addresses:
        # The client's socket is connected: an answer from another address would not be taken.
        route = route_to(tenant.client, address=address.ip, udp=True)
        reply = who_am_i(tenant.client, route)
        assert (reply.error, reply.fib, reply.tenant) == ("", tenant.fib, tenant.name)
        assert reply.local == address.ip


@each_tenant
def test_server_address_answers_ping(name: str, tenant: Tenant) -> None:
    del name
    assert_pings(tenant)


@each_tenant
def test_closed_port_answers_with_rst_in_the_right_tenant(
    name: str, tenant: Tenant, wire: Capture
) -> None:
    del name
    assert_closed_port_refuses(tenant)
    resets = [
        frame
        for frame in wire.frames()
        if "R" in frame.flags and (frame.source, frame.source_port) == (tenant.server, CLOSED_PORT)
    ]
    assert [frame.destination_mac for frame in resets] == [tenant.plan.router.uplink.mac]


@each_pair
def test_client_does_not_reach_another_tenants_server(
    one: str, other: str, tenants: tuple[Tenant, ...]
) -> None:
    del one, other
    tenant, stranger = tenants
    for address in stranger.plan.server_addresses:
        if address.version in {subnet.version for subnet in tenant.plan.network.subnets}:
            result = connect(tenant.client, address.ip, 7007, wait_s=1).result
            assert result in {Reached.UNREACHABLE, Reached.SILENCE}
            assert not ping(tenant.client, address.ip, wait_s=1).ok
    assert_served(tenant)  # the way out and the daemon work: only the other address does not


@pytest.mark.tenants("charlie", "alpha")
def test_address_without_fib_takes_that_of_its_interface(
    deployment: Running, tenants: tuple[Tenant, ...]
) -> None:
    charlie, alpha = tenants
    assert deployment.plan.sut.default_fib == charlie.fib
    for address in deployment.plan.sut.unassigned:
        reply = who_am_i(charlie.client, route_to(charlie.client, address=address.ip))
        assert (reply.error, reply.fib, reply.local) == ("", charlie.fib, address.ip)
        assert connect(alpha.client, address.ip, 7007, wait_s=1).result is not Reached.YES


@pytest.mark.tenants("alpha")
def test_fib_0_cannot_reach_a_tenants_network(
    deployment: Running, tenant: Tenant, wire: Capture
) -> None:
    client = tenant.plan.containers[0].addresses[0].ip
    ask = ("ping", "-n", "-c", "1", "-W", "1", str(client))
    sut = deployment.sut.channel
    # Positive control: the same question in the tenant's FIB is answered.
    assert sut.run(["fibctl", "exec", str(tenant.fib), "--", *ask]).returncode == 0
    seen = len(frames_of(wire.frames(), tenant.plan))
    assert seen >= 2
    refused = sut.run(ask, check=False)
    assert refused.returncode != 0
    assert "unreachable" in (refused.stdout + refused.stderr).lower()
    assert len(frames_of(wire.frames(), tenant.plan)) == seen
