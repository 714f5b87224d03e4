"""Brings the kernel to the document: reads what it has, changes the difference, looks again.

Order makes every moment safe. What is added: first the map entry of an address, then rules, the
address, neighbours, routes, so that a packet finds its FIB or nothing. What goes leaves in the
opposite order. An address that changes its FIB is taken off before and put on again after.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from . import bpfmap, programs
from .desired import ANCHOR_IPV4, ANCHOR_IPV6, Desired, build_desired, map_key
from .document import FIB_MAX, Document, parse_text
from .failure import EnvironmentFailure, StateFailure
from .netlink import Address, Neighbour, Route, Rtnetlink, Rule
from .retired import Retired
from .rules import TABLE_BASE, stock_local_rule
from .sockdiag import SockDiag, Socket
from .sysctls import apply_sysctls

_DOCUMENT = programs.RUN / "document.json"
_RETIRED = programs.RUN / "retired.json"
_LAST_TABLE = TABLE_BASE + 65535


@dataclass(frozen=True, slots=True)
class Present:
    """What the kernel has of what is ours."""

    addresses: set[Address]
    neighbours: set[Neighbour]
    routes: set[Route]
    rules: set[Rule]
    stock_rules: set[Rule]
    address_map: dict[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Difference:
    """What is to be added and removed; all empty when the kernel has the document's state.

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

    def counts(self) -> dict[str, int]:
        """Return how many of each, without the zeros."""
        names = type(self).__slots__
        sizes = {name: len(getattr(self, name)) for name in names}
        return {name: size for name, size in sizes.items() if size}


def apply_text(text: str) -> dict[str, object]:
    """Apply a JSON document; return what was changed.

    Raises:
        InputError: the document is wrong; nothing was changed.
        EnvironmentFailure: no such interface, no privilege, programs that do not load.
        ExceptionGroup: the kernel refused changes.
        StateFailure: afterwards the kernel has not what was asked for.
    """
    document = parse_text(text)
    with _locked():
        _refuse_second_interface(document.interface)
        former = saved_document() if _DOCUMENT.exists() else None
        retired = Retired.load(_RETIRED)
        retired.check(document)
        aborted = _abort_former(former, document, retired.changed_owners(former, document))
        summary = apply_document(document)
        if aborted:
            summary["aborted_sockets"] = aborted
        if former is not None:
            retired.note(former, document)
            retired.save(_RETIRED)
        temporary = _DOCUMENT.with_suffix(".new")
        temporary.write_text(text, "utf-8")
        temporary.rename(_DOCUMENT)
    return summary


def _abort_former(former: Document | None, document: Document, changed: dict[bytes, int]) -> int:
    """Abort, while their routes are still there, the sockets of what is to go.

    These are sockets of FIBs that vanish or get another name, which makes them another tenant's, and
    those that keep the former FIB of an address.
    """
    gone: set[int] = set()
    if former is not None:
        kept = {(fib.id, fib.name) for fib in document.fibs}
        gone = {fib.id for fib in former.fibs if (fib.id, fib.name) not in kept}
    if not gone and not changed:
        return 0

    def is_meant(entry: Socket) -> bool:
        owner = changed.get(entry.plain_local, entry.mark)
        return entry.mark in gone or entry.mark not in {0, owner}

    with SockDiag() as diagnosis:
        return diagnosis.abort(is_meant)


def apply_again() -> dict[str, object]:
    """Apply the last document again: what a negative control broke is mended."""
    return apply_text(saved_text())


def saved_text() -> str:
    """Return the last document that was applied."""
    if not _DOCUMENT.exists():
        raise EnvironmentFailure("nothing has been applied since the system started")
    return _DOCUMENT.read_text("utf-8")


def saved_document() -> Document:
    """Return the last document that was applied, parsed."""
    return parse_text(saved_text())


