"""What several scenarios ask in the same way; a negative control asks it of a broken SUT.

Each asserts on results; each carries its own positive control.
"""

from __future__ import annotations

from contextlib import ExitStack

from testbed.api import (
    Capture,
    Frame,
    Method,
    Plan,
    Reached,
    Reply,
    Tenant,
    connect,
    get_ticket,
    held,
    leaks,
    log_in,
    new_nonce,
    ping,
    present_ticket,
    route_to,
    service_token,
    who_am_i,
)

LDAP_PORT, KERBEROS_PORT, DNS_PORT = 389, 88, 53
CLOSED_PORT = 7
SOURCE_PORT = 40000


def assert_served(tenant: Tenant) -> None:
    """The tenant's client reaches each of its server addresses and is served in the tenant's FIB."""
    for address in tenant.plan.server_addresses:
        reply = who_am_i(tenant.client, route_to(tenant.client, address=address.ip))
        assert (reply.error, reply.fib, reply.tenant) == ("", tenant.fib, tenant.name)
        assert reply.local == address.ip


def assert_closed_port_refuses(tenant: Tenant) -> None:
    """A port that nobody listens on answers with a RST at once, not with silence."""
    connected = connect(tenant.client, tenant.server, CLOSED_PORT, wait_s=1.5)
    assert connected.result is Reached.REFUSED
    assert connected.elapsed_s < 1


def assert_pings(tenant: Tenant) -> None:
    """Every server address of the tenant answers an echo request."""
    for address in tenant.plan.server_addresses:
        assert ping(tenant.client, address.ip, wait_s=1).ok, f"{tenant}: no echo from {address.ip}"


def assert_logs_in(tenant: Tenant, method: Method | None = None) -> Reply:
    """The tenant's first user is accepted with the right password, by the tenant's own server."""
    user = tenant.users[0]
    route = route_to(tenant.client)
    reply = log_in(tenant.client, route, user.name, user.password, method=method)
    assert_accepted(reply, tenant)
    return reply


def assert_accepted(reply: Reply, tenant: Tenant) -> None:
    """A login was accepted, by a thread and for a connection of the tenant's FIB."""
    assert (reply.error, reply.verdict, reply.reason) == ("", "accepted", "")
    assert (reply.fib, reply.thread_fib, reply.tenant) == (tenant.fib, tenant.fib, tenant.name)


def ticket_for_us(tenant: Tenant) -> str:
    """Return what the tenant's first user shows us to be let in without a password."""
    user = tenant.users[0]
    cache = new_nonce(tenant.name)
    ticket = get_ticket(tenant.client, user.name, user.password, cache=cache)
    assert ticket.ok, ticket.error
    return service_token(tenant.client, ticket.cache, tenant.plan.server_host)


def assert_ticket_is_its_tenants(token: str, tenant: Tenant, twin: Tenant) -> Reply:
    """What opens at `tenant` opens nothing at its twin; return what `tenant` was told."""
    stolen = present_ticket(twin.client, route_to(twin.client), token)
    assert (stolen.verdict, stolen.tenant) == ("refused", twin.name)
    own = present_ticket(tenant.client, route_to(tenant.client), token)
    assert (own.verdict, own.tenant) == ("accepted", tenant.name)
    return own


def assert_served_at_once(tenants: tuple[Tenant, ...]) -> None:
    """All clients hold a connection from the same address and source port at the same time."""
    with ExitStack() as stack:
        connections = []
        for tenant in tenants:
            route = route_to(tenant.client, source_port=SOURCE_PORT, timeout_s=5)
            connections.append(stack.enter_context(held(tenant.client, route)))
        for connection in connections:
            assert "connected" in connection.connected()
        replies = [connection.ask({"op": "whoami"}) for connection in connections]
    client_addresses = {reply.peer for reply in replies}
    assert len(client_addresses) == 1, "the clients are not alike: nothing was shown"
    assert [reply.tenant for reply in replies] == [tenant.name for tenant in tenants]
    assert [reply.fib for reply in replies] == [tenant.fib for tenant in tenants]


def assert_no_leak(plan: Plan, wire: Capture, nonces: dict[str, str] | None = None) -> None:
    """Not one frame stands at a router that is not its tenant's; the SUT has sent some."""
    frames = wire.frames()
    assert any(frame.source_mac == plan.sut.machine.mac for frame in frames), "nothing was captured"
    found = leaks(plan, frames, nonces=nonces)
    assert not found, "\n".join(str(leak) for leak in found)


def server_frames(frames: tuple[Frame, ...], tenant: Tenant, port: int) -> tuple[Frame, ...]:
    """Return the frames between the SUT and port `port` in the tenant's own network."""
    mac = tenant.plan.router.uplink.mac
    return tuple(
        frame
        for frame in frames
        if mac in {frame.source_mac, frame.destination_mac} and frame.touches(port=port)
    )
