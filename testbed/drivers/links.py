"""The wiring: the tap, tenant links and router namespaces of a plan, by netlink.

A tenant link's host end gets its alias last. A tenant whose alias is not the expected one was left
half-made by a kill, belongs to another plan or is attached to a tap that is no more: it is removed
and made anew, as is one whose router has lost an interface.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import time
from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv6Interface, ip_interface
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from testbed.deadline import Deadline, NotYet, wait_for
from testbed.drivers import namespace, rtnetlink, sysctl
from testbed.drivers.rtnetlink import Channel, Message, RefusedError
from testbed.drivers.shield import shield
from testbed.errors import ResourceError
from testbed.plan.identity import ID_PATTERN, DeploymentId
from testbed.plan.resources import Interface, Mac, Plan, Role, RouterPlan, TenantPlan

_PRIVATE = "private"  # routers reach the SUT, never one another behind the tap's back
_FORMER_LIMIT_S = 30
_AT_ONCE = 64  # namespaces in the making: two descriptors each, and see sysctl.py
_CLEANING_PAUSE_S = 0.05
_STALLED_S = 3.0
_TENANT_LINK = re.compile(rf"tb{ID_PATTERN}t\d{{5}}")
_ALIAS_WORD = "testbed "
_LOOPBACK = 1  # its index in every namespace


def ensure_tap(name: str) -> None:
    """Make the persistent tap `name` and set it up. It has a carrier while QEMU holds it open."""
    with IPRoute() as netlink:
        if not netlink.link_lookup(ifname=name):
            netlink.link("add", ifname=name, kind="tuntap", mode="tap")
        with sysctl.private_proc() as proc:
            _quieten(proc, name)
        index = netlink.link_lookup(ifname=name)[0]
        shield(netlink, index)
        # macvlan legs queue broadcasts; a long queue outlives bursts from thousands of tenants.
        netlink.link("set", index=index, state="up", txqlen=10000)


def incomplete_tenants(plan: Plan, tap: str) -> tuple[TenantPlan, ...]:
    """Return the tenants whose link and router are missing, half-made, damaged or of another plan."""
    with Channel() as netlink:
        aliases = {link.name: link.alias for link in netlink.links()}
    number = _number_of(tap)
    marked = [
        tenant
        for tenant in plan.tenants
        if aliases.get(tenant.network.parent) == _alias(plan.deployment, tenant, tap, number)
    ]
    whole = _with_routers(marked)
    return tuple(tenant for tenant in plan.tenants if tenant.name not in whole)


def link_number(tenant: TenantPlan) -> int:
    """Return the index of the tenant link's host end: another one whenever it is made anew."""
    number = _number_of(tenant.network.parent)
    if number is None:
        raise ResourceError(f"link {tenant.network.parent!r} has vanished")
    return number


def make_tenants(plan: Plan, tenants: Sequence[TenantPlan], tap: str) -> None:
    """Make the links and routers of `tenants` from scratch, removing what a kill left of them.

    Some hundred at a time: as many namespaces, each with its own channel, then all links by the
    host's channel, then each router by its own, then the aliases that say that all is done.
    """
    remove_tenants(tenants)
    sysctls = _router_sysctls()
    with Channel() as host:
        tap_index = _index(host, tap)
        for start in range(0, len(tenants), _AT_ONCE):
            part = tenants[start : start + _AT_ONCE]
            with ExitStack() as held:
                proc = held.enter_context(sysctl.private_proc())
                spaces = _make_spaces(part, proc, sysctls, held)
                _connect(part, spaces, host, tap_index)
                for tenant in part:
                    _quieten(proc, tenant.network.parent)
            host.send(
                [
                    rtnetlink.set_up(
                        t.network.parent, alias=_alias(plan.deployment, t, tap, tap_index)
                    )
                    for t in part
                ]
            )


@dataclass(frozen=True, slots=True)
class _Space:
    """A router's namespace in the making: a descriptor of it, and a channel inside it."""

    handle: int
    channel: Channel


