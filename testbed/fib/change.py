"""Brings the kernel from one state to another; the same for everything and for one FIB.

Order makes every moment safe. What is added: first the map entry of an address, then rules and
routes that lead nowhere, the address, neighbours, routes, so that a packet finds its FIB or nothing.
What goes leaves in the opposite order. An address that changes its FIB is taken off before and put
on again after.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import NamedTuple

from . import bpfmap
from .desired import ANCHOR_IPV4, Objects, map_key
from .entries import NO_WAY, Address, Neighbour, Route, Rule
from .netlink import Rtnetlink
from .rules import building_order, removal_order


class Difference(NamedTuple):
    """What is to be added and removed; all empty when the kernel has what is desired.

    `moved` are addresses that must be off the interface while their FIB, or the prefix length of
    their one IPv6 entry, changes.
    """

    new_addresses: set[Address]
    old_addresses: set[Address]
    new_neighbours: set[Neighbour]
    old_neighbours: set[Neighbour]
    new_routes: set[Route]
    old_routes: set[Route]
    new_rules: set[Rule]
    old_rules: set[Rule]
    moved: set[Address]

    def removes(self) -> bool:
        """Whether anything goes but rules, if only for a moment; rules go wherever an address comes."""
        return bool(self.old_addresses or self.old_neighbours or self.old_routes or self.moved)

    def counts(self) -> dict[str, int]:
        """Return how many of each, without the zeros."""
        return {name: len(entries) for name, entries in self._asdict().items() if entries}


def compare(desired: Objects, present: Objects) -> Difference:
    """Return what has to change, but for the maps."""
    old_neighbours = present.neighbours - desired.neighbours
    old_routes = present.routes - desired.routes
    # What may replace them; where nothing is old, thousands need not be asked.
    neighbours = {entry.address for entry in desired.neighbours} if old_neighbours else set()
    routes = {route.key for route in desired.routes} if old_routes else set()
    return Difference(
        new_addresses=desired.addresses - present.addresses,
        old_addresses=present.addresses - desired.addresses,
        new_neighbours=desired.neighbours - present.neighbours,
        old_neighbours={entry for entry in old_neighbours if entry.address not in neighbours},
        new_routes=desired.routes - present.routes,
        old_routes={route for route in old_routes if route.key not in routes},
        new_rules=desired.rules - present.rules,
        old_rules=present.rules - desired.rules,
        moved={entry for entry in present.addresses if _is_moved(entry, desired, present)},
    )


def _is_moved(entry: Address, desired: Objects, present: Objects) -> bool:
    if entry.family == socket.AF_INET and ANCHOR_IPV4 not in present.addresses:
        return True  # the anchor must come first
    key = map_key(entry.address)
    wanted = desired.maps.addresses.get(key)
    if wanted is None:
        return False
    if present.maps.addresses.get(key, wanted) != wanted:
        return True
    return entry.family == socket.AF_INET6 and entry not in desired.addresses


def execute(
    netlink: Rtnetlink,
    desired: Objects,
    present: Objects,
    difference: Difference,
    config: bpfmap.Config,
) -> int:
    """Make the changes; return the number of changed map entries."""
    moved = {entry.address for entry in difference.moved}
    netlink.remove(r for r in open_ways(difference.old_routes) if _names(r) & moved)
    # First: without any address the interface would lose its routes and neighbours.
    netlink.add({ANCHOR_IPV4} & difference.new_addresses)
    netlink.remove(difference.moved)
    changes = _fill_maps(desired, present) + _set_config(config)
    netlink.add(building_order(difference.new_rules))
    netlink.add(route for route in difference.new_routes if route.kind == NO_WAY)
    netlink.add(difference.new_addresses | (difference.moved & desired.addresses))
    netlink.add(difference.new_neighbours)
    # With its address the kernel took every route that named it as the source.
    routes = difference.new_routes | {r for r in desired.routes if r.source in moved}
    netlink.add(_nearest_first(open_ways(routes)))
    netlink.remove(open_ways(difference.old_routes))
    netlink.remove(difference.old_neighbours)
    netlink.remove(difference.old_addresses - difference.moved)
    netlink.remove(route for route in difference.old_routes if route.kind == NO_WAY)
    netlink.remove(removal_order(difference.old_rules))
    return changes + _clear_maps(desired, present)


def _names(route: Route) -> set[bytes]:
    return {route.source, route.destination, route.origin}


def open_ways(routes: Iterable[Route]) -> set[Route]:
    """Return the routes that lead somewhere."""
    return {route for route in routes if route.kind != NO_WAY}


def _nearest_first(routes: Iterable[Route]) -> list[Route]:
    """Sort local routes before those on the link, and these before those by a router."""
    return sorted(routes, key=lambda route: (-route.kind, bool(route.via)))


def _fill_maps(desired: Objects, present: Objects) -> int:
    """Put what is new or different; an address comes last, when all is there that it leads to."""
    changes = 0
    for opener, wanted, found in zip(bpfmap.CONFIGURED, desired.maps, present.maps, strict=True):
        new = {key: value for key, value in wanted.items() if found.get(key) != value}
        if new:
            with opener() as target:
                target.put_all(new)
            changes += len(new)
    return changes


def _clear_maps(desired: Objects, present: Objects) -> int:
    """Remove what is no more."""
    changes = 0
    for opener, wanted, found in zip(bpfmap.CONFIGURED, desired.maps, present.maps, strict=True):
        old = found.keys() - wanted
        if old:
            with opener() as target:
                target.discard_all(old)
            changes += len(old)
    return changes


def _set_config(wanted: bpfmap.Config) -> int:
    present = bpfmap.read_config()
    kept = present.flags & bpfmap.POLICIES  # theirs is another command's
    config = wanted._replace(flags=wanted.flags | kept)
    if present == config:
        return 0
    bpfmap.write_config(config)
    return 1
