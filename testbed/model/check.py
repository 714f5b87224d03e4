"""What the fields of a topology must be to one another: inside, outside, unlike, present.

Two kernel facts are behind the rules for the uplink: an address has one FIB, and one segment has
one neighbour entry per address (fib-semantics.md, P3 and row 39).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import NamedTuple

from pydantic import TypeAdapter, ValidationError

from testbed.model.allocation import Address, FamilyAddresses, Network, allocate
from testbed.model.document import Path, shown
from testbed.model.fields import Name
from testbed.model.topology import MOST_TENANTS, Route, ServiceName, Tenant, Topology

_NAME = TypeAdapter[str](Name)


class Trouble(NamedTuple):
    """One rule broken; `paths` are the nodes involved, the one to show first."""

    paths: tuple[Path, ...]
    code: str
    what: str
    hint: str


class _Owner(NamedTuple):
    """Who has an address on the segment."""

    path: Path
    title: str


@dataclass(frozen=True, slots=True)
class _Case:
    """One tenant under examination."""

    name: str
    tenant: Tenant
    families: tuple[FamilyAddresses, ...]

    @property
    def title(self) -> str:
        return f"tenant {shown(self.name)}"

    def path(self, *steps: str | int) -> Path:
        return ("tenants", self.name, *steps)

    def service_path(self, name: ServiceName, key: str) -> Path:
        first = name.removesuffix("2")
        within = (first,) if name == first else (first, "second")
        return self.path("services", *within, key)


@dataclass(slots=True)
class _Segment:
    """Every address on the uplink with its first owner."""

    owners: dict[Address, _Owner] = field(default_factory=dict)

    def claim(self, address: Address, owner: _Owner) -> Iterator[Trouble]:
        first = self.owners.setdefault(address, owner)
        if first is not owner:
            what = f"{address} is {owner.title} and {first.title}"
            hint = "every address on the uplink has one owner: change one of the two"
            yield Trouble((owner.path, first.path), "shared", what, hint)


def find_troubles(topology: Topology) -> Iterator[Trouble]:
    """Yield every broken rule of `topology`, not in the order of the file."""
    segment = _Segment()
    fibs: dict[int, _Case] = {}
    yield from _check_sut(topology)
    yield from _claim_unassigned(topology, segment)
    if not topology.tenants:
        yield Trouble((("tenants",),), "none", "no tenant", "add one: `tenants: {alpha: {}}`")
    if len(topology.tenants) > MOST_TENANTS:
        what = f"{len(topology.tenants)} tenants"
        yield Trouble((("tenants",),), "many", what, f"{MOST_TENANTS} are the most")
    for index, name, tenant in topology.numbered():
        case = _Case(name, tenant, allocate(topology, tenant, index))
        yield from _check_fib(case, index, fibs)
        yield from _check_name(case)
        yield from _check_login(case)
        yield from _check_family_off(case)
        yield from _check_records(case, topology.domain_of(name))
        for family in case.families:
            yield from _check_block(case, family, topology)
            yield from _check_lan(case, family)
            yield from _claim_uplink(case, family, segment)
        yield from _check_routes(case)


def _check_sut(topology: Topology) -> Iterator[Trouble]:
    sut = topology.sut
    if sut.kind == "ssh" and sut.ssh is None:
        hint = "add `ssh: {host: ..., interface: ..., uplink: ..., mac: ...}` under `sut:`"
        yield Trouble((("sut", "kind"), ("sut", "ssh")), "ssh", "`ssh:` is missing", hint)
    if sut.kind == "vm" and sut.ssh is not None:
        hint = "remove `ssh:`, or say `kind: ssh`"
        yield Trouble((("sut", "ssh"), ("sut", "kind")), "ssh", "`ssh:` is not for our VM", hint)
    if sut.ssh is not None and sut.kind != "vm":
        for key in sorted({"memory_mib", "cpus", "clock"} & sut.model_fields_set):
            what = f"`{key}:` is for our VM, not for a machine reached by ssh"
            yield Trouble((("sut", key), ("sut", "ssh")), "ssh", what, "remove it")
    if sut.clock == "instructions" and sut.cpus > 1:
        places = (("sut", "cpus"), ("sut", "clock"))
        what = "`clock: instructions` is for a VM with one processor"
        yield Trouble(places, "clock", what, "add `cpus: 1` under `sut:`")
    for place, pair in enumerate(sut.addresses):
        if pair.v4 is None and pair.v6 is None:
            hint = "give `v4:`, `v6:` or both"
            yield Trouble((("sut", "addresses", place),), "none", "no address", hint)
    name = sut.interface_fib
    if name is not None and name not in topology.tenants:
        close = get_close_matches(name, topology.tenants, n=1)
        hint = f"did you mean {shown(close[0])}?" if close else "name one of the tenants"
        what = f"there is no tenant {shown(name)}"
        yield Trouble((("sut", "interface_fib"),), "tenant", what, hint)


def _claim_unassigned(topology: Topology, segment: _Segment) -> Iterator[Trouble]:
    sut = topology.sut
    owner = topology.tenants.get(sut.interface_fib or "")
    for place, pair in enumerate(sut.addresses):
        for key, address in (("v4", pair.v4), ("v6", pair.v6)):
            if address is None:
                continue
            path: Path = ("sut", "addresses", place, key)
            yield from segment.claim(address, _Owner(path, "an address of the SUT without FIB"))
            lan = owner and (owner.network if key == "v4" else owner.network6)
            if lan and address in lan:
                what = f"{address} is inside {lan}, the network of tenant {sut.interface_fib!r}"
                hint = "the interface's FIB could not tell it from its tenant's hosts: change it"
                lan_path: Path = ("tenants", sut.interface_fib or "", "network")
                yield Trouble((path, lan_path), "inside", what, hint)


def _check_name(case: _Case) -> Iterator[Trouble]:
    try:
        _NAME.validate_python(case.name)
    except ValidationError as error:
        context = error.errors(include_input=False)[0]["ctx"]
        yield Trouble((case.path(),), "name", context["what"], context["hint"])


def _check_fib(case: _Case, fib: int, fibs: dict[int, _Case]) -> Iterator[Trouble]:
    first = fibs.setdefault(fib, case)
    if first is not case:
        what = f"FIB {fib} is that of {first.title} and {case.title}"
        hint = "a tenant without `fib:` has its place in the file as FIB: change or remove `fib:`"
        yield Trouble((case.path("fib"), first.path("fib")), "fib", what, hint)


def _check_login(case: _Case) -> Iterator[Trouble]:
    needs = {"ldap": "ldap", "kerberos": "kdc"}
    login = case.tenant.login
    if login and needs[login] not in case.tenant.services.present():
        what = f"{case.title} logs in by {login} without service {needs[login]!r}"
        hint = f"add `{needs[login]}: {{}}` under `services:`, or remove `login:`"
        yield Trouble((case.path("login"), case.path("services")), "login", what, hint)


def _check_family_off(case: _Case) -> Iterator[Trouble]:
    """Find IPv6 addresses of a tenant that has none."""
    tenant = case.tenant
    if tenant.network6 is not None:
        return
    given = (
        [(case.path(key), getattr(tenant, key)) for key in ("client6", "router6", "next_hop6")]
        + [
            (case.service_path(name, "address6"), service.address6)
            for name, service in tenant.services.present().items()
        ]
        + [
            (case.path("servers", place, "v6"), server.v6)
            for place, server in enumerate(tenant.servers)
        ]
    )
    for path, address in given:
        if address is not None:
            what = f"{address} in {case.title}, which has no IPv6"
            hint = "remove it, or give the tenant a `network6:`"
            yield Trouble((path, case.path("network6")), "family", what, hint)


def _check_records(case: _Case, domain: str) -> Iterator[Trouble]:
    dns = case.tenant.services.dns
    labels = ("client", "router", "dns", "ldap", "ldap2", "kdc", "kdc2", "server")
    made = {f"{label}.{domain}" for label in labels}
    for name in dns.records if dns else ():
        if name in made:
            path = case.path("services", "dns", "records", name)
            what = f"{name} is a name that the testbed makes itself"
            yield Trouble((path, case.path("domain")), "record", what, "use another name")


def _check_block(case: _Case, family: FamilyAddresses, topology: Topology) -> Iterator[Trouble]:
    block, keys = family.block, _KEYS[family.version]
    ours = (address for address in (*family.servers, family.next_hop) if address is not None)
    used = [address for address in ours if address in block]
    key = f"v{family.version}"
    uplink = topology.uplink.v4 if family.version == 4 else topology.uplink.v6
    if used and not (block.version == uplink.version and _within(block, uplink)):
        what = f"uplink range {uplink} has no room for {case.title}"
        path: Path = ("uplink", key)
        yield Trouble((path,), "room", what, "use a larger range")
    elif used and block.overlaps(family.network):
        what = f"{family.network} overlaps {block}, the tenant's own block on the uplink"
        hint = "give the tenant another network, or `uplink:` another range"
        yield Trouble((case.path(keys.network), case.path()), "overlap", what, hint)
    for place in _places_without_room(case, family):
        what = f"server address {place + 1} of {case.title} is one too many"
        hint = f"its block {block} has no room for it: give its `{key}:`"
        yield Trouble((case.path("servers", place), case.path()), "room", what, hint)


def _places_without_room(case: _Case, family: FamilyAddresses) -> list[int]:
    return [
        place
        for place, server in enumerate(case.tenant.servers)
        if not family.has_room_for(place)
        and (server.v4 is None if family.version == 4 else server.v6 is None and server.has_v6)
    ]


class _Keys(NamedTuple):
    network: str
    client: str
    router: str
    next_hop: str
    address: str


_KEYS = {
    4: _Keys("network", "client", "router", "next_hop", "address"),
    6: _Keys("network6", "client6", "router6", "next_hop6", "address6"),
}


def _check_lan(case: _Case, family: FamilyAddresses) -> Iterator[Trouble]:
    keys, network = _KEYS[family.version], family.network
    hosts = [
        ("client", family.client, case.path(keys.client)),
        ("router", family.router, case.path(keys.router)),
    ] + [
        (f"service {name!r}", address, case.service_path(name, keys.address))
        for name, address in family.services.items()
    ]
    seen: dict[Address, tuple[str, Path]] = {}
    for title, address, path in hosts:
        where = (path, case.path(keys.network))
        other, other_path = seen.setdefault(address, (title, path))
        if address not in network:
            what = f"{case.title}: {title} address {address} is outside {network}"
            yield Trouble(where, "outside", what, f"use an address inside it: `{path[-1]}:`")
        elif _is_edge(address, network):
            what = f"{case.title}: {title} address {address} is for no host of {network}"
            hint = "use another: a network's first address and IPv4's last are no host's"
            yield Trouble(where, "edge", what, hint)
        if other != title:
            what = f"{case.title}: {title} address {address} is its {other} address, too"
            hint = "one address, one role: change one of the two"
            yield Trouble((path, other_path, case.path(keys.network)), "roles", what, hint)


def _claim_uplink(case: _Case, family: FamilyAddresses, segment: _Segment) -> Iterator[Trouble]:
    keys = _KEYS[family.version]
    tenant = f"of {case.title}"
    claims = [(family.next_hop, _Owner(case.path(keys.next_hop), f"the next hop {tenant}"))]
    homeless = _places_without_room(case, family)
    for place, address in enumerate(family.servers):
        if address is not None and place not in homeless:
            path = case.path("servers", place, f"v{family.version}")
            claims.append((address, _Owner(path, f"a server address {tenant}")))
    for address, owner in claims:
        yield from segment.claim(address, owner)
        if address in family.network:
            what = f"{address} is {owner.title} and inside its network {family.network}"
            hint = "what is on the uplink must lie outside the tenant's own network"
            yield Trouble((owner.path, case.path(keys.network)), "inside", what, hint)


def _check_routes(case: _Case) -> Iterator[Trouble]:
    families = {family.version: family for family in case.families}
    seen: dict[Network, int] = {}
    for place, route in enumerate(case.tenant.routes):
        path = case.path("routes", place, "to")
        family = families.get(route.to.version)
        if family is None or not any(family.servers):
            kind = f"IPv{route.to.version}"
            what = f"route to {route.to} in {case.title}, which has no {kind} server"
            hint = f"remove it, or give the tenant a server address of {kind}"
            paths = (path, case.path("servers"), case.path("network6"))
            yield Trouble(paths, "family", what, hint)
            continue
        if route.to in seen:
            what = f"a second route to {route.to}"
            other = case.path("routes", seen[route.to], "to")
            yield Trouble((path, other), "route", what, "keep one of the two")
        seen.setdefault(route.to, place)
        yield from _check_route(case, family, route, place)


def _check_route(
    case: _Case, family: FamilyAddresses, route: Route, place: int
) -> Iterator[Trouble]:
    keys = _KEYS[family.version]
    for taken, title in ((family.network, "network"), (family.transit, "block on the uplink")):
        if _within(route.to, taken):
            what = f"route to {route.to}, which is inside the tenant's own {title} {taken}"
            paths = (case.path("routes", place, "to"), case.path(keys.network))
            yield Trouble(paths, "route", what, "it is reached already: remove the route")
    if route.to.prefixlen == route.to.max_prefixlen and route.to.network_address in family.servers:
        what = f"route to {route.to}, a server address of the tenant"
        paths = (case.path("routes", place, "to"), case.path("servers"))
        yield Trouble(paths, "route", what, "it is the SUT itself: remove the route")
    if route.via is None:
        return
    via_path = case.path("routes", place, "via")
    if route.via not in family.network:
        what = f"route to {route.to} via {route.via}, which is outside {family.network}"
        hint = "`via:` is a host of the tenant's network, of the same family as `to:`"
        yield Trouble((via_path, case.path(keys.network)), "outside", what, hint)
    elif route.via == family.router or _is_edge(route.via, family.network):
        what = f"route to {route.to} via {route.via}, which is no other host of the network"
        hint = "`via:` is the host that the tenant's router hands packets to"
        yield Trouble((via_path, case.path(keys.router)), "route", what, hint)


def _within(inner: Network, outer: Network) -> bool:
    return (
        inner.version == outer.version
        and inner.prefixlen >= outer.prefixlen
        and inner.network_address in outer
    )


def _is_edge(address: Address, network: Network) -> bool:
    """Whether no host may have `address`; IPv6's ::0 is every router's (RFC 4291, 2.6.1)."""
    if address == network.network_address:
        return network.prefixlen < network.max_prefixlen
    return address.version == 4 and address == network.broadcast_address
