"""Faults: a part of a tenant or of the SUT fails while a block lasts, and is whole again after it.

    with faults.service_stopped(tenant, Role.LDAP):
        ...

Undoing is guaranteed in three ways. The block's end undoes the fault whatever happens in it, and
checks that what was broken works. A note on disk, there before the fault is caused, says what is
broken: it goes only after the check. And where a process is killed inside the block, or undoing
fails, the next holder of the lease finds the note and makes the tenant anew, or gives the SUT the
plan's state again (`testbed.lifecycle.restore`).

A scenario holds the lease of what it breaks: the tenant's, or for the SUT the whole deployment's
(`@pytest.mark.exclusive`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from ipaddress import ip_network
from pathlib import Path

from testbed.deadline import Deadline, NotYet, wait_for
from testbed.drivers import containers, execution, impairment, process
from testbed.drivers.impairment import Impairment, Passed
from testbed.errors import ResourceError
from testbed.events import Events
from testbed.lifecycle import daemon
from testbed.lifecycle.lease import Changed, changed, mark_changed, mark_restored
from testbed.lifecycle.store import Store
from testbed.lifecycle.tenants import await_health
from testbed.lifecycle.up import repair
from testbed.plan.fibstate import fib_state
from testbed.plan.resources import Address, FibId, Plan, Record, Role, Route, TenantPlan
from testbed.plan.services import admin_dn, service_files, user_dn
from testbed.running import Running, Tenant

_REACH_LIMIT_S = 15
_SILENT = """
table inet testbed_fault {
    chain in { type filter hook input priority -300; policy drop; }
    chain through { type filter hook forward priority -300; policy drop; }
    chain out { type filter hook output priority -300; policy drop; }
}
"""
_KEPT_REALM = "/var/lib/testbed/kept"
_NOT_SILENT = "table inet testbed_fault\ndelete table inet testbed_fault\n"


@contextmanager
def service_stopped(tenant: Tenant, role: Role) -> Iterator[None]:
    """The tenant's service does not run: nobody answers at its address, not even ARP."""
    name = tenant.plan.container(role).name

    def start() -> None:
        containers.start(tenant.docker, name)
        _await_service(tenant, role)

    with _fault(_note(tenant, f"{role} stopped"), start):
        containers.kill(tenant.docker, name)
        yield


@contextmanager
def service_hung(tenant: Tenant, role: Role) -> Iterator[None]:
    """The tenant's service takes connections and never answers: its processes are frozen."""
    name = tenant.plan.container(role).name

    def thaw() -> None:
        containers.thaw(tenant.docker, name)
        _await_service(tenant, role)

    with _fault(_note(tenant, f"{role} hung"), thaw):
        containers.freeze(tenant.docker, name)
        yield


@contextmanager
def router_down(tenant: Tenant) -> Iterator[None]:
    """The tenant's router neither takes, forwards nor sends any packet."""
    netns = tenant.plan.router.netns

    def come_back() -> None:
        _nft(netns, _NOT_SILENT)
        _await_path(tenant)

    with _fault(_note(tenant, "router down"), come_back):
        _nft(netns, _SILENT)
        yield


@contextmanager
def link_down(tenant: Tenant) -> Iterator[None]:
    """The cable between the tenant's network and its router is out: no carrier on either side."""
    link = tenant.plan.network.parent

    def plug_in() -> None:
        process.run(["ip", "link", "set", "dev", link, "up"])
        _await_path(tenant)

    with _fault(_note(tenant, "tenant link down"), plug_in):
        process.run(["ip", "link", "set", "dev", link, "down"])
        yield


@contextmanager
def line_impaired(
    tenant: Tenant, *, delay_s: float = 0, loss: float = 0, late: float = 0, seed: int = 0
) -> Iterator[Passed]:
    """What the tenant's router forwards is delayed, lost by chance, or late by chance: reordered.

    Both ways, so that a round trip takes twice the delay. `loss` and `late` are probabilities, drawn
    with `seed`. Yields counters.
    """
    router = tenant.plan.router
    interfaces = (router.lan.name, router.uplink.name)
    how = Impairment(delay_s, loss, late, seed=seed)
    with (
        _fault(_note(tenant, "line impaired"), lambda: _await_path(tenant)),
        impairment.impaired(router.netns, interfaces, how) as passed,
    ):
        yield passed


