"""A tenant with two ways to the server: what comes by one is answered by the one that its FIB has.

A reply follows the FIB's route and not the way of its request: neither asymmetric routes nor a gateway
that is moved while connections are open make it another tenant's, or nobody's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pytest

from scenarios.checks import SOURCE_PORT, assert_pings, assert_served
from testbed.api import (
    Capture,
    Frame,
    Held,
    Reached,
    Running,
    Tenant,
    connect,
    faults,
    held,
    ping,
    route_to,
    who_am_i,
)

PORT = 7007

pytestmark = [pytest.mark.exclusive, pytest.mark.tenants(2, overlap="client")]


def ways(frames: Iterable[Frame], tenant: Tenant) -> tuple[set[str], set[str]]:
    """Return by which MACs requests to the tenant's IPv4 address came, and by which replies went."""
    of_it = [frame for frame in frames if frame.touches(address=tenant.server)]
    requests = {str(frame.source_mac) for frame in of_it if frame.destination == tenant.server}
    replies = {str(frame.destination_mac) for frame in of_it if frame.source == tenant.server}
    return requests, replies


def assert_speaks(connection: Held, tenant: Tenant) -> None:
    """The connection is answered, in the tenant's FIB."""
    reply = connection.ask({"op": "whoami"})
    assert (reply.error, reply.tenant, reply.fib) == ("", tenant.name, tenant.fib)


def ask_in_every_way(tenant: Tenant) -> None:
    """Ask over TCP and UDP and by ping, at the tenant's IPv4 address."""
    for udp in (False, True):
        reply = who_am_i(tenant.client, route_to(tenant.client, udp=udp))
        assert (reply.error, reply.tenant, reply.fib) == ("", tenant.name, tenant.fib)
    assert ping(tenant.client, tenant.server).ok
    assert connect(tenant.client, tenant.server, 7, wait_s=1.5).result is Reached.REFUSED


def test_reply_leaves_by_the_fibs_route_whichever_way_its_request_came(
    deployment: Running, tenants: Sequence[Tenant], wire: Capture
) -> None:
    tenant, other = tenants
    first = tenant.plan.router.uplink.mac
    ask_in_every_way(tenant)
    assert ways(wire.frames(), tenant) == ({first}, {first})
    with faults.line_added(deployment, tenant) as line:
        before = len(wire.frames())
        ask_in_every_way(tenant)
        assert_served(other)
        assert ways(wire.frames()[before:], tenant) == ({line.mac}, {first})
    assert_served(tenant)
    assert_pings(tenant)


@pytest.mark.expects("sender")
def test_control_line_that_the_fib_does_not_know_leads_nowhere(
    deployment: Running, tenants: Sequence[Tenant], wire: Capture
) -> None:
    """Who is no router of the FIB cannot speak for its tenant, with the very same packets."""
    tenant, other = tenants
    with faults.line_added(deployment, tenant, known=False) as line:
        before = len(wire.frames())
        assert connect(tenant.client, tenant.server, PORT, wait_s=1).result is Reached.SILENCE
        assert not ping(tenant.client, tenant.server, wait_s=1).ok
        assert ways(wire.frames()[before:], tenant) == ({line.mac}, set())
        assert_served(other)
    assert_served(tenant)


@pytest.mark.expects(strays=True)  # to the second line
def test_gateway_moves_while_connections_are_open(
    deployment: Running, tenants: Sequence[Tenant], wire: Capture
) -> None:
    """Both clients have one address and port: only FIBs tell their connections apart."""
    tenant, other = tenants
    first, others = tenant.plan.router.uplink.mac, other.plan.router.uplink.mac
    route, others_route = (route_to(t.client, source_port=SOURCE_PORT) for t in tenants)
    with (
        faults.line_added(deployment, tenant) as line,
        held(tenant.client, route) as connection,
        held(other.client, others_route) as neighbour,
    ):

        def replies_go_by() -> set[str]:
            before = len(wire.frames())
            assert_speaks(connection, tenant)
            assert_speaks(neighbour, other)
            ask_in_every_way(tenant)
            frames = wire.frames()[before:]
            assert ways(frames, other) == ({others}, {others})
            return ways(frames, tenant)[1]

        for one in (connection, neighbour):
            assert "connected" in one.connected()
        assert replies_go_by() == {first}
        with faults.gateway_moved(deployment, tenant, line):
            assert replies_go_by() == {line.mac}
        assert replies_go_by() == {first}
    assert_served(tenant)