def _make_spaces(
    tenants: Sequence[TenantPlan], proc: int, sysctls: Mapping[str, bytes], held: ExitStack
) -> list[_Space]:
    routers = {tenant.router.netns: tenant.router for tenant in tenants}

    def prepare(name: str) -> _Space:
        wanted = sysctls if _has_ipv6(routers[name]) else {**sysctls, **_NO_IPV6}
        sysctl.write(proc, wanted)
        handle = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        held.callback(os.close, handle)
        return _Space(handle, held.enter_context(Channel()))

    return namespace.create_all(routers, prepare)


def _connect(
    tenants: Sequence[TenantPlan], spaces: Sequence[_Space], host: Channel, tap_index: int
) -> None:
    wires: list[Message] = []
    for tenant, space in zip(tenants, spaces, strict=True):
        lan, uplink = tenant.router.lan, tenant.router.uplink
        wires.append(rtnetlink.add_veth(tenant.network.parent, lan.name, lan.mac, space.handle))
        wires.append(rtnetlink.add_macvlan(uplink.name, tap_index, uplink.mac, space.handle))
    host.send(wires)
    for tenant, space in zip(tenants, spaces, strict=True):
        _configure_router(space.channel, tenant.router)


def _configure_router(channel: Channel, router: RouterPlan) -> None:
    indexes = {link.name: link.number for link in channel.links()}
    lan, uplink = router.lan, router.uplink
    messages = [rtnetlink.set_up("lo")]
    for leg in (lan, uplink):
        messages.append(rtnetlink.prepare(leg.name))
        messages += [rtnetlink.add_address(a, indexes[leg.name]) for a in leg.addresses]
        messages.append(rtnetlink.set_up(leg.name))
    if _has_ipv6(router):
        # Hosts on the LAN probe their router from link-local addresses (RFC 4861, 7.3.3) and want
        # an answer; on the uplink neighbours are permanent, and thousands of such addresses slow.
        messages.append(rtnetlink.add_address(_link_local(lan.mac), indexes[lan.name]))
    at_uplink = indexes[uplink.name]
    messages += [rtnetlink.add_neighbour(entry, at_uplink) for entry in router.neighbours]
    messages += [rtnetlink.add_route(route, at_uplink) for route in router.routes]

    def done() -> bool:
        try:
            channel.send(messages, tolerated=(errno.EEXIST,))
        except RefusedError as error:
            # Routers made again: the kernel takes a removed one's links along a little later, and two
            # macvlans of one MAC cannot be up at a time; nor can two deployments on one interface.
            if error.number == errno.EADDRINUSE:
                told = f"another router on this interface has its MAC, {uplink.mac}"
                raise NotYet(f"{told}, maybe another deployment's") from error
            raise ResourceError(f"router {router.netns!r}: {error.message}") from error
        return True

    wait_for(done, Deadline.after(_FORMER_LIMIT_S), what=f"router {router.netns!r}")


def _link_local(mac: Mac) -> IPv6Interface:
    """Return the address that a link makes of its MAC (RFC 4291, appendix A)."""
    first, *others = bytes.fromhex(mac.replace(":", ""))
    name = bytes((first ^ 2, *others[:2], 0xFF, 0xFE, *others[2:]))
    return IPv6Interface((bytes.fromhex("fe80000000000000") + name, 64))


def _has_ipv6(router: RouterPlan) -> bool:
    return any(
        address.version == 6 for leg in (router.lan, router.uplink) for address in leg.addresses
    )