@contextmanager
def dns_lying(tenant: Tenant, lies: Sequence[Record]) -> Iterator[None]:
    """The tenant's DNS serves `lies`, and nothing else of their names and types."""
    with _fault(_note(tenant, "DNS lying"), lambda: _serve_names(tenant, tenant.plan)):
        told = {(lie.owner, lie.type) for lie in lies}
        kept = (own for own in tenant.plan.records if (own.owner, own.type) not in told)
        _serve_names(tenant, replace(tenant.plan, records=(*kept, *lies)))
        yield


@contextmanager
def kdc_rekeyed(tenant: Tenant) -> Iterator[None]:
    """A KDC answers that knows the tenant's users and passwords, and not the key we share."""
    realm = tenant.plan.realm
    if realm is None:
        raise LookupError(f"tenant {tenant.name!r} has no realm")

    def load() -> None:
        _run(tenant, Role.KDC, "kdb5_util", "load", _KEPT_REALM)
        _run(tenant, Role.KDC, "rm", "-f", _KEPT_REALM, f"{_KEPT_REALM}.dump_ok")
        _await_service(tenant, Role.KDC)

    with _fault(_note(tenant, "KDC without our key"), load):
        _run(tenant, Role.KDC, "kdb5_util", "dump", _KEPT_REALM)
        for service in realm.services:
            _run(tenant, Role.KDC, "kadmin.local", "-q", f"change_password -randkey {service}")
        yield


@contextmanager
def password_changed(tenant: Tenant, user: str, password: str) -> Iterator[None]:
    """The user has another password, at the tenant's directory and in its realm."""
    former = next(own.password for own in tenant.users if own.name == user)

    with _fault(
        _note(tenant, f"password of {user} changed"), lambda: _set_password(tenant, user, former)
    ):
        _set_password(tenant, user, password)
        yield


@contextmanager
def address_owned(tenant: Tenant, address: Address) -> Iterator[None]:
    """A host of the tenant's, played by its router, owns `address`, whoever else has it."""
    router = tenant.plan.router
    where = (f"{address}/{address.max_prefixlen}", "dev", router.lan.name)

    def give_up() -> None:
        _ip(router.netns, "address", "del", *where)
        _await_path(tenant)

    with _fault(_note(tenant, f"{address} owned"), give_up):
        _ip(router.netns, "address", "add", *where, *(("nodad",) if address.version == 6 else ()))
        yield


@contextmanager
def address_moved(deployment: Running, address: Address, to: Tenant | None) -> Iterator[None]:
    """A server address belongs to another tenant's FIB, or, `to` None, is nobody's any more.

    The new owner's router reaches it. Hold the whole deployment.
    """
    plan = deployment.plan
    what = f"{address} moved to {to or 'nobody'}"

    def move_back() -> None:
        if to is not None:
            _ip(to.plan.router.netns, *_neighbour("del", to, address, plan))
            _ip(
                to.plan.router.netns,
                "route",
                "del",
                str(address),
                "dev",
                to.plan.router.uplink.name,
            )
        deployment.sut.apply(fib_state(plan))

    with _fault(_whole_note(deployment, what, [to] if to else []), move_back):
        if to is not None:
            _ip(
                to.plan.router.netns,
                "route",
                "add",
                str(address),
                "dev",
                to.plan.router.uplink.name,
            )
            _ip(to.plan.router.netns, *_neighbour("add", to, address, plan))
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

    with _fault(_whole_note(deployment, "routes added", []), take_away):
        deployment.sut.apply(fib_state(_with_routes(plan, routes)))
        yield


@contextmanager
def clock_skewed(deployment: Running, seconds: float) -> Iterator[None]:
    """The SUT's clock is ahead (or behind): what KDCs and clients say is old, or not yet true.

    Hold the whole deployment.
    """

    def set_right() -> None:
        deployment.sut.set_clock()

    with _fault(_whole_note(deployment, f"clock skewed by {seconds:g} s", []), set_right):
        deployment.sut.channel.run(["date", "-s", f"@{time.time() + seconds:.3f}"])
        yield


