"""The wiring: the tap, tenant links and router namespaces of a plan, by netlink.

A tenant link's host end gets its alias last. A tenant whose alias is not the expected one was left
half-made by a kill, or belongs to another plan: it is removed and made anew.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from testbed.drivers import namespace
from testbed.errors import ResourceError
from testbed.plan.resources import DeploymentId, Leg, Plan, RouterPlan, TenantPlan

_PRIVATE = "private"  # routers reach the SUT, never one another behind the tap's back


def ensure_tap(name: str) -> None:
    """Make the persistent tap `name` and set it up. It has a carrier while QEMU holds it open."""
    with IPRoute() as netlink:
        if not netlink.link_lookup(ifname=name):
            netlink.link("add", ifname=name, kind="tuntap", mode="tap")
        _quieten(name)
        index = netlink.link_lookup(ifname=name)[0]
        # macvlan legs queue broadcasts; a long queue outlives bursts from thousands of tenants.
        netlink.link("set", index=index, state="up", txqlen=10000)


def incomplete_tenants(plan: Plan, tap: str) -> tuple[TenantPlan, ...]:
    """Return the tenants whose link and router are missing, half-made or of another plan."""
    with IPRoute() as netlink:
        aliases = {
            link.get_attr("IFLA_IFNAME"): link.get_attr("IFLA_IFALIAS")
            for link in netlink.get_links()
        }
    spaces = namespace.names()
    return tuple(
        tenant
        for tenant in plan.tenants
        if aliases.get(tenant.network.parent) != _alias(plan.deployment, tenant, tap)
        or tenant.router.netns not in spaces
    )


def make_tenant(plan: Plan, tenant: TenantPlan, tap: str) -> None:
    """Make one tenant's link and router from scratch, removing what a kill left of them."""
    remove_tenant(tenant)
    router, parent = tenant.router, tenant.network.parent
    namespace.create(router.netns, _prepare_router)
    with IPRoute() as netlink, (namespace.RUN_NETNS / router.netns).open() as space:
        _add_link(
            netlink,
            parent,
            kind="veth",
            peer={
                "ifname": router.lan.name,
                "address": router.lan.mac,
                "net_ns_fd": space.fileno(),
            },
        )
        _quieten(parent)
        tap_index = _index(netlink, tap)
        _add_link(
            netlink,
            router.uplink.name,
            kind="macvlan",
            link=tap_index,
            address=router.uplink.mac,
            macvlan_mode=_PRIVATE,
            net_ns_fd=space.fileno(),
        )
        parent_index = _index(netlink, parent)
        netlink.link("set", index=parent_index, state="up")
        namespace.run_inside(router.netns, lambda: _configure_router(router))
        alias = _alias(plan.deployment, tenant, tap)
        netlink.link("set", index=parent_index, ifalias=alias)


def remove_tenant(tenant: TenantPlan) -> None:
    """Remove one tenant's router namespace and link. Gone already is fine."""
    namespace.delete(tenant.router.netns)
    remove_links([tenant.network.parent])


def remove_links(names: Iterable[str]) -> None:
    """Remove the links called `names`; those that are gone already are fine."""
    with IPRoute() as netlink:
        for name in names:
            for index in netlink.link_lookup(ifname=name):
                try:
                    netlink.link("del", index=index)
                except NetlinkError as error:
                    # A veth whose namespace is being torn down goes by itself meanwhile.
                    if error.code not in {19, 95}:
                        raise ResourceError(f"cannot remove link {name!r}: {error}") from error


def links_of(deployment: DeploymentId) -> tuple[str, ...]:
    """Return the names of all links of `deployment` in the host's namespace."""
    ours = re.compile(rf"tb{deployment}(tap|t\d{{5}})")
    with IPRoute() as netlink:
        names = [str(link.get_attr("IFLA_IFNAME")) for link in netlink.get_links()]
    return tuple(sorted(name for name in names if ours.fullmatch(name)))


def namespaces_of(deployment: DeploymentId) -> tuple[str, ...]:
    """Return the names of all router namespaces of `deployment`."""
    return tuple(sorted(n for n in namespace.names() if n.startswith(f"tb-{deployment}-")))


def has_carrier(name: str) -> bool:
    """Whether the link `name` exists and somebody holds its other end."""
    try:
        return (Path("/sys/class/net") / name / "carrier").read_text().strip() == "1"
    except OSError:  # no such link, or one that is down
        return False


