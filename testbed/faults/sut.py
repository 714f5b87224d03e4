"""Faults of what all tenants share: the SUT, its FIBs and its daemon."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import ip_network

from testbed.events import Events
from testbed.faults.note import fault, whole_note
from testbed.faults.paths import ip
from testbed.lifecycle import daemon
from testbed.lifecycle.store import Store
from testbed.lifecycle.up import repair
from testbed.plan.fibstate import fib_state
from testbed.plan.resources import Address, FibId, Plan, Route
from testbed.running import Running, Tenant


@contextmanager
def address_moved(deployment: Running, address: Address, to: Tenant | None) -> Iterator[None]:
    """A server address belongs to another tenant's FIB, or, `to` None, is nobody's any more.

    The new owner's router reaches it. Hold the whole deployment.
    """
    plan = deployment.plan
    what = f"{address} moved to {to or 'nobody'}"

    def lead(action: str, router: Tenant) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Say how `router` begins or ceases to reach the address: by a route and a neighbour."""
        route = ("route", action, str(address), "dev", router.plan.router.uplink.name)
        return route, _neighbour(action, router, address, plan)

    def move_back() -> None:
        if to is not None:
            for words in reversed(lead("del", to)):
                ip(to.plan.router.netns, *words)
        deployment.sut.apply(fib_state(plan))

    with fault(whole_note(deployment, what, [to] if to else []), move_back):
        if to is not None:
            for words in lead("add", to):
                ip(to.plan.router.netns, *words)
        deployment.sut.apply(fib_state(_with_address_moved(plan, address, to)))
        yield


@contextmanager
def routes_added(deployment: Running, routes: Mapping[Tenant, Sequence[str]]) -> Iterator[None]:
    """FIBs of the SUT have further routes, all by their tenant's router: tenant -> destinations.

    Hold the whole deployment.
    """
    plan = deployment.plan

    def take_away() -> None:
        deployment.sut.apply(fib_state(plan))

    with fault(whole_note(deployment, "routes added", []), take_away):
        deployment.sut.apply(fib_state(_with_routes(plan, routes)))
        yield


@contextmanager
def clock_skewed(deployment: Running, seconds: float) -> Iterator[None]:
    """The SUT's clock is ahead (or behind): what KDCs and clients say is old, or not yet true.

    Hold the whole deployment.
    """

    def set_right() -> None:
        deployment.sut.set_clock()

    with fault(whole_note(deployment, f"clock skewed by {seconds:g} s", []), set_right):
        deployment.sut.channel.run(["date", "-s", f"@{time.time() + seconds:.3f}"])
        yield


@contextmanager
def daemon_stopped(deployment: Running) -> Iterator[None]:
    """The SUT's daemon does not run. Hold the whole deployment."""
    note = whole_note(deployment, "daemon stopped", [])
    with fault(note, lambda: daemon.ensure(deployment.plan, deployment.sut)):
        daemon.stop(deployment.sut)
        yield


@contextmanager
def sut_off(deployment: Running) -> Iterator[None]:
    """The SUT is switched off; after the block it has booted again and has the plan's state.

    Hold the whole deployment.
    """
    recorded = deployment.deployment

    def switch_on() -> None:
        repair(Store(recorded.folder.parent), recorded, Events())

    with fault(whole_note(deployment, "SUT off", []), switch_on):
        deployment.sut.stop()
        yield


def _with_address_moved(plan: Plan, address: Address, to: Tenant | None) -> Plan:
    entry = next(own for fib in plan.sut.fibs for own in fib.addresses if own.ip == address)
    fibs = []
    for fib in plan.sut.fibs:
        addresses = tuple(own for own in fib.addresses if own.ip != address)
        if to is not None and fib.fib == to.fib:
            addresses = (*addresses, entry)
        fibs.append(replace(fib, addresses=addresses))
    return replace(plan, sut=replace(plan.sut, fibs=tuple(fibs)))


def _with_routes(plan: Plan, routes: Mapping[Tenant, Sequence[str]]) -> Plan:
    more: dict[FibId, list[Route]] = {}
    for tenant, destinations in routes.items():
        by_version = {own.version: own.ip for own in tenant.plan.router.uplink.addresses}
        more[tenant.fib] = [
            Route(network, by_version[network.version]) for network in map(ip_network, destinations)
        ]
    fibs = (replace(f, routes=(*f.routes, *more.get(f.fib, ()))) for f in plan.sut.fibs)
    return replace(plan, sut=replace(plan.sut, fibs=tuple(fibs)))


def _neighbour(action: str, tenant: Tenant, address: Address, plan: Plan) -> tuple[str, ...]:
    device = ("dev", tenant.plan.router.uplink.name)
    link = ("lladdr", plan.sut.machine.mac, "nud", "permanent") if action == "add" else ()
    return ("neighbour", action, str(address), *link, *device)