def remove_tenants(tenants: Sequence[TenantPlan]) -> None:
    """Remove what there is of the links and namespaces of `tenants`.

    The uplinks of a few by themselves: a socket that still waits for an answer to its FIN keeps its
    namespace alive for minutes, and with it a macvlan whose MAC the router's successor needs. It
    takes ten milliseconds for each, so thousands are left to the kernel, which takes them along
    with their namespaces.
    """
    present, spaces = _link_names(), namespace.names()
    routers = [t.router for t in tenants if t.router.netns in spaces]
    if len(routers) <= _AT_ONCE:
        namespace.visit({r.netns: partial(remove_links, [r.uplink.name]) for r in routers})
    remove_links([t.network.parent for t in tenants if t.network.parent in present])
    namespace.delete_all(router.netns for router in routers)


def remove_links(names: Sequence[str]) -> None:
    """Remove the links called `names`; those that are gone already are fine."""
    with Channel() as netlink:
        netlink.send([rtnetlink.delete_link(name) for name in names], tolerated=rtnetlink.GONE)


def await_links_gone(deployment: DeploymentId, indexes: Container[int] | None = None) -> None:
    """Wait while the kernel takes the links of removed namespaces along; remove those it leaves.

    The kernel does it by thousands at once; we would take ten milliseconds for each. `indexes` as
    in `links_of`.
    """
    left, since = len(links_of(deployment, indexes)), time.monotonic()
    while left > 1 and time.monotonic() - since < _STALLED_S:
        time.sleep(_CLEANING_PAUSE_S)
        before, left = left, len(links_of(deployment, indexes))
        if left < before:
            since = time.monotonic()
    remove_links(links_of(deployment, indexes))


def links_of(deployment: DeploymentId, indexes: Container[int] | None = None) -> tuple[str, ...]:
    """Return the names of all links of `deployment` in the host's namespace.

    With its tenants' `indexes`, only theirs and the tap: another one is somebody else's.
    """
    ours = re.compile(rf"tb{deployment}(tap|t(\d{{5}}))")
    found = [match for name in _link_names() if (match := ours.fullmatch(name))]
    is_ours = (indexes is None or match[2] is None or int(match[2]) in indexes for match in found)
    return tuple(sorted(match[0] for match, ok in zip(found, is_ours, strict=True) if ok))


def are_anybodys() -> bool:
    """Whether the host has a tenant link of any deployment, wherever that is recorded."""
    return any(
        _TENANT_LINK.fullmatch(name) and _alias_of(name).startswith(_ALIAS_WORD)
        for name in _link_names()
    )


def _alias_of(name: str) -> str:
    try:
        return (Path("/sys/class/net") / name / "ifalias").read_text()
    except OSError:  # it is going away
        return ""


def _link_names() -> frozenset[str]:
    """Return the names of the host's links; netlink's answer takes a second for 10,000 of them."""
    return frozenset(entry.name for entry in Path("/sys/class/net").iterdir())


def namespaces_of(
    deployment: DeploymentId, tenants: Container[str] | None = None
) -> tuple[str, ...]:
    """Return the names of all router namespaces of `deployment`, or those of its `tenants` only."""
    prefix = f"tb-{deployment}-"
    names = sorted(name for name in namespace.names() if name.startswith(prefix))
    return tuple(name for name in names if tenants is None or name.removeprefix(prefix) in tenants)


def host_client(tenant: TenantPlan) -> None:
    """Give the router its client's addresses, so that sockets in its namespace can play it.

    For as long as no container has them.
    """
    _change_loopback(tenant, rtnetlink.add_address, tolerated=(errno.EEXIST,))


def unhost_client(tenant: TenantPlan) -> None:
    """Take the client's addresses off the router again. Gone already is fine."""
    _change_loopback(tenant, rtnetlink.delete_address, tolerated=(errno.EADDRNOTAVAIL,))


def _change_loopback(
    tenant: TenantPlan, change: Callable[[Interface, int], Message], *, tolerated: Collection[int]
) -> None:
    client = tenant.container(Role.CLIENT)
    hosts = [ip_interface(address.ip) for address in client.addresses]

    def send() -> None:
        with Channel() as netlink:
            netlink.send([change(host, _LOOPBACK) for host in hosts], tolerated=tolerated)

    namespace.run_inside(tenant.router.netns, send)


