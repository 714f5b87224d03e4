"""A tenant with two ways to the SUT: requests come by one, and its FIB chooses by which replies go."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from testbed.drivers import process
from testbed.faults.note import fault, whole_note
from testbed.faults.paths import await_path, ip
from testbed.plan.fibstate import fib_state
from testbed.plan.resources import Address, FibPlan, Mac, Neighbour, Plan
from testbed.running import Running, Tenant

_NAME = "uplink2"


@dataclass(frozen=True, slots=True)
class Line:
    """A second leg of a tenant's router on the shared segment: its MAC and IPv4 address there."""

    mac: Mac
    address: Address


@contextmanager
def line_added(deployment: Running, tenant: Tenant, *, known: bool = True) -> Iterator[Line]:
    """The tenant's router has a second line, by which its IPv4 requests go to the SUT.

    Its FIB knows the line (unless not `known`), and its routes lead by the first one as before. Hold
    the whole deployment.
    """
    plan, router = deployment.plan, tenant.plan.router
    line = _line_of(tenant)

    def take_away() -> None:
        ip(router.netns, "link", "delete", _NAME)
        for server in _servers(tenant):
            ip(router.netns, *_neighbour(deployment, server, router.uplink.name))
        deployment.sut.apply(fib_state(plan))
        await_path(tenant)

    with fault(whole_note(deployment, "second line added", [tenant]), take_away):
        # fmt: off
        process.run([
            "ip", "link", "add", "link", deployment.deployment.uplink, "name", _NAME,
            "address", line.mac, "netns", router.netns, "type", "macvlan", "mode", "private",
        ])
        # fmt: on
        ip(router.netns, "address", "add", f"{line.address}/32", "dev", _NAME)
        ip(router.netns, "link", "set", "dev", _NAME, "up")
        for server in _servers(tenant):
            ip(router.netns, *_neighbour(deployment, server, _NAME))
            ip(router.netns, "route", "add", str(server), "dev", _NAME)
        if known:
            deployment.sut.apply(fib_state(_with_line(plan, tenant, line, moved=False)))
        yield line


@contextmanager
def gateway_moved(deployment: Running, tenant: Tenant, line: Line) -> Iterator[None]:
    """The FIB of the tenant has its IPv4 routes by `line`, which it knows already."""
    plan = deployment.plan

    def move_back() -> None:
        deployment.sut.apply(fib_state(_with_line(plan, tenant, line, moved=False)))

    with fault(whole_note(deployment, "gateway moved", [tenant]), move_back):
        deployment.sut.apply(fib_state(_with_line(plan, tenant, line, moved=True)))
        yield


def _line_of(tenant: Tenant) -> Line:
    uplink = tenant.plan.router.uplink
    first = next(own for own in uplink.addresses if own.version == 4)
    # The last of its block before the router's: free unless the tenant has five servers.
    address = first.ip - 1
    if address in {own.ip for own in tenant.plan.server_addresses}:
        raise LookupError(f"tenant {tenant.name!r} has no address left for a second line")
    return Line(Mac("02:f9:" + uplink.mac[6:]), address)


def _servers(tenant: Tenant) -> tuple[Address, ...]:
    return tuple(own.ip for own in tenant.plan.server_addresses if own.version == 4)


def _neighbour(deployment: Running, server: Address, device: str) -> tuple[str, ...]:
    mac = deployment.plan.sut.machine.mac
    where = ("lladdr", mac, "nud", "permanent", "dev", device)
    return ("neighbour", "replace", str(server), *where)


def _with_line(plan: Plan, tenant: Tenant, line: Line, *, moved: bool) -> Plan:
    def changed(fib: FibPlan) -> FibPlan:
        if fib.fib != tenant.fib:
            return fib
        routes = fib.routes
        if moved:
            routes = tuple(
                replace(route, via=line.address) if route.via and route.to.version == 4 else route
                for route in routes
            )
        known = (*fib.neighbours, Neighbour(line.address, line.mac))
        return replace(fib, routes=routes, neighbours=known)

    return replace(plan, sut=replace(plan.sut, fibs=tuple(map(changed, plan.sut.fibs))))
