"""Measures, in one run and in turn: the FIB extensions against other designs, the testbed against ip.

    python -m testbed.bench          QUICK=1: within five minutes; LONG=1: also 10,000 tenants

Writes docs/bench/: results.json for machines, README.md and pictures for people.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testbed.bench import results, wiring
from testbed.drivers import process
from testbed.errors import TestbedError
from testbed.events import Event, Events, Phase
from testbed.lifecycle.down import remove_deployment, stop_shared
from testbed.lifecycle.store import Store, state_root
from testbed.lifecycle.up import bring_up
from testbed.sut.channel import GuestFile
from testbed.sut.protocol import Sut

HERE = Path(__file__).parent
DOCS = Path(__file__).parents[2] / "docs" / "bench"
_GUEST = "/opt/bench"
_LONGEST_S = 3600


@dataclass(frozen=True, slots=True)
class Scope:
    """How much is measured: (tenants, rounds) of each kind."""

    name: str
    designs: tuple[tuple[int, int], ...]
    wiring: tuple[tuple[int, int], ...]
    seconds: float
    operation_rounds: int


QUICK = Scope("quick", ((1, 1), (100, 2)), ((200, 2),), 2, 2)
FULL = Scope("full", ((1, 3), (100, 3), (1000, 2)), ((200, 3), (1000, 3)), 4, 5)
LONG = Scope("long", ((1, 3), (100, 3), (1000, 3)), ((1000, 3), (10000, 1)), 5, 8)


def main() -> int:
    """Measure, write it down; return how many measurements failed."""
    scope = QUICK if os.environ.get("QUICK") else LONG if os.environ.get("LONG") else FULL
    events = Events([_show])
    start = time.monotonic()
    measured = [*_wiring(scope, events), *_designs(scope, events)]
    about = _about(scope, time.monotonic() - start)
    DOCS.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"about": about, "measurements": measured}, indent=1)
    (DOCS / "results.json").write_text(f"{text}\n")
    (DOCS / "README.md").write_text(_report(about, measured))
    for number, quantity in enumerate(results.QUANTITIES[:7]):
        picture = results.picture(measured, quantity)
        if picture:
            (DOCS / f"{number}.svg").write_text(picture)
    sys.stdout.write((DOCS / "README.md").read_text())
    return sum("error" in found for found in measured)


def _wiring(scope: Scope, events: Events) -> Iterator[dict[str, Any]]:
    for count, rounds in scope.wiring:
        with events.step(f"wire {count} tenants, {rounds} times, and the same by ip"):
            yield from wiring.measure(count, rounds)


def _designs(scope: Scope, events: Events) -> Iterator[dict[str, Any]]:
    store = Store(state_root())
    deployment = bring_up(store, HERE / "bench.yaml", events)
    try:
        sut = deployment.sut()
        sut.channel.put(
            {
                f"{_GUEST}/load": GuestFile(_compiled(deployment.folder), 0o755),
                f"{_GUEST}/variants.py": GuestFile((HERE / "guest" / "variants.py").read_bytes()),
            }
        )
        with events.step("time system calls"):
            yield from _in_guest(sut, [], scope.operation_rounds, scope.seconds)
        for group in scope.designs:
            with events.step(f"compare designs at {group[0]} tenants, {group[1]} times"):
                yield from _in_guest(sut, [group], 0, scope.seconds)
    finally:
        remove_deployment(store, deployment.record, events)
        stop_shared(store, events)


def _compiled(folder: Path) -> bytes:
    """Return the load tool, static: the guest has no compiler."""
    output = folder / "load"
    flags = ("-O2", "-Wall", "-Wextra", "-Werror", "-static", "-pthread")
    process.run(["gcc", *flags, "-o", str(output), str(HERE / "guest" / "load.c")])
    return output.read_bytes()


def _in_guest(
    sut: Sut, rounds: Sequence[tuple[int, int]], operation_rounds: int, seconds: float
) -> list[dict[str, Any]]:
    options = {
        "detach": ["eth0"],
        "clear": max((count for count, _ in rounds), default=0),
        "operation_rounds": operation_rounds,
        "rounds": rounds,
        "seconds": seconds,
    }
    argv = ["python3", f"{_GUEST}/variants.py", json.dumps(options)]
    said = sut.channel.run(argv, timeout_s=_LONGEST_S)
    return [json.loads(line) for line in said.stdout.splitlines()]


def _about(scope: Scope, took_s: float) -> dict[str, Any]:
    rows = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((row.partition(":")[2].strip() for row in rows if "model name" in row), "unknown")
    return {
        "scope": scope.name,
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "took_s": round(took_s),
        "host": f"{os.cpu_count()} x {model}, Linux {platform.release()}",
        "load": os.getloadavg(),
    }


def _report(about: dict[str, Any], measured: Sequence[dict[str, Any]]) -> str:
    rows = [
        "# What it costs",
        "",
        f"`make bench` ({about['scope']}), {about['date']}, {about['took_s']} s, on {about['host']};",
        f"load at the end {about['load'][0]:.1f}.",
        "",
        "Figures are medians, with the least and the most in brackets. Ratios (**x**) are to the FIB",
        "extensions, taken round by round between variants that were measured in turn. Server, clients",
        "and load share one CPU of the VM, so rates speak of work, not of waiting; absolute figures are",
        "those of an emulated machine where there is no KVM.",
        "",
        "## Designs, in one VM",
        "",
        "*fib*: the extensions, one socket and thread. *rules*: a list of `ip rule from`, one socket.",
        "*vrf*: a VRF and a macvlan a tenant, one socket with l3mdev_accept. *netns*: a namespace, a",
        "macvlan, a listener and a thread a tenant, as VIMAGE would have it.",
        *results.table(measured),
        "",
        *(f"![{q.title}]({n}.svg)" for n, q in enumerate(results.QUANTITIES[:7])),
        "",
        "## socket() and close()",
        "",
        *_operations(measured),
        "",
        "## The testbed's wiring against raw `ip -batch`",
        "",
        *_wiring_rows(measured),
        "",
        "## What failed or was left out",
        "",
        *_failures(measured),
        "- Not measured yet: peers (Mininet, munet), containers/s, suite by workers, resolution with",
        "  10,000 addresses, accept and guards one by one.",
    ]
    return "\n".join(rows) + "\n"


def _operations(measured: Sequence[dict[str, Any]]) -> Iterator[str]:
    found: dict[str, list[float]] = {}
    for item in measured:
        if "operation" in item:
            found.setdefault(item["operation"], []).append(item["socket_ns"])
    bare = found.get("without", [])
    yield "| | ns | against none |"
    yield "|---|---|---|"
    for name, taken in found.items():
        against = [one / base for one, base in zip(taken, bare, strict=False)]
        yield f"| {name} | {results.Sum.of(taken)} | {results.Sum.of(against)} x |"


def _wiring_rows(measured: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield "| tenants | | testbed | raw | testbed / raw |"
    yield "|---|---|---|---|---|"
    for count in sorted({m["tenants"] for m in measured if "wiring" in m}):
        for key, title in (("up_s", "up, s"), ("down_s", "down, s"), ("memory_kib", "memory, KiB")):
            ways = {
                way: {
                    m["round"]: m[key]
                    for m in measured
                    if m.get("wiring") == way and m["tenants"] == count
                }
                for way in ("testbed", "raw")
            }
            sums = " | ".join(str(results.Sum.of(list(ways[way].values()))) for way in ways)
            against = results.ratios(ways["testbed"], ways["raw"])
            shown = results.Sum.of(against) if against else "none"
            yield f"| {count:,} | {title} | {sums} | {shown} x |"


def _failures(measured: Sequence[dict[str, Any]]) -> Iterator[str]:
    for item in measured:
        if "error" in item:
            yield f"- {item['variant']} at {item['tenants']:,} tenants: {item['error']}"


def _show(event: Event) -> None:
    if event.phase in {Phase.END, Phase.FAIL}:
        sys.stderr.write(f"{event.step} {event.phase} {event.elapsed_s:.1f} s {event.detail}\n")


if __name__ == "__main__":
    try:
        sys.exit(1 if main() else 0)
    except TestbedError as error:
        sys.stderr.write(f"error: {error}\n    {error.hint}\n")
        sys.exit(error.exit_code)
