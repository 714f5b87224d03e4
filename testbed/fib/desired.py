"""From the document to the objects the kernel shall have. Pure; no root, no kernel."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address

from . import bpfmap
from .document import Document, Fib, Interface
from .netlink import LOCAL, UNICAST, Address, Neighbour, Route, Rule
from .rules import TABLE_BASE, build_rules

_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_IPV6_METRIC = 1024  # what the kernel makes of none


@dataclass(frozen=True, slots=True)
class Desired:
    """Everything of the document, as the kernel will report it."""

    addresses: set[Address]
    neighbours: set[Neighbour]
    routes: set[Route]
    rules: set[Rule]
    address_map: dict[bytes, bytes]
    state_map: dict[bytes, bytes]
    router_map: dict[bytes, bytes]
    resolver_map: dict[bytes, bytes]
    config: bpfmap.Config


def map_key(packed: bytes) -> bytes:
    """Return an address as the maps' key: IPv4 as ::ffff:a.b.c.d."""
    return packed if len(packed) == 16 else bytes(10) + b"\xff\xff" + packed


def build_desired(document: Document, index: int, present_rules: Iterable[Rule] = ()) -> Desired:
    """Return what the kernel shall have on the interface with that index.

    The blocks of the rule tree stay where `present_rules` have them.
    """
    present = list(present_rules)
    rules: set[Rule] = set()
    fibs = [fib.id for fib in document.fibs]
    for version, family in _FAMILIES.items():
        sources = {
            entry.ip.packed: fib.id
            for fib in document.fibs
            for entry in document.addresses_of(fib)
            if entry.version == version
        }
        rules |= build_rules(family, fibs, sources, present)
    return Desired(
        addresses=set(_addresses(document)),
        neighbours={
            Neighbour(_FAMILIES[entry.address.version], entry.address.packed, entry.mac)
            for fib in document.fibs
            for entry in fib.neighbours
        },
        routes={route for fib in document.fibs for route in _routes(document, fib, index)},
        rules=rules,
        address_map=_address_map(document),
        state_map={struct.pack("=I", fib.id): _state(document, fib) for fib in document.fibs},
        router_map=_router_map(document),
        resolver_map={
            struct.pack("=II", fib.id, _FAMILIES[address.version]): map_key(address.packed)
            for fib in document.fibs
            for address in reversed(fib.resolvers)  # the first of a family counts
        },
        config=_config(document),
    )


def _config(document: Document) -> bpfmap.Config:
    virtual = {address.version: map_key(address.packed) for address in document.virtual_resolvers}
    flags = bpfmap.STRICT_MAC if document.strict_mac else 0
    flags |= bpfmap.ACTIVE if document.fibs else 0
    none = bytes(16)
    return bpfmap.Config(document.default_fib, flags, virtual.get(4, none), virtual.get(6, none))


ANCHOR_IPV4 = Address(socket.AF_INET, ip_address("192.0.0.8").packed, 32)
ANCHOR_IPV6 = Address(socket.AF_INET6, ip_address("100::f1b").packed, 128)
"""Source addresses of what FIB 0 sends without having one: the dummy address (RFC 7600), first on
the interface, and one of the discard-only prefix (RFC 6666), on the loopback interface.

Without them the kernel would lend FIB 0 a tenant's address. IPv4: a socket with an output
interface and no route takes the interface's first address (ip_route_output_key_hash_rcu). IPv6:
without a route for an unbound socket the kernel chooses a source and looks again, now by the rules
for that source (ip6_dst_lookup_tail); so the tenants' addresses are deprecated, which matters for
this choice alone, and the anchor is not.
"""


def _addresses(document: Document) -> Iterator[Address]:
    yield ANCHOR_IPV4
    in_fib = [entry for fib in document.fibs for entry in document.addresses_of(fib)]
    for entry in in_fib:
        yield _address(entry, is_deprecated=entry.version == 6)
    for entry in document.unassigned if not document.default_fib else ():
        yield _address(entry, is_deprecated=False)


def _address(entry: Interface, *, is_deprecated: bool) -> Address:
    family = _FAMILIES[entry.version]
    return Address(family, entry.ip.packed, entry.network.prefixlen, is_deprecated)


def _address_map(document: Document) -> dict[bytes, bytes]:
    follows = struct.pack("=I", bpfmap.OF_INTERFACE)
    nobody = struct.pack("=I", 0)
    entries = {map_key(anchor.address): nobody for anchor in (ANCHOR_IPV4, ANCHOR_IPV6)}
    entries |= {map_key(entry.ip.packed): follows for entry in document.unassigned}
    for fib in document.fibs:
        value = struct.pack("=I", fib.id)
        entries |= {map_key(entry.ip.packed): value for entry in fib.addresses}
    return entries


def _router_map(document: Document) -> dict[bytes, bytes]:
    entries = {}
    for fib in document.fibs:
        for neighbour in fib.neighbours:
            for owner in (fib.id, bpfmap.OF_INTERFACE):
                entries[struct.pack("=I6sxx", owner, neighbour.mac)] = struct.pack("=I", 1)
    return entries


def _state(document: Document, fib: Fib) -> bytes:
    """Return struct fib_state."""
    preferred: dict[int, bytes] = {}
    for entry in document.addresses_of(fib):
        preferred.setdefault(entry.version, map_key(entry.ip.packed))
    flags = bpfmap.HAS_IPV4 if 4 in preferred else 0
    flags |= bpfmap.HAS_IPV6 if 6 in preferred else 0
    flags |= bpfmap.HAS_ROUTERS if fib.neighbours else 0
    return struct.pack("=I16s16s", flags, preferred.get(4, b""), preferred.get(6, b""))


def _routes(document: Document, fib: Fib, index: int) -> Iterator[Route]:
    """Yield the `local` routes of the FIB's own addresses (P1) and those of the document."""
    table = TABLE_BASE + fib.id
    preferred: dict[int, bytes] = {}
    for entry in document.addresses_of(fib):
        packed = entry.ip.packed
        preferred.setdefault(entry.version, packed)
        source = packed if entry.version == 4 else b""
        yield Route(
            _FAMILIES[entry.version],
            table,
            LOCAL,
            packed,
            len(packed) * 8,
            b"",
            source,
            _metric(entry.version),
            index,
        )
    for route in fib.routes:
        version = route.to.version
        yield Route(
            _FAMILIES[version],
            table,
            UNICAST,
            route.to.network_address.packed,
            route.to.prefixlen,
            route.via.packed if route.via else b"",
            preferred[version],
            _metric(version),
            index,
        )


def _metric(version: int) -> int:
    return 0 if version == 4 else _IPV6_METRIC
