"""Faults of the way between a tenant's client and the SUT."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from testbed.deadline import Deadline, NotYet, wait_for
from testbed.drivers import execution, impairment, process
from testbed.drivers.impairment import Impairment, Passed
from testbed.faults.note import fault, note
from testbed.plan.resources import Address, Role
from testbed.running import Tenant

_REACH_LIMIT_S = 15
_SILENT = """
table inet testbed_fault {
    chain in { type filter hook input priority -300; policy drop; }
    chain through { type filter hook forward priority -300; policy drop; }
    chain out { type filter hook output priority -300; policy drop; }
}
"""
_NOT_SILENT = "table inet testbed_fault\ndelete table inet testbed_fault\n"


@contextmanager
def router_down(tenant: Tenant) -> Iterator[None]:
    """The tenant's router neither takes, forwards nor sends any packet."""
    netns = tenant.plan.router.netns

    def come_back() -> None:
        _nft(netns, _NOT_SILENT)
        await_path(tenant)

    with fault(note(tenant, "router down"), come_back):
        _nft(netns, _SILENT)
        yield


@contextmanager
def link_down(tenant: Tenant) -> Iterator[None]:
    """The cable between the tenant's network and its router is out: no carrier on either side."""
    link = tenant.plan.network.parent

    def plug_in() -> None:
        process.run(["ip", "link", "set", "dev", link, "up"])
        await_path(tenant)

    with fault(note(tenant, "tenant link down"), plug_in):
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
        fault(note(tenant, "line impaired"), lambda: await_path(tenant)),
        impairment.impaired(router.netns, interfaces, how) as passed,
    ):
        yield passed


@contextmanager
def address_owned(tenant: Tenant, address: Address) -> Iterator[None]:
    """A host of the tenant's, played by its router, owns `address`, whoever else has it."""
    router = tenant.plan.router
    where = (f"{address}/{address.max_prefixlen}", "dev", router.lan.name)

    def give_up() -> None:
        ip(router.netns, "address", "del", *where)
        await_path(tenant)

    with fault(note(tenant, f"{address} owned"), give_up):
        ip(router.netns, "address", "add", *where, *(("nodad",) if address.version == 6 else ()))
        yield


def await_path(tenant: Tenant) -> None:
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


def _nft(netns: str, rules: str) -> None:
    process.run(["ip", "netns", "exec", netns, "nft", "-f", "-"], stdin=rules)


def ip(netns: str, *arguments: str) -> None:
    """Configure a router's namespace, in words of iproute2."""
    process.run(["ip", "-n", netns, *arguments])
