"""Measures, in one run and in turn: the FIB extensions against other designs, the testbed against ip.

    python -m testbed.bench [PART...]    QUICK=1: within five minutes; LONG=1: also 10,000 tenants

All parts write docs/bench/: results.json for machines, README.md and pictures for people, in which the
ratios of the run that was there are compared with; some alone are printed as JSON lines.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from testbed.bench import footprint, inside, peers, report, suite, whole, wiring
from testbed.bench.compare import Run
from testbed.bench.scope import FULL, LONG, QUICK, Scope
from testbed.errors import ExitCode, TestbedError
from testbed.events import Event, Events, Phase

DOCS = Path(__file__).parents[2] / "docs" / "bench"
PARTS = (
    "wiring",
    "whole",
    "peers",
    "starts",
    "additions",
    "footprint",
    "operations",
    "designs",
    "scaling",
    "suite",
)
_INSIDE = frozenset({"starts", "additions", "footprint", "operations", "designs", "scaling"})


def main(arguments: Sequence[str]) -> int:
    """Measure, write it down; return how many measurements failed."""
    unknown = [part for part in arguments if part not in PARTS]
    if unknown:
        sys.stderr.write(f"error: no part {unknown[0]!r}\n    there are: {' '.join(PARTS)}\n")
        return 2
    scope = QUICK if os.environ.get("QUICK") else LONG if os.environ.get("LONG") else FULL
    events = Events([_show])
    start = time.monotonic()
    loads = [os.getloadavg()[0]]
    measured: list[dict[str, Any]] = []
    for part in _measure(scope, arguments or PARTS, events):
        measured += part
        loads.append(os.getloadavg()[0])
        if arguments:
            sys.stdout.writelines(f"{json.dumps(found)}\n" for found in part)
            sys.stdout.flush()
    if not arguments:
        _write(_about(scope, time.monotonic() - start, loads), measured)
    return 1 if any("error" in found for found in measured) else 0


def _measure(scope: Scope, parts: Sequence[str], events: Events) -> Iterator[list[dict[str, Any]]]:
    for count, rounds in scope.wiring if "wiring" in parts else ():
        with events.step(f"wire {count} tenants, {rounds} times, and the same by ip"):
            about = {"wiring": "routers and links", "tenants": count}
            yield list(inside.kept(about, wiring.measure(count, rounds)))
    for name, rounds in scope.wholes if "whole" in parts else ():
        with events.step(f"bring {name} up and down, {rounds} times"):
            yield [whole.measure(name, number, events) for number in range(rounds)]
    if scope.peers and "peers" in parts:
        with events.step(f"{scope.peers} networks by Mininet and munet"):
            yield list(peers.measure(scope.peers))
    if "footprint" in parts:
        with events.step("what testbed itself takes"):
            yield [footprint.of_testbed(1, 2000)]
    if _INSIDE & set(parts):
        try:
            for found in inside.measure(parts, scope, events):
                yield [found]
        except TestbedError as error:  # what was measured before it took long
            yield [{"part": "what else is measured in the VM", "error": error.message}]
    if "suite" in parts and scope.workers:
        with events.step("the suite by workers"):
            yield list(suite.measure(scope.suites, scope.workers, scope.suite_s, events))


def _write(about: dict[str, Any], measured: list[dict[str, Any]]) -> None:
    DOCS.mkdir(parents=True, exist_ok=True)
    former = _former()
    text = json.dumps({"about": about, "measurements": measured}, indent=1)
    (DOCS / "results.json").write_text(f"{text}\n")
    page = report.page(about, measured, former)
    (DOCS / "README.md").write_text(page)
    for name, picture in report.pictures(measured):
        (DOCS / name).write_text(picture)
    sys.stdout.write(page)


def _former() -> Run | None:
    """Return the run that was written last."""
    try:
        said = json.loads((DOCS / "results.json").read_text())
        return Run(said["about"], said["measurements"])
    except (FileNotFoundError, ValueError, KeyError):  # none, or no results of ours
        return None


def _about(scope: Scope, took_s: float, loads: Sequence[float]) -> dict[str, Any]:
    rows = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((row.partition(":")[2].strip() for row in rows if "model name" in row), "unknown")
    return {
        "scope": scope.name,
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "took_s": round(took_s),
        "host": f"{os.cpu_count()} x {model}, Linux {platform.release()}",
        "load": list(loads),
    }


def _show(event: Event) -> None:
    if event.phase in {Phase.END, Phase.FAIL}:
        sys.stderr.write(f"{event.step} {event.phase} {event.elapsed_s:.1f} s {event.detail}\n")


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except TestbedError as error:
        sys.stderr.write(f"error: {error}\n    {error.hint}\n")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:  # what it had made is removed
        sys.stderr.write("error: interrupted; nothing was written\n")
        sys.exit(ExitCode.INTERRUPTED)