def _alias(deployment: DeploymentId, tenant: TenantPlan, tap: str) -> str:
    digest = hashlib.blake2b(repr((tenant.router, tap)).encode(), digest_size=8).hexdigest()
    return f"testbed {deployment} {tenant.name} {digest}"


def _add_link(netlink: IPRoute, name: str, **attributes: Any) -> None:
    try:
        netlink.link("add", ifname=name, **attributes)
    except NetlinkError as error:
        raise ResourceError(f"cannot add {attributes['kind']} link {name!r}: {error}") from error


def _index(netlink: IPRoute, name: str) -> int:
    found = netlink.link_lookup(ifname=name)
    if not found:
        raise ResourceError(f"link {name!r} has vanished")
    return int(found[0])


def _quieten(name: str) -> None:
    """Keep the host's own IPv6 off a link of ours: no address, no router solicitation."""
    path = Path("/proc/sys/net/ipv6/conf") / name / "disable_ipv6"
    if path.exists():
        path.write_text("1")


def _prepare_router() -> None:
    """Set what links inherit when they come into the namespace, and make it a router."""
    _write_sysctls(
        {
            "ipv4/ip_forward": "1",
            "ipv4/conf/all/rp_filter": "0",
            "ipv4/conf/default/rp_filter": "0",
            "ipv4/conf/all/send_redirects": "0",
            "ipv4/conf/default/send_redirects": "0",
            "ipv4/conf/all/accept_redirects": "0",
            "ipv4/conf/default/accept_redirects": "0",
            "ipv6/conf/all/forwarding": "1",
            "ipv6/conf/default/accept_dad": "0",
            "ipv6/conf/default/accept_ra": "0",
            "ipv6/conf/default/addr_gen_mode": "1",
        }
    )


def _write_sysctls(values: dict[str, str]) -> None:
    for key, value in values.items():
        path = Path("/proc/sys/net") / key
        if path.exists():  # a host may have no IPv6 at all
            path.write_text(value)


def _configure_router(router: RouterPlan) -> None:
    with IPRoute() as netlink:
        netlink.link("set", index=_index(netlink, "lo"), state="up")
        # Hosts on the LAN probe their router from link-local addresses (RFC 4861, 7.3.3) and want
        # an answer; on the uplink neighbours are permanent, and thousands of such addresses slow.
        _write_sysctls({f"ipv6/conf/{router.lan.name}/addr_gen_mode": "0"})
        indexes = {leg.name: _bring_up(netlink, leg) for leg in (router.lan, router.uplink)}
        uplink = indexes[router.uplink.name]
        for neighbour in router.neighbours:
            netlink.neigh(
                "replace",
                dst=str(neighbour.address),
                lladdr=neighbour.mac,
                ifindex=uplink,
                state="permanent",
            )
        for route in router.routes:
            link = {"gateway": str(route.via)} if route.via else {"oif": uplink}
            netlink.route("replace", dst=str(route.to), **link)


def _bring_up(netlink: IPRoute, leg: Leg) -> int:
    index = _index(netlink, leg.name)
    families = {address.version for address in leg.addresses}
    if 6 not in families:
        _quieten(leg.name)
    for address in leg.addresses:
        # nodad: the plan has made sure of uniqueness, and a tentative address cannot answer.
        extra = {"flags": 0x02} if address.version == 6 else {}
        netlink.addr(
            "add",
            index=index,
            address=str(address.ip),
            prefixlen=address.network.prefixlen,
            **extra,
        )
    netlink.link("set", index=index, state="up")
    return index


def try_kinds() -> tuple[tuple[str, str], ...]:
    """Try each kind of link in a namespace that vanishes; return (kind, error or "") for each."""

    def attempt() -> tuple[tuple[str, str], ...]:
        with IPRoute() as netlink:
            return tuple((kind, _attempt(netlink, kind)) for kind in ("veth", "macvlan"))

    return namespace.run_in_passing(attempt)


def _attempt(netlink: IPRoute, kind: str) -> str:
    extra: dict[str, Any] = {"peer": "probe-peer"}
    if kind == "macvlan":
        extra = {"link": _index(netlink, "probe-veth"), "macvlan_mode": _PRIVATE}
    try:
        netlink.link("add", ifname=f"probe-{kind}", kind=kind, **extra)
    except NetlinkError as error:
        return str(error)
    return ""
