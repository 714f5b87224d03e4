"""The oracle: a reference FIB in plain Python, from the plan alone.

It says what fib-semantics.md demands for unicast: which FIB, which source address, which next hop,
delivered or refused. Scenarios compare what sockets and wire show with it. FIB 0's management
network is no part of the plan, and so not known here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from testbed.plan.resources import (
    UNASSIGNED,
    Address,
    FibId,
    FibPlan,
    Mac,
    Neighbour,
    Plan,
    Route,
    TenantPlan,
)


class Errno(StrEnum):
    """How the kernel says that a packet cannot leave."""

    ENETUNREACH = "ENETUNREACH"
    EADDRNOTAVAIL = "EADDRNOTAVAIL"


@dataclass(frozen=True, slots=True)
class Delivered:
    """The destination is an address of the SUT in the same FIB."""

    source: Address


@dataclass(frozen=True, slots=True)
class Forwarded:
    """The packet leaves from `source` to `next_hop`; no `mac`: nobody of the plan is there."""

    source: Address
    next_hop: Address
    mac: Mac | None


@dataclass(frozen=True, slots=True)
class Refused:
    """No packet leaves; the socket call fails with `errno`."""

    errno: Errno


Verdict = Delivered | Forwarded | Refused


class Loss(StrEnum):
    """Why a packet from a tenant's client does not reach a socket of the SUT."""

    # On its way there: the SUT never sees it.
    NO_FAMILY = "the tenant has no addresses of this family"
    LAN = "the destination is inside the tenant's own network, or beyond a host there"
    ROUTER = "the destination is the tenant's router"
    NO_ROUTE = "the tenant's router has no route and says so by ICMP"
    NOBODY = "the tenant's router knows nobody with this address on the uplink"
    # At the SUT.
    HAIRPIN = "the source is an address of the SUT (P31)"
    SENDER = "the router it comes from is not one of the destination's FIB (P24)"
    NOT_LOCAL = "the destination is no address of the SUT"


@dataclass(frozen=True, slots=True)
class Accepted:
    """The SUT takes the packet in this FIB: that of the destination address."""

    fib: FibId


@dataclass(frozen=True, slots=True)
class Lost:
    """The packet reaches no socket of the SUT."""

    loss: Loss


Arrival = Accepted | Lost


def local_fibs(plan: Plan) -> dict[Address, FibId]:
    """Return the FIB of every address of the SUT: for many questions, ask this mapping."""
    fibs = {address.ip: plan.sut.default_fib for address in plan.sut.unassigned}
    return fibs | {address.ip: fib.fib for fib in plan.sut.fibs for address in fib.addresses}


def fib_of(plan: Plan, address: Address) -> FibId:
    """Return the FIB of a local address, its interface's if it has none itself; 0 for any other."""
    for fib in plan.sut.fibs:
        if any(address == own.ip for own in fib.addresses):
            return fib.fib
    if any(address == own.ip for own in plan.sut.unassigned):
        return plan.sut.default_fib
    return UNASSIGNED


def lookup(
    plan: Plan, fib: FibId, destination: Address, *, source: Address | None = None
) -> Verdict:
    """Return what becomes of a packet from a socket in `fib`, bound to `source` if given.

    A FIB delivers to its own addresses alone (P1), but FIB 0 to every address of the SUT: its
    sockets are the machine's own.
    """
    own = _addresses(plan, fib)
    if source is not None and source not in own:
        return Refused(Errno.EADDRNOTAVAIL)
    if destination in (local_fibs(plan) if fib == UNASSIGNED else own):
        return Delivered(source or destination)
    found = _find(plan, fib)
    route = longest_match(found.routes, destination) if found else None
    if found is None or route is None or destination.is_multicast:
        return Refused(Errno.ENETUNREACH)
    usable = [address for address in own if address.version == destination.version]
    if not usable:
        return Refused(Errno.EADDRNOTAVAIL)
    next_hop = route.via or destination
    return Forwarded(source or usable[0], next_hop, _mac_of(found.neighbours, next_hop))


def expected_reply(plan: Plan, local: Address, peer: Address) -> Verdict:
    """Return how the SUT answers what `peer` sent to its address `local`, socket or not."""
    return lookup(plan, fib_of(plan, local), peer, source=local)


def expected_arrival(
    plan: Plan, tenant: TenantPlan, destination: Address, *, source: Address | None = None
) -> Arrival:
    """Return what becomes of a packet from the tenant's client, `source` being forged if given."""
    versions = {subnet.version for subnet in tenant.network.subnets}
    if destination.version not in versions:
        return Lost(Loss.NO_FAMILY)
    loss = _loss_before_sut(plan, tenant, destination)
    if loss is not None:
        return Lost(loss)
    client = next(
        address.ip
        for address in tenant.containers[0].addresses
        if address.version == destination.version
    )
    return admit(plan, tenant.router.uplink.mac, source or client, destination)


def admit(plan: Plan, sender: Mac, source: Address, destination: Address) -> Arrival:
    """Return what the SUT makes of a packet that `sender` put on the uplink."""
    fibs = local_fibs(plan)
    fib = fibs.get(destination, plan.sut.default_fib)
    found = _find(plan, fib)
    is_from_router = found is not None and any(n.mac == sender for n in found.neighbours)
    if source in fibs and (fibs[source] == fib or not is_from_router):
        return Lost(Loss.HAIRPIN)
    if fib != UNASSIGNED and not is_from_router:
        return Lost(Loss.SENDER)
    return Accepted(fib) if destination in fibs else Lost(Loss.NOT_LOCAL)


def longest_match(routes: Iterable[Route], destination: Address) -> Route | None:
    """Return the most specific of `routes` to `destination`."""
    matching = (route for route in routes if destination in route.to)
    return max(matching, key=lambda route: route.to.prefixlen, default=None)


def _loss_before_sut(plan: Plan, tenant: TenantPlan, destination: Address) -> Loss | None:
    """Follow a packet from the client to the uplink; None when it gets to the SUT."""
    router = tenant.router
    if any(destination in subnet for subnet in tenant.network.subnets):
        return Loss.LAN
    if any(destination == address.ip for address in router.uplink.addresses):
        return Loss.ROUTER
    connected = (Route(address.network) for address in router.uplink.addresses)
    route = longest_match((*connected, *router.routes), destination)
    if route is None:
        return Loss.NO_ROUTE
    if route.via is not None:
        return Loss.LAN
    return None if _mac_of(router.neighbours, destination) == plan.sut.machine.mac else Loss.NOBODY


def _find(plan: Plan, fib: FibId) -> FibPlan | None:
    """Return the plan of `fib`; none for FIB 0 and for one that no tenant has."""
    fibs = plan.sut.fibs
    if 1 <= fib <= len(fibs) and fibs[fib - 1].fib == fib:
        return fibs[fib - 1]
    return next((found for found in fibs if found.fib == fib), None)  # of a topology with `fib:`


def _addresses(plan: Plan, fib: FibId) -> tuple[Address, ...]:
    """Return the local addresses of `fib`, in the order in which they are preferred as sources."""
    found = _find(plan, fib)
    own = found.addresses if found else ()
    more = plan.sut.unassigned if fib == plan.sut.default_fib else ()
    return tuple(address.ip for address in (*own, *more))


def _mac_of(neighbours: Iterable[Neighbour], address: Address) -> Mac | None:
    return next((n.mac for n in neighbours if n.address == address), None)
