"""From the document to the objects the kernel shall have. Pure; no root, no kernel."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from . import bpfmap
from .address import MAPPED, Interface, to_address
from .document import Document, Fib
from .entries import LOCAL, NO_WAY, UNICAST, Address, Neighbour, Route, Rule
from .rules import SOURCE_TABLE, TABLE_BASE, build_rules

FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_METRICS = {4: 0, 6: 1024}  # what the kernel makes of none
_LAST_METRIC = 1 << 31
_LOOPBACK = 1  # LOOPBACK_IFINDEX: the kernel puts `unreachable` there
_NUMBER = struct.Struct("=I")
_FIB_AND_FAMILY = struct.Struct("=II")
_FIB_AND_MAC = struct.Struct("=I6sxx")
_STATE = struct.Struct("=I16s16s")
_TRUE = _NUMBER.pack(1)


class Maps(NamedTuple):
    """Content of the maps that fibctl writes."""

    states: dict[bytes, bytes]
    routers: dict[bytes, bytes]
    resolvers: dict[bytes, bytes]
    addresses: dict[bytes, bytes]


class Objects(NamedTuple):
    """What the kernel has, or shall have: of everything, or of some FIBs."""

    addresses: set[Address]
    neighbours: set[Neighbour]
    routes: set[Route]
    rules: set[Rule]
    maps: Maps


def map_key(packed: bytes) -> bytes:
    """Return an address as the maps' key: IPv4 as ::ffff:a.b.c.d."""
    return packed if len(packed) == 16 else MAPPED + packed


def build_desired(document: Document, index: int, present_rules: Iterable[Rule] = ()) -> Objects:
    """Return what the kernel shall have on the interface with that index.

    The blocks of the rule tree stay where `present_rules` have them.
    """
    desired = build_parts(document, document.fibs, index)
    present = list(present_rules)
    for version, family in FAMILIES.items():
        sources = sources_of(document, document.fibs, version)
        fibs = set(sources.values())  # without an address of the family there is no route of it
        desired.rules.update(build_rules(family, fibs, sources, present))
    desired.addresses.add(ANCHOR_IPV4)
    follows, nobody = _NUMBER.pack(bpfmap.OF_INTERFACE), _NUMBER.pack(0)
    for anchor in (ANCHOR_IPV4, ANCHOR_IPV6):
        desired.maps.addresses[map_key(anchor.address)] = nobody
    for entry in document.unassigned:
        desired.maps.addresses[map_key(entry.ip)] = follows
        if not document.default_fib:
            desired.addresses.add(Address(entry.ip.family, entry.ip, entry.length))
    return desired


def sources_of(document: Document, fibs: Iterable[Fib], version: int) -> dict[bytes, int]:
    """Return the addresses of a family that those FIBs have, with their FIB."""
    return {
        entry.ip: fib.id
        for fib in fibs
        for entry in document.addresses_of(fib)
        if entry.version == version
    }


def build_parts(document: Document, fibs: Iterable[Fib], index: int) -> Objects:
    """Return what these FIBs bring along, without rules: those depend on the other FIBs."""
    parts = Objects(set(), set(), set(), set(), Maps({}, {}, {}, {}))
    for fib in fibs:
        own = document.addresses_of(fib)
        for ip, length in own:
            parts.addresses.add(Address(ip.family, ip, length, is_deprecated=len(ip) == 16))
        for router, mac in fib.neighbours:
            parts.neighbours.add(Neighbour(router.family, router, mac))
        parts.routes.update(_routes(fib, own, index))
        _fill_maps(parts.maps, fib, own)
    return parts


def _fill_maps(maps: Maps, fib: Fib, own: tuple[Interface, ...]) -> None:
    number = _NUMBER.pack(fib.id)
    maps.states[number] = _state(fib, own)
    for entry in fib.addresses:
        maps.addresses[map_key(entry.ip)] = number
    for neighbour in fib.neighbours:
        for owner in (fib.id, bpfmap.OF_INTERFACE):
            maps.routers[router_key(owner, neighbour.mac)] = _TRUE
    for address in reversed(fib.resolvers):  # the first of a family counts
        key = _FIB_AND_FAMILY.pack(fib.id, FAMILIES[address.version])
        maps.resolvers[key] = map_key(address)


