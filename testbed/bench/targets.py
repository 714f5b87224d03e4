"""What was asked of the project, beside what was measured: one row a target, met or missed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from operator import itemgetter
from statistics import median
from typing import Any

from testbed.bench.results import (
    QUANTITIES,
    REFERENCE,
    Sum,
    by_round,
    figures,
    of_designs,
    rate,
    ratios,
)

_TIME, _MEMORY = QUANTITIES[:2]
_UP_S = {"thousand": 60.0, "ten-thousand": 480.0}
_DOWN_S = {"ten-thousand": 20.0}
_RATES = {10000: 0.95, 65535: 0.90}
_SOCKET = 1.05
_OTHERS = (("procs", "a namespace and its process", 10.0), ("vrf", "a VRF", 5.0))
_MANY = 1000  # tenants, from which on a design is judged; fewer where not so many were measured


@dataclass(frozen=True, slots=True)
class Target:
    """A figure (its median decides), and the bound it must keep: at most or at least."""

    title: str
    found: Sum
    bound: float
    is_least: bool

    @property
    def is_met(self) -> bool:
        """Whether the median keeps the bound."""
        return self.found.middle >= self.bound if self.is_least else self.found.middle <= self.bound

    def row(self) -> str:
        """Return a row of Markdown."""
        kept = "met" if self.is_met else "**missed**"
        side = "at least" if self.is_least else "at most"
        return f"| {self.title} | {side} {self.bound:g} | {self.found} | {kept} |"


def rows(measured: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Yield the table of all targets for which something was measured."""
    yield "| | asked | measured | |"
    yield "|---|---|---|---|"
    for target in targets(measured):
        yield target.row()


def targets(measured: Sequence[dict[str, Any]]) -> Iterator[Target]:
    """Yield all targets for which something was measured."""
    good = [item for item in measured if "error" not in item]
    for kind in (_wholes, _wiring, _scaling, _calls, _designs):
        yield from kind(good)


def _wholes(measured: Sequence[dict[str, Any]]) -> Iterator[Target]:
    for verb, bounds in (("up", _UP_S), ("down", _DOWN_S)):
        for name, bound in bounds.items():
            found = [item[f"{verb}_s"] for item in measured if item.get("whole") == name]
            if found:
                title = f"`testbed {verb}` of topologies/{name}.yaml, s"
                yield Target(title, Sum.of(found), bound, is_least=False)


def _wiring(measured: Sequence[dict[str, Any]]) -> Iterator[Target]:
    found = [item for item in measured if "wiring" in item]
    most = max((item["tenants"] for item in found), default=0)
    for key, title, bound in (("up_s", "time", 1.5), ("memory_kib", "memory", 1.3)):
        ours, raw = (
            by_round(found, itemgetter(key), wiring=way, tenants=most) for way in ("testbed", "raw")
        )
        against = ratios(ours, raw)
        if against:
            what = f"{title} of wiring {most:,} tenants, of that of raw `ip -batch`"
            yield Target(what, Sum.of(against), bound, is_least=False)


def _scaling(measured: Sequence[dict[str, Any]]) -> Iterator[Target]:
    def rates(fibs: int, addresses: int) -> Mapping[str, float]:
        return by_round(measured, rate("conn"), scaling=addresses, fibs=fibs)

    for count, bound in _RATES.items():
        against = ratios(rates(count, count), rates(1, count))
        if against:
            title = f"connections/s with {count:,} FIBs, of those with one of as many addresses"
            yield Target(title, Sum.of(against), bound, is_least=True)


def _calls(measured: Sequence[dict[str, Any]]) -> Iterator[Target]:
    def times(way: str) -> Mapping[int, float]:
        return by_round(measured, itemgetter("socket_ns"), operation=way)

    against = ratios(times("thread-fib"), times("attached"))
    if against:
        title = "socket() and close() by a thread with a FIB, of those by one without"
        yield Target(title, Sum.of(against), _SOCKET, is_least=False)


def _designs(measured: Sequence[dict[str, Any]]) -> Iterator[Target]:
    found = of_designs(measured)
    counts = sorted({item["tenants"] for item in found} - {1})
    judged = [each for each in counts if each >= _MANY] or counts[-1:]
    for count, (name, title, bound), quantity in product(judged, _OTHERS, (_TIME, _MEMORY)):
        ours = figures(found, quantity, REFERENCE, count)
        theirs = figures(found, quantity, name, count)
        if ours and theirs and median(ours.values()) > 0:
            against = ratios(theirs, ours)
            what = f"{quantity.title} with {title} each, of that with a FIB ({count:,} tenants)"
            yield Target(what, Sum.of(against), bound, is_least=True)
