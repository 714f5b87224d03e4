"""An oracle of its own: what the specification demands, from the document as it is written.

Shares nothing with the extensions, not even the parser: addresses are strings of bits, networks their
first bits. Slow, and plain to read. It says which FIB an address is in, which way a socket's packet
goes, and what the data path makes of a frame.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

ANCHORS: Final = ("192.0.0.8", "100::f1b")
"""Addresses of FIB 0's own (docs/fib.md): nobody talks to them."""

LINK_SCOPE: Final = ("224.0.0.0/4", "169.254.0.0/16", "255.255.255.255/32", "0.0.0.0/32")
LINK_SCOPE_6: Final = ("ff00::/8", "fe80::/10", "::/128")


def bits(address: str) -> str:
    """Return an address as bits, after a digit for its family.

    >>> bits("10.0.0.1")
    '400001010000000000000000000000001'
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    packed = socket.inet_pton(family, address)
    digit = "6" if ":" in address else "4"
    return digit + "".join(f"{byte:08b}" for byte in packed)


def prefix(network: str) -> str:
    """Return what the bits of a network's addresses begin with."""
    address, _, length = network.partition("/")
    return bits(address)[: 1 + int(length)]


def is_of_link(address: str) -> bool:
    """Whether an address can be of no tenant (row 51)."""
    return any(bits(address).startswith(prefix(n)) for n in (*LINK_SCOPE, *LINK_SCOPE_6))


@dataclass(frozen=True)
class Way:
    """Where a packet goes: `local`, `delivered`, `unreachable`, `no address`."""

    verdict: str
    source: str | None = None
    next_hop: str | None = None
    network: str | None = None


@dataclass(frozen=True)
class Arrival:
    """A frame that comes in.

    `quotes` is the source of the packet that an ICMP error quotes, empty when it cannot be seen.
    """

    mac: str
    source: str
    destination: str
    quotes: str | None = None
    is_malformed: bool = False


@dataclass(frozen=True)
class Departure:
    """A frame that goes out; what the kernel says on its own account is marked as such."""

    mark: int
    source: str
    mac: str
    is_discovery: bool = False
    is_report: bool = False
    is_malformed: bool = False


class Oracle:
    """Answers for one document."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.default = int(document.get("default_fib", 0))
        self._strict = bool(document.get("strict_mac", False))
        self._fibs: dict[int, Mapping[str, Any]] = {fib["id"]: fib for fib in document["fibs"]}
        self._own: dict[str, int] = {bits(address): 0 for address in ANCHORS}
        for entry in document.get("unassigned", []):
            self._own[bits(entry.partition("/")[0])] = self.default
        for number, fib in self._fibs.items():
            for entry in fib.get("addresses", []):
                self._own[bits(entry.partition("/")[0])] = number
        self._unassigned = [e.partition("/")[0] for e in document.get("unassigned", [])]

    def fib_of(self, address: str) -> int | None:
        """Return the FIB of a local address, nothing for any other."""
        return self._own.get(bits(address))

    def addresses(self, fib: int) -> list[str]:
        """Return the addresses of a FIB, preferred ones first."""
        own = [entry.partition("/")[0] for entry in self._fibs[fib].get("addresses", [])]
        return own + (self._unassigned if fib == self.default else [])

    def way(self, fib: int, remote: str) -> Way:
        """Return where a packet goes from an unbound socket of a FIB other than 0."""
        if fib not in self._fibs:
            return Way("unreachable")
        if self.fib_of(remote) == fib:
            return Way("local", source=remote)
        routes = [
            (len(prefix(route["to"])), route)
            for route in self._fibs[fib].get("routes", [])
            if bits(remote).startswith(prefix(route["to"]))
        ]
        if not routes:
            return Way("unreachable")
        route = max(routes, key=lambda found: found[0])[1]
        family = bits(remote)[0]
        source = next((a for a in self.addresses(fib) if bits(a)[0] == family), None)
        hop = route.get("via") or remote
        return Way("delivered", source=source, next_hop=hop, network=route["to"])

    def _has_router(self, fib: int, mac: str) -> bool:
        return mac in self._macs([fib] if fib in self._fibs else [])

    def _macs(self, fibs: Iterable[int]) -> set[str]:
        return {
            neighbour["mac"].lower()
            for fib in fibs
            for neighbour in self._fibs[fib].get("neighbours", [])
        }

    def arrival(self, frame: Arrival) -> tuple[int, str | None]:
        """Return the mark that a frame gets, and why it is dropped, if it is."""
        if frame.is_malformed:
            return 0, "malformed"
        own = self.fib_of(frame.destination)
        if own == 0 and self.default and frame.destination in ANCHORS:
            return 0, "sender"
        fib = own
        if fib is None:
            fib = 0 if is_of_link(frame.destination) else self.default
        source_fib = self.fib_of(frame.source)
        is_from_router = self._has_router(fib, frame.mac)
        if source_fib is not None and (source_fib == fib or not is_from_router):
            return fib, "hairpin"
        if fib and self._strict and not is_from_router:
            return fib, "sender"
        return fib, self._error(fib, frame.quotes)

    def _error(self, fib: int, quotes: str | None) -> str | None:
        if quotes is None:
            return None
        if not quotes:
            return "malformed"
        quoted = self.fib_of(quotes)
        return None if (self.default if quoted is None else quoted) == fib else "foreign-icmp"

    def departure(self, frame: Departure) -> str | None:
        """Return why a frame is dropped on its way out, if it is."""
        if frame.is_malformed:
            return "malformed"
        fib = self.fib_of(frame.source)
        if fib is None:
            fib = 0 if is_of_link(frame.source) else self.default
        if (frame.is_discovery and not frame.mark) or (frame.is_report and not fib):
            return None
        if frame.mark and frame.mark != fib:
            return "guard-source"
        return self._to_neighbour(fib, frame.mac)

    def _to_neighbour(self, fib: int, mac: str) -> str | None:
        anybody = self._macs(self._fibs)
        if not fib:
            return "guard-router" if mac in anybody else None
        if fib not in self._fibs:
            return "guard-no-fib"
        if self._has_router(fib, mac):
            return None
        is_group = int(mac[:2], 16) & 1
        return "guard-router" if self._macs([fib]) or is_group or mac in anybody else None