@contextmanager
def daemon_stopped(deployment: Running) -> Iterator[None]:
    """The SUT's daemon does not run. Hold the whole deployment."""
    note = _whole_note(deployment, "daemon stopped", [])
    with _fault(note, lambda: daemon.ensure(deployment.plan, deployment.sut)):
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

    with _fault(_whole_note(deployment, "SUT off", []), switch_on):
        deployment.sut.stop()
        yield


@dataclass(frozen=True, slots=True)
class _Note:
    """What is said on disk about a fault: which tenants, or the whole, may not be as planned."""

    folder: Path
    what: str
    tenants: tuple[str, ...]
    whole: bool = False


def _note(tenant: Tenant, what: str) -> _Note:
    return _Note(tenant.folder, what, (tenant.name,))


def _whole_note(deployment: Running, what: str, tenants: Sequence[Tenant]) -> _Note:
    names = tuple(tenant.name for tenant in tenants)
    return _Note(deployment.deployment.folder, what, names, whole=True)


@contextmanager
def _fault(note: _Note, undo: Callable[[], None]) -> Iterator[None]:
    """Write `note` down, let the block cause the fault, undo it; the note goes when that worked."""
    before = changed(note.folder)
    # Of a fault around this one: that one's to take away.
    new = Changed(frozenset(note.tenants) - before.tenants, note.whole and not before.whole)
    mark_changed(note.folder, tuple(new.tenants), whole=new.whole, why=note.what)
    try:
        yield
    finally:
        undo()
        mark_restored(note.folder, new)


def _set_password(tenant: Tenant, user: str, password: str) -> None:
    directory = tenant.plan.directory
    if directory is not None:
        admin = ("-D", admin_dn(directory), "-w", directory.admin.password)
        server = ("-x", "-H", f"ldap://{directory.address}")
        argv = ("ldappasswd", *server, *admin, "-s", password, user_dn(directory, user))
        _run(tenant, Role.LDAP, *argv)
    if tenant.plan.realm is not None:
        query = f"change_password -pw {password} {user}"
        _run(tenant, Role.KDC, "kadmin.local", "-q", query)


def _run(tenant: Tenant, role: Role, *argv: str) -> None:
    answer = tenant.run(role, argv)
    if answer.exit_code != 0:
        raise ResourceError(
            f"{argv[0]} of {tenant}'s {role} exited {answer.exit_code}: {answer.output}"
        )


def _await_service(tenant: Tenant, role: Role) -> None:
    await_health(tenant.docker, tenant.plan, tenant.plan.container(role))


def _await_path(tenant: Tenant) -> None:
    """Wait until the client reaches the tenant's first server address of each family again."""
    client = tenant.plan.container(Role.CLIENT).name
    first = {own.version: own.ip for own in reversed(tenant.plan.server_addresses)}

    def reaches() -> bool:
        for address in first.values():
            argv = ["ping", "-n", "-c", "1", "-W", "1", str(address)]
            if execution.run_in(tenant.docker, client, argv).exit_code != 0:
                raise NotYet(f"no echo from {address}")
        return True

    what = f"tenant {tenant.name!r}: its client reaches the SUT again"
    wait_for(reaches, Deadline.after(_REACH_LIMIT_S), what=what)


def _serve_names(tenant: Tenant, plan: TenantPlan) -> None:
    container = plan.container(Role.DNS)
    containers.kill(tenant.docker, container.name)
    containers.put_files(tenant.docker, container.name, service_files(plan, container))
    containers.start(tenant.docker, container.name)
    _await_service(tenant, Role.DNS)


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


def _nft(netns: str, rules: str) -> None:
    process.run(["ip", "netns", "exec", netns, "nft", "-f", "-"], stdin=rules)


def _ip(netns: str, *arguments: str) -> None:
    process.run(["ip", "-n", netns, *arguments])