def apply_document(document: Document) -> dict[str, object]:
    """Apply a parsed document; the caller holds the lock."""
    index = _interface_index(document.interface)
    summary: dict[str, object] = {}
    if programs.ensure_attached(document.interface):
        summary["programs"] = "attached"
    changed = apply_sysctls(document.interface)
    if changed:
        summary["sysctls"] = changed
    if _bring_up(document.interface):
        summary["link"] = "up"
    _set_anchor()
    with Rtnetlink(index) as netlink:
        present = read_present(netlink)
        desired = build_desired(document, index, present.rules)
        difference = compare(desired, present)
        maps = _execute(netlink, desired, difference)
        if maps:
            summary["map_entries"] = maps
        summary |= difference.counts()
        if difference.counts():
            left = compare(desired, read_present(netlink)).counts()
            if left:
                raise StateFailure(f"after the changes the kernel still differs: {left}")
    return summary


def _set_anchor(*, remove: bool = False) -> None:
    with Rtnetlink(socket.if_nametoindex("lo")) as netlink:
        if remove:
            netlink.remove({ANCHOR_IPV6})
        elif ANCHOR_IPV6 not in netlink.addresses():
            netlink.add({ANCHOR_IPV6})


def _refuse_second_interface(name: str) -> None:
    if not _DOCUMENT.exists():
        return
    former = saved_document().interface
    if former != name and Path("/sys/class/net", former).exists():
        raise EnvironmentFailure(
            f"the FIBs are on interface '{former}'; run 'fibctl detach {former}' first"
        )


def read_present(netlink: Rtnetlink) -> Present:
    """Read everything that is ours, and the stock rules that stand before ours."""
    with bpfmap.address_map() as addresses:
        address_map = addresses.items()
    rules = netlink.rules()
    stock = {stock_local_rule(family) for family in (socket.AF_INET, socket.AF_INET6)}
    return Present(
        addresses=netlink.addresses(),
        neighbours=netlink.neighbours(),
        routes=netlink.routes(TABLE_BASE, _LAST_TABLE),
        rules={rule for rule, ours in rules if ours},
        stock_rules={rule for rule, ours in rules if not ours} & stock,
        address_map=address_map,
    )


def compare(desired: Desired, present: Present) -> Difference:
    """Return what has to change."""
    kept_neighbours = {entry.address for entry in desired.neighbours}
    kept_routes = {route.key for route in desired.routes}
    return Difference(
        new_addresses=desired.addresses - present.addresses,
        old_addresses=present.addresses - desired.addresses,
        new_neighbours=desired.neighbours - present.neighbours,
        old_neighbours={
            entry
            for entry in present.neighbours - desired.neighbours
            if entry.address not in kept_neighbours
        },
        new_routes=desired.routes - present.routes,
        old_routes={
            route for route in present.routes - desired.routes if route.key not in kept_routes
        },
        new_rules=desired.rules - present.rules,
        old_rules=(present.rules - desired.rules) | present.stock_rules,
        moved={entry for entry in present.addresses if _is_moved(entry, desired, present)},
    )


def _is_moved(entry: Address, desired: Desired, present: Present) -> bool:
    if entry.family == socket.AF_INET and ANCHOR_IPV4 not in present.addresses:
        return True  # the anchor must come first
    key = map_key(entry.address)
    wanted = desired.address_map.get(key)
    if wanted is None:
        return False
    if present.address_map.get(key, wanted) != wanted:
        return True
    return entry.family == socket.AF_INET6 and entry not in desired.addresses