def router_key(fib: int, mac: bytes) -> bytes:
    """Return struct fib_router."""
    return _FIB_AND_MAC.pack(fib, mac)


def build_config(document: Document) -> bpfmap.Config:
    """Return the settings that the document wants."""
    virtual = {address.version: map_key(address) for address in document.virtual_resolvers}
    flags = bpfmap.STRICT_MAC if document.strict_mac else 0
    flags |= bpfmap.ACTIVE if document.fibs else 0
    none = bytes(16)
    return bpfmap.Config(document.default_fib, flags, virtual.get(4, none), virtual.get(6, none))


ANCHOR_IPV4 = Address(socket.AF_INET, to_address("192.0.0.8"), 32)
ANCHOR_IPV6 = Address(socket.AF_INET6, to_address("100::f1b"), 128)
"""Source addresses of what FIB 0 sends without having one: the dummy address (RFC 7600), first on
the interface, and one of the discard-only prefix (RFC 6666), on the loopback interface.

Without them the kernel would lend FIB 0 a tenant's address. IPv4: a socket with an output
interface and no route takes the interface's first address (ip_route_output_key_hash_rcu). IPv6:
without a route for an unbound socket the kernel chooses a source and looks again, now by the rules
for that source (ip6_dst_lookup_tail); so the tenants' addresses are deprecated, which matters for
this choice alone, and the anchor is not.
"""


def _state(fib: Fib, own: tuple[Interface, ...]) -> bytes:
    """Return struct fib_state."""
    preferred: dict[int, bytes] = {}
    for entry in own:
        preferred.setdefault(entry.version, map_key(entry.ip))
    flags = bpfmap.HAS_IPV4 if 4 in preferred else 0
    flags |= bpfmap.HAS_IPV6 if 6 in preferred else 0
    flags |= bpfmap.HAS_ROUTERS if fib.neighbours else 0
    return _STATE.pack(flags, preferred.get(4, b""), preferred.get(6, b""))


def _routes(fib: Fib, own: tuple[Interface, ...], index: int) -> Iterator[Route]:
    """Yield the routes of a FIB's table, and those of IPv6 for the packets from its addresses."""
    routes = list(_table(fib, own, index))
    yield from routes
    for entry in own:
        if entry.version == 6:
            yield closing_route(entry.ip)
            for route in routes:
                if route.family == socket.AF_INET6:
                    yield route._replace(table=SOURCE_TABLE, source=b"", origin=entry.ip)


def closing_route(origin: bytes) -> Route:
    """Return what a packet from an IPv6 address meets where its FIB has no route."""
    nowhere = bytes(16)
    return Route(
        socket.AF_INET6,
        SOURCE_TABLE,
        NO_WAY,
        nowhere,
        0,
        b"",
        b"",
        _LAST_METRIC,
        _LOOPBACK,
        origin,
    )


def _table(fib: Fib, own: tuple[Interface, ...], index: int) -> Iterator[Route]:
    """Yield the `local` routes of the FIB's own addresses (P1) and those of the document."""
    table = TABLE_BASE + fib.id
    preferred: dict[int, bytes] = {}
    for packed, _ in own:
        version = packed.version
        preferred.setdefault(version, packed)
        yield Route(
            FAMILIES[version],
            table,
            LOCAL,
            packed,
            len(packed) * 8,
            b"",
            packed if version == 4 else b"",
            _METRICS[version],
            index,
        )
    for route in fib.routes:
        version = route.to.version
        yield Route(
            FAMILIES[version],
            table,
            UNICAST,
            route.to.address,
            route.to.length,
            route.via or b"",
            preferred[version],
            _METRICS[version],
            index,
        )
