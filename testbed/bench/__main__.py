"""Measures, in one run and in turn: the FIB extensions against other designs, the testbed against ip.

    python -m testbed.bench [PART...]    QUICK=1: within five minutes; LONG=1: also 10,000 tenants

All parts write docs/bench/: results.json for machines, README.md and pictures for people, in which the
ratios of the run that was there are compared with. ONLY=PART,... measures these again, into what is
there. Parts as arguments are printed as JSON lines, and change nothing.
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

from testbed.bench import footprint, inside, peers, suite, whole, wiring
from testbed.bench.compare import Run
from testbed.bench.published import PARTS, Published
from testbed.bench.scope import FULL, LONG, QUICK, Scope
from testbed.errors import ExitCode, TestbedError
from testbed.events import Event, Events, Phase

_INSIDE = frozenset({"starts", "additions", "footprint", "operations", "designs", "scaling"})


def main(arguments: Sequence[str]) -> int:
    """Measure, write it down; return how many measurements failed."""
    only = [] if arguments else [part for part in os.environ.get("ONLY", "").split(",") if part]
    unknown = [part for part in (*arguments, *only) if part not in PARTS]
    if unknown:
        sys.stderr.write(f"error: no part {unknown[0]!r}\n    there are: {' '.join(PARTS)}\n")
        return ExitCode.BAD_INPUT
    scope = QUICK if os.environ.get("QUICK") else LONG if os.environ.get("LONG") else FULL
    there = Published.to_renew(scope.name) if only else Published.read()
    start = time.monotonic()
    loads = [os.getloadavg()[0]]
    measured: list[dict[str, Any]] = []
    for part in _measure(scope, arguments or only or list(PARTS), Events([_show])):
        measured += part
        loads.append(os.getloadavg()[0])
        if arguments:
            sys.stdout.writelines(f"{json.dumps(found)}\n" for found in part)
            sys.stdout.flush()
    if not arguments:
        run = Run(_about(scope, time.monotonic() - start, loads), measured)
        if there is None:
            now = Published(run)
        else:
            now = there.renewed(only, run) if only else there.followed_by(run)
        sys.stdout.write(now.write())
    return 1 if any("error" in found for found in measured) else 0


def _measure(scope: Scope, parts: Sequence[str], events: Events) -> Iterator[list[dict[str, Any]]]:
    for count, rounds in scope.wiring if "wiring" in parts else ():
        with events.step(f"wire {count} tenants, {rounds} times, and the same by ip"):
            about = {"wiring": "routers and links", "tenants": count}
            yield list(inside.kept(about, wiring.measure(count, rounds)))
    for name, rounds in scope.wholes if "whole" in parts else ():
        with events.step(f"bring {name} up and down, {rounds} times"):
            yield [whole.measure_warm(name, number, events) for number in range(rounds)]
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
        hint = f"    {error.hint}\n" if error.hint else ""
        sys.stderr.write(f"error: {error}\n{hint}")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:  # what it had made is removed
        sys.stderr.write("error: interrupted; nothing was written\n")
        sys.exit(ExitCode.INTERRUPTED)
