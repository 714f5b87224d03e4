"""Where a deployment is not what its plan says: the comparisons, free of any asking.

Health says whether everything answers; drift says what is otherwise although it may answer: a
container made by an older recipe, a FIB that somebody has changed by hand, a topology file that has
changed since. Each drift names what puts it right.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from testbed.errors import TestbedError
from testbed.lifecycle.store import Record
from testbed.model.load import load_topology
from testbed.model.topology import Topology
from testbed.plan.resources import FibPlan, Plan

_AGAIN = "testbed up"


@dataclass(frozen=True, slots=True)
class Drift:
    """One difference: what it is about, what was found, and what puts it right."""

    subject: str
    found: str
    mend: str


def of_topology(record: Record, recorded: Topology) -> Iterator[Drift]:
    """Compare the file that the deployment was brought up from with the deployment's own copy."""
    source = Path(record.source)
    if not source.is_file():
        return  # a bundle's or a test's: it is not needed any more
    name = f" --name {record.name}" if record.name != recorded.name else ""
    again = f"testbed up {source}{name}"
    try:
        now = load_topology(source)
    except TestbedError as error:
        first = error.message.partition("\n")[0]
        yield Drift("topology", f"{source} is wrong now: {first}", "correct it")
        return
    if now != recorded:
        yield Drift("topology", f"{source} has changed since", f"{again} (replaces the deployment)")


def of_fibs(plan: Plan, shown: Mapping[str, Any]) -> Iterator[Drift]:
    """Compare the SUT's FIBs with what `fibctl show` tells of them."""
    sut = plan.sut
    if shown["interface"] != sut.interface:
        yield _of_sut(f"FIBs of {shown['interface']}, not of {sut.interface}")
    if shown["default_fib"] != sut.default_fib:
        yield _of_sut(f"the interface's FIB is {shown['default_fib']}, not {sut.default_fib}")
    for what, subjects in (
        ("is broken on purpose", shown["broken"]),
        ("is not attached", shown["missing_programs"]),
        ("is an address of no FIB", shown["unknown_addresses"]),
    ):
        for subject in subjects:
            yield _of_sut(f"{subject} {what}")
    present = {int(fib["id"]): fib for fib in shown["fibs"]}
    for fib in sut.fibs:
        told = present.pop(fib.fib, None)
        yield from _of_fib(fib, told)
    for number, extra in present.items():
        yield Drift(str(extra["name"] or f"FIB {number}"), f"FIB {number} is not planned", _AGAIN)


def _of_fib(fib: FibPlan, told: Mapping[str, Any] | None) -> Iterator[Drift]:
    if told is None:
        yield Drift(fib.name, f"FIB {fib.fib} is missing", _AGAIN)
        return
    wanted = {str(address) for address in fib.addresses}
    yield from _differences(fib.name, "address", wanted, set(told["addresses"]))
    routes = {(str(route.to), str(route.via or "")) for route in fib.routes}
    present = {(str(ip_network(r["to"])), r.get("via", "")) for r in told["routes"]}
    yield from _differences(fib.name, "route", _words(routes), _words(present))


def _words(routes: Iterable[tuple[str, str]]) -> set[str]:
    return {f"{to} via {via}" if via else to for to, via in routes}


def _differences(subject: str, kind: str, wanted: set[str], there: set[str]) -> Iterator[Drift]:
    for missing in sorted(wanted - there):
        yield Drift(subject, f"{kind} {missing} is missing", _AGAIN)
    for extra in sorted(there - wanted):
        yield Drift(subject, f"{kind} {extra} is not planned", _AGAIN)


def _of_sut(found: str) -> Drift:
    return Drift("sut", found, _AGAIN)


def of_names(kind: str, wanted: Iterable[str], there: Iterable[str]) -> Iterator[Drift]:
    """Tell what carries the deployment's id and is not in its plan."""
    for name in sorted(set(there) - set(wanted)):
        yield Drift(kind, f"{name} is not planned", "testbed down, then testbed up")


def of_recipes(wanted: Mapping[str, str], there: Mapping[str, str]) -> Iterator[Drift]:
    """Tell which containers were made by another recipe: image, files, options or link have changed."""
    for name, recipe in wanted.items():
        if name in there and there[name] != recipe:
            yield Drift(name, "made by an older recipe (image, files, options or link)", _AGAIN)
