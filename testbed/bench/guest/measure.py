"""What each design costs, and how fast it is: run inside the SUT as root, standard library only.

The host sends it with `designs` and `load`. One design in the life of a VM: nothing is left of an
earlier one, and nothing is taken down. Prints one JSON object a measurement.

    measure INTERFACE adding DESIGN TENANTS
    measure INTERFACE load DESIGN TENANTS SECONDS
    measure INTERFACE programs TENANTS SECONDS
    measure INTERFACE operations ROUNDS

INTERFACE is the one whose FIBs are taken off first; TENANTS is 1, or more than 3.
"""

from __future__ import annotations

import json
import os
import resource
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from .designs import (
    CLIENTS,
    DESIGNS,
    OURS,
    RESOLVER,
    SERVER,
    VIRTUAL,
    connect,
    fibs,
    run,
    take_down,
)

LOAD = "/opt/bench/load"
PORT = 7100
COUNT = "10000"
READY_S = 60
FILES = 1 << 16


def free_kib() -> int:
    """Return the memory that nothing uses, once the kernel has freed what went before."""
    last, unchanged = 0, 0
    for _ in range(30):
        Path("/proc/sys/vm/drop_caches").write_text("3")
        Path("/proc/sys/vm/compact_memory").write_text("1")  # returns what processors set aside
        rows = Path("/proc/meminfo").read_text().splitlines()
        found = int(next(row for row in rows if row.startswith("MemFree")).split()[1])
        unchanged = unchanged + 1 if abs(found - last) < 128 else 0
        if unchanged == 2:
            break
        last = found
        time.sleep(0.4)
    return found


def measure_programs(count: int, seconds: float) -> list[dict[str, Any]]:
    """Load the extensions while the kernel takes the times of their programs."""
    Path("/proc/sys/kernel/bpf_stats_enabled").write_text("1")
    times: list[dict[str, Any]] = []
    measure_load("fib", count, seconds, lambda: times.extend(program_times()))
    return times


def measure_adding(name: str, count: int) -> dict[str, Any]:
    """Make a design, and see what time that takes, until all tenants are served.

    That is the first tenant's, with all that tenants share; of many it is what each of them takes, without
    what it takes to add one by itself (`alone_ms`: a command's start).
    """
    connect(name, count)
    servers: list[subprocess.Popen[bytes]] = []
    took_ms: list[float] = []
    steps = [range(1, 2)] if count == 1 else [range(1, 2), range(2, 3), range(3, count + 1)]
    try:
        for tenants in steps:
            start = time.monotonic()
            servers += added(name, tenants)
            took_ms.append((time.monotonic() - start) * 1000)
    finally:
        end(servers)
    return {
        "add_ms": took_ms[0] if count == 1 else (took_ms[2] - took_ms[1]) / (count - 3),
        "alone_ms": took_ms[min(1, count - 1)],
    }


def measure_load(
    name: str, count: int, seconds: float, at_end: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """Make a design, see what memory it takes, and load it.

    That is the first tenant's, with all that tenants share; of more than one what each of the others adds.
    """
    connect(name, count)
    free = [free_kib()]
    servers = added(name, range(1, 2))
    try:
        free.append(free_kib())
        if count > 1:
            servers += added(name, range(2, count + 1))
            free.append(free_kib())
        tasks = [len(list(Path(f"/proc/{server.pid}/task").iterdir())) for server in servers]
        result: dict[str, Any] = {
            "memory_kib": (free[-2] - free[-1]) / max(1, count - 1),
            "threads": sum(tasks),
            "listeners": 2 * (count if name in {"netns", "procs"} else 1),
        }
        for kind in ("conn", "req", "udp"):
            client = ("taskset", "-c", "0", "nsenter", f"--net=/run/netns/{CLIENTS}", "--", LOAD)
            said = run(*client, kind, str(count), str(PORT), str(seconds))
            result[kind] = json.loads(said)
        at_end()
    finally:
        end(servers)
    return result


def added(name: str, tenants: Sequence[int]) -> list[subprocess.Popen[bytes]]:
    """Add tenants; return what was started to answer them, which in most designs the first tenant's does."""
    spaces = DESIGNS[name](tenants)
    if name == "procs":
        return serve(name, [[space] for space in spaces])
    return serve(name, [spaces]) if spaces or 1 in tenants else []


def end(servers: list[subprocess.Popen[bytes]]) -> None:
    """End what answers."""
    for listening in servers:
        listening.kill()
    for listening in servers:
        listening.wait()


def serve(name: str, groups: list[list[str]]) -> list[subprocess.Popen[bytes]]:
    """Start what answers, a process for each group of namespaces and a thread for each of them; they listen."""
    prefix = [] if name in OURS else ["nsenter", f"--net=/run/netns/{SERVER}", "--"]
    environment = {**os.environ, **({"LOAD_KEEP_DEVICE": "1"} if name == "vrf" else {})}
    reading, writing = os.pipe()
    processors = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {0})  # theirs, too
    started = [
        subprocess.Popen(
            [*([] if spaces else prefix), LOAD, "serve", str(PORT), *spaces],
            env=environment,
            stdout=writing,
        )
        for spaces in groups
    ]
    os.sched_setaffinity(0, processors)
    os.close(writing)
    _await_ready(reading, sum(max(1, len(spaces)) for spaces in groups))
    os.close(reading)
    return started


def _await_ready(said: int, count: int) -> None:
    """Wait until `count` lines have been said; one that ends instead says none."""
    while count > 0:
        if not select.select([said], [], [], READY_S)[0]:
            raise RuntimeError(f"{count} servers do not listen")
        lines = os.read(said, 1 << 16)
        if not lines:
            raise RuntimeError(f"{count} servers have ended")
        count -= lines.count(b"\n")


def operations(repeats: int) -> Iterator[dict[str, Any]]:
    """Cost of system calls: without the extensions, with them, in a thread's FIB."""
    for number in range(repeats):
        yield {"operation": "without", "round": number, **json.loads(run(LOAD, "ops", COUNT))}
        connect("fib", 1)
        fibs([1])
        yield {"operation": "attached", "round": number, **json.loads(run(LOAD, "ops", COUNT))}
        said = run("fibctl", "exec", "1", "--", LOAD, "ops", COUNT, RESOLVER, VIRTUAL)
        yield {"operation": "thread-fib", "round": number, **json.loads(said)}
        take_down()


def program_times() -> Iterator[dict[str, Any]]:
    """Nanoseconds that each eBPF program has taken a run, by the kernel's own clock."""
    for program in json.loads(run("bpftool", "--json", "prog", "show")):
        runs = program.get("run_cnt", 0)
        if runs and str(program.get("name", "")).startswith("fib_"):
            yield {
                "program": program["name"],
                "runs": runs,
                "ns": program["run_time_ns"] / runs,
            }


def main(interface: str, what: str, *arguments: str) -> None:
    """Measure one thing."""
    # ip(8) keeps open each namespace that its lines name.
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES))
    run("fibctl", "detach", interface)
    found: Iterable[dict[str, Any]]
    if what == "adding":
        name, count = arguments
        found = [measure_adding(name, int(count))]
    elif what == "load":
        name, count, seconds = arguments
        found = [measure_load(name, int(count), float(seconds))]
    elif what == "programs":
        count, seconds = arguments
        found = measure_programs(int(count), float(seconds))
    else:
        found = operations(int(arguments[0]))
    for one in found:
        print(json.dumps(one), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