def _execute(netlink: Rtnetlink, desired: Desired, difference: Difference) -> int:
    """Make the changes; return the number of changed map entries."""
    moved = {entry.address for entry in difference.moved}
    netlink.remove(r for r in difference.old_routes if {r.source, r.destination} & moved)
    # First: without any address the interface would lose its routes and neighbours.
    netlink.add({ANCHOR_IPV4} & difference.new_addresses)
    netlink.remove(difference.moved)
    changes = _write_maps(desired, removals=False)
    netlink.add(_by_preference(difference.new_rules)[::-1])
    netlink.add(difference.new_addresses | (difference.moved & desired.addresses))
    netlink.add(difference.new_neighbours)
    # With its address the kernel took every route that named it as the source.
    routes = difference.new_routes | {r for r in desired.routes if r.source in moved}
    netlink.add(_nearest_first(routes))
    netlink.remove(difference.old_routes)
    netlink.remove(difference.old_neighbours)
    netlink.remove(difference.old_addresses - difference.moved)
    netlink.remove(_by_preference(difference.old_rules))
    return changes + _write_maps(desired, removals=True)


def _by_preference(rules: set[Rule]) -> list[Rule]:
    return sorted(rules, key=lambda rule: rule.preference)


def _nearest_first(routes: set[Route]) -> list[Route]:
    """Sort local routes before those on the link, and these before those by a router."""
    return sorted(routes, key=lambda route: (-route.kind, bool(route.via)))


def _write_maps(desired: Desired, *, removals: bool) -> int:
    changes = 0
    for opened, wanted in (
        (bpfmap.state_map(), desired.state_map),
        (bpfmap.router_map(), desired.router_map),
        (bpfmap.resolver_map(), desired.resolver_map),
        (bpfmap.address_map(), desired.address_map),
    ):
        with opened:
            changes += bpfmap.synchronise(opened, wanted, removals=removals)
    present = bpfmap.read_config()
    kept = present.flags & bpfmap.POLICIES  # theirs is another command's
    config = desired.config._replace(flags=desired.config.flags | kept)
    if present != config:
        bpfmap.write_config(config)
        changes += 1
    return changes


def remove_everything(interface: str) -> None:
    """Take off what apply made, programs last; the stock rules come back first."""
    with _locked():
        with Rtnetlink(_interface_index(interface)) as netlink:
            present = read_present(netlink)
            # Without the rules a mark means nothing: these sockets would be FIB 0's.
            with SockDiag() as diagnosis:
                diagnosis.abort(lambda entry: 0 < entry.mark <= FIB_MAX)
            if present.rules:
                stock = {stock_local_rule(f) for f in (socket.AF_INET, socket.AF_INET6)}
                netlink.add(stock - present.stock_rules)
            netlink.remove(present.routes)
            netlink.remove(present.neighbours)
            netlink.remove(present.addresses)
            netlink.remove(_by_preference(present.rules))
        _set_anchor(remove=True)
        programs.detach(interface)
        _DOCUMENT.unlink(missing_ok=True)
        _RETIRED.unlink(missing_ok=True)


def _interface_index(name: str) -> int:
    try:
        return socket.if_nametoindex(name)
    except OSError as error:
        raise EnvironmentFailure(f"there is no interface '{name}'") from error


def _bring_up(name: str) -> bool:
    """Set the interface up unless it is, now that its guards stand; return whether it was down."""
    request = struct.Struct("16sH22x")  # struct ifreq; SIOCGIFFLAGS, SIOCSIFFLAGS: netdevice(7)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        answer = fcntl.ioctl(any_socket, 0x8913, request.pack(name.encode(), 0))
        flags = request.unpack(answer)[1]
        if flags & 1:
            return False
        fcntl.ioctl(any_socket, 0x8914, request.pack(name.encode(), flags | 1))
    return True


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    """One change at a time; the lock dies with its process."""
    if os.geteuid() != 0:
        raise EnvironmentFailure("changing FIBs needs root")
    programs.RUN.mkdir(mode=0o755, exist_ok=True)
    with Path(programs.RUN / "lock").open("w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def swap_address(address: bytes, fib: int) -> None:
    """Negative control: let the map, and it alone, say that `address` belongs to `fib`."""
    with bpfmap.address_map() as addresses:
        addresses.put(map_key(address), struct.pack("=I", fib))