def exists(name: str) -> bool:
    """Whether the host's namespace has a link called `name`."""
    return name in _link_names()


def has_carrier(name: str) -> bool:
    """Whether the link `name` exists and somebody holds its other end."""
    try:
        return (Path("/sys/class/net") / name / "carrier").read_text().strip() == "1"
    except OSError:  # no such link, or one that is down
        return False


def _alias(deployment: DeploymentId, tenant: TenantPlan, tap: str, number: int | None) -> str:
    """Return the alias of a whole tenant link; `number` is the tap's index, which is never reused."""
    text = repr((tenant.router, tap, number))
    digest = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
    return f"{_ALIAS_WORD}{deployment} {tenant.name} {digest}"


def _number_of(name: str) -> int | None:
    try:
        return int((Path("/sys/class/net") / name / "ifindex").read_text())
    except OSError:
        return None


def _with_routers(tenants: Iterable[TenantPlan]) -> set[str]:
    """Return the names of those whose router has its interfaces; one thread visits them all."""

    def has_legs(router: RouterPlan) -> bool:
        rows = Path("/proc/thread-self/net/dev").read_text().splitlines()
        present = {row.partition(":")[0].strip() for row in rows}
        return {router.lan.name, router.uplink.name} <= present

    by_space = {tenant.router.netns: tenant for tenant in tenants}
    visits = {netns: partial(has_legs, tenant.router) for netns, tenant in by_space.items()}
    return {by_space[netns].name for netns, is_whole in namespace.visit(visits).items() if is_whole}


def _index(netlink: Channel, name: str) -> int:
    for link in netlink.links():
        if link.name == name:
            return link.number
    raise ResourceError(f"link {name!r} has vanished")


def _quieten(proc: int, name: str) -> None:
    """Keep the host's own IPv6 off a link of ours: no address, no router solicitation."""
    sysctl.write(proc, {f"ipv6/conf/{name}/disable_ipv6": b"1"})


# What makes a namespace a router. A file costs 0.1 ms, so what follows by itself is left out:
# forwarding brings no redirects accepted and no router advertisements (ip-sysctl.rst).
_ROUTER_SYSCTLS = {
    "ipv4/ip_forward": b"1",
    "ipv4/conf/all/send_redirects": b"0",
    "ipv6/conf/all/forwarding": b"1",
}
# What a new namespace has already on most hosts, since it copies theirs: looked at, written rarely.
_INHERITED_SYSCTLS = {"ipv4/conf/all/rp_filter": b"0", "ipv4/conf/default/rp_filter": b"0"}
_NO_IPV6 = {"ipv6/conf/default/disable_ipv6": b"1"}


def _router_sysctls() -> dict[str, bytes]:
    """Return what has to be written in a new namespace on this host."""

    def unlike() -> dict[str, bytes]:
        with sysctl.private_proc() as proc:
            wanted = _INHERITED_SYSCTLS.items()
            return {key: value for key, value in wanted if sysctl.read(proc, key) != value}

    return _ROUTER_SYSCTLS | namespace.run_in_passing(unlike)


def try_kinds() -> tuple[tuple[str, str], ...]:
    """Try each kind of link in a namespace that vanishes; return (kind, error or "") for each."""

    def attempt() -> tuple[tuple[str, str], ...]:
        with IPRoute() as netlink:
            return tuple((kind, _attempt(netlink, kind)) for kind in ("veth", "macvlan"))

    return namespace.run_in_passing(attempt)


def _attempt(netlink: IPRoute, kind: str) -> str:
    extra: dict[str, Any] = {"peer": "probe-peer"}
    if kind == "macvlan":
        below = netlink.link_lookup(ifname="probe-veth")[0]
        extra = {"link": below, "macvlan_mode": _PRIVATE}
    try:
        netlink.link("add", ifname=f"probe-{kind}", kind=kind, **extra)
    except NetlinkError as error:
        return str(error)
    return ""
