"""Clients with the same address and port, at the same time: the wire shows whose frame is whose."""

from __future__ import annotations

import pytest

from scenarios.checks import assert_no_leak, assert_served_at_once
from testbed.api import (
    Capture,
    Record,
    Running,
    Tenant,
    ask,
    faults,
    frames_of,
    new_nonce,
    ping,
    resolve,
    route_to,
)

TENANTS = ("alpha", "bravo", "charlie")
all_tenants = pytest.mark.tenants(*TENANTS)


@all_tenants
def test_same_client_address_and_port_at_the_same_time(
    deployment: Running, tenants: tuple[Tenant, ...], wire: Capture
) -> None:
    assert_served_at_once(tenants)
    assert_no_leak(deployment.plan, wire)


@all_tenants
@pytest.mark.parametrize("udp", [False, True], ids=["tcp", "udp"])
def test_no_frame_of_a_tenant_at_anothers_router(
    deployment: Running, tenants: tuple[Tenant, ...], wire: Capture, *, udp: bool
) -> None:
    nonces = {new_nonce(tenant.name): tenant.name for tenant in tenants}
    for tenant, nonce in zip(tenants, nonces, strict=True):
        request = {"op": "echo", "nonce": nonce, "data": f"data {nonce}"}
        assert ask(tenant.client, route_to(tenant.client, udp=udp), request).tenant == tenant.name
        ping(tenant.client, tenant.server)
    frames = wire.frames()
    for tenant, nonce in zip(tenants, nonces, strict=True):
        own = [frame for frame in frames_of(frames, tenant.plan) if frame.has(nonce.encode())]
        assert {frame.source_mac == tenant.plan.router.uplink.mac for frame in own} == {
            True,
            False,
        }, f"{tenant}: request and answer were not both captured"
    assert_no_leak(deployment.plan, wire, nonces)


@all_tenants
def test_same_name_resolves_differently_in_each_tenant(
    deployment: Running, tenants: tuple[Tenant, ...], wire: Capture
) -> None:
    name = "app.corp.test"
    for tenant in tenants:
        expected = {
            record.value
            for record in tenant.plan.records
            if record.owner.rstrip(".") == name and record.type in {"A", "AAAA"}
        }
        assert expected
        reply = resolve(tenant.client, route_to(tenant.client), name)
        assert {str(address) for address in reply.resolved} == expected
        assert reply.thread_fib == tenant.fib
        dns_frames = [f for f in frames_of(wire.frames(), tenant.plan) if f.touches(port=53)]
        assert dns_frames, f"{tenant}: its DNS was not asked"
    assert_no_leak(deployment.plan, wire)


@pytest.mark.tenants(2, services=["dns"])
def test_name_that_changes_in_one_tenant_has_changed_there_alone(
    tenants: tuple[Tenant, ...],
) -> None:
    """Nobody between a tenant and its DNS remembers names: neither for it nor for others."""
    tenant, other = tenants
    name = tenant.plan.probe_name

    def addresses(one: Tenant) -> set[str]:
        return {str(found) for found in resolve(one.client, route_to(one.client), name).resolved}

    before, others = addresses(tenant), addresses(other)
    changed = {"A": "192.168.0.77", "AAAA": "fd00:c0a8::77"}
    assert before.isdisjoint(changed.values())
    lies = [Record(f"{name}.", kind, address) for kind, address in changed.items()]
    with faults.dns_lying(tenant, lies):
        assert addresses(tenant) == set(changed.values())
        assert addresses(other) == others
    assert addresses(tenant) == before
