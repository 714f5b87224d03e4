"""Writes what was measured for people: one page of Markdown, and a picture a quantity."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any

from testbed.bench import compare, peers, results, targets
from testbed.bench.compare import Run
from testbed.bench.results import Sum, by_round, rate
from testbed.lifecycle import capacity
from testbed.plan.resources import Role

_PICTURED = results.QUANTITIES[:7]
_CALLS = {
    "socket_ns": "socket() and close()",
    "thread_fib_ns": "setting the thread's FIB",
    "accept_ns": "accept() and close()",
    "direct_ns": "connect() to a tenant's resolver",
    "virtual_ns": "connect() to the virtual resolver, translated",
}


def page(
    about: Mapping[str, Any], measured: Sequence[dict[str, Any]], former: Run | None = None
) -> str:
    """Return the page, with what a former run said of the same, if there is one."""
    rows = [
        "# What it costs",
        "",
        *_when(f"`make bench` ({about['scope']}),", about),
        *_renewed(about.get("renewed", {})),
        "",
        "Figures are medians, with the least and the most in brackets. Ratios (**x**) are to the FIB",
        "extensions, taken round by round between variants that were measured in turn, each in a VM just",
        "restored. What adding takes is measured in a VM of two CPUs by the host's clock: much of it is",
        "waiting. Rates, latencies, memory and system calls are measured in a VM of one CPU whose clock counts",
        "instructions, 4 ns each (`clock: instructions`): they speak of the work, whatever else this host",
        "does, and not of a real processor's caches. Server, clients and load share that CPU.",
        "",
        "## What was asked, and what was measured",
        "",
        "The median decides.",
        "",
        *targets.rows(measured),
        "",
        "## Designs",
        "",
        "*fib*: the extensions, one socket and thread. *rules*: a list of `ip rule from`, one socket.",
        "*vrf*: a VRF and a macvlan a tenant, one socket with l3mdev_accept. *netns*: a namespace, a",
        "macvlan, a listener and a thread a tenant, all of one process. *procs*: the same with a process a",
        "tenant, as daemons in VIMAGE jails or containers are. Time and memory at one tenant are what it takes",
        "with all that tenants share (such as the programs); at more they are what each tenant after the first",
        "adds, apart from what a command takes that adds one alone.",
        *results.table(measured),
        "",
        *(f"![{q.title}]({n}.svg)" for n, q in enumerate(_PICTURED) if _picture(measured, q)),
        "",
        "## The extensions by number of FIBs",
        "",
        "In turn, clients that go to random addresses; ratios to one FIB that has as many of them, since",
        "so many addresses, neighbours and sockets cost something of their own. Of more than 10,000",
        "addresses one local route stands for those of the interface, on both sides: the kernel walks all that",
        "it has for each new one.",
        "",
        *_scaling(measured),
        "",
        "## Each extension, nanoseconds",
        "",
        "*without*: nothing attached (setting a FIB is then a system call that is refused).",
        "*attached*: a thread in FIB 0. *thread-fib*: a thread in FIB 1. Each figure is the median of",
        "100 batches.",
        "",
        *_operations(measured),
        "",
        "The programs, by the kernel's own clock (`kernel.bpf_stats_enabled`), under the loads of the",
        "designs at 100 tenants; without the extensions none runs. `fib_ingress` is the ingress check,",
        "`fib_egress` the egress guard. These are averages: a busy host shows in them.",
        "",
        *_programs(measured),
        "",
        "## Name resolution and login by number of FIBs",
        "",
        *_names(measured),
        "",
        "## What things take",
        "",
        "Beside what `testbed up` reckons with (`testbed/lifecycle/capacity.py`).",
        "",
        *_footprints(measured),
        "",
        "## The testbed's wiring against raw `ip -batch`",
        "",
        *_wiring(measured),
        "",
        "## Whole topologies",
        "",
        "`up` and `down` as their user has them, warm; steps of a second and more, some of which run",
        "beside each other. Services follow on first lease.",
        "",
        *_wholes(measured),
        "",
        "## Containers a second",
        "",
        "*testbed*: networks, fixed addresses, files, and a real answer of each service.",
        "*docker run*: the same images, as many at a time, no network, nothing asked.",
        "",
        *_starts(measured),
        "",
        "## Peers: isolated 192.168.0.0/24 networks with a host and a router each",
        "",
        "The testbed's own figures for the same are those of its wiring, above.",
        "",
        *peers.rows(list(measured)),
        "",
        "## Scenarios by workers",
        "",
        "On deployments that ran already, each time in another order (`--shuffle`).",
        "",
        *_suite(measured),
        "",
        *(["## The run before", "", *compare.rows(former, measured), ""] if former else []),
        "## What failed or was left out",
        "",
        *_failures(about, measured),
    ]
    return "\n".join(rows) + "\n"


def _renewed(notes: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for moment in dict.fromkeys(note["date"] for note in notes.values()):
        parts = [part for part, note in notes.items() if note["date"] == moment]
        yield ""
        yield from _when(f"{', '.join(f'*{part}*' for part in parts)} again:", notes[parts[0]])


def _when(what: str, about: Mapping[str, Any]) -> Iterator[str]:
    load = about["load"]
    yield f"{what} {about['date']}, {about['took_s']} s, on {about['host']};"
    yield f"load average {min(load):.1f} to {max(load):.1f}."


def pictures(measured: Sequence[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """Yield file names and SVG pictures."""
    for number, quantity in enumerate(_PICTURED):
        picture = _picture(measured, quantity)
        if picture:
            yield f"{number}.svg", picture


def _picture(measured: Sequence[dict[str, Any]], quantity: results.Quantity) -> str:
    return results.picture(measured, quantity)


def _of(measured: Sequence[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [item for item in measured if kind in item and "error" not in item]


def _scaling(measured: Sequence[dict[str, Any]]) -> Iterator[str]:
    found = _of(measured, "scaling")
    ways = {"connections, /s": "conn", "requests on live connections, /s": "req", "UDP, /s": "udp"}
    yield f"| addresses | FIBs | {' | '.join(ways)} |"
    yield "|---|---|" + "---|" * len(ways)
    for count, fibs in sorted({(item["scaling"], item["fibs"]) for item in found}):
        cells = []
        for key in ways.values():
            rates = by_round(found, rate(key), scaling=count, fibs=fibs)
            one = by_round(found, rate(key), scaling=count, fibs=1)
            against = results.ratios(rates, one)
            ratio = f"; **{Sum.of(against)} x**" if against and fibs > 1 else ""
            cells.append(f"{Sum.of(list(rates.values()))}{ratio}")
        yield f"| {count:,} | {fibs:,} | {' | '.join(cells)} |"


def _operations(measured: Sequence[dict[str, Any]]) -> Iterator[str]:
    found = _of(measured, "operation")
    ways = list(dict.fromkeys(item["operation"] for item in found))
    yield f"| | {' | '.join(ways)} |"
    yield "|---|" + "---|" * len(ways)
    for key, title in _CALLS.items():
        by_way = {
            way: by_round([i for i in found if key in i], itemgetter(key), operation=way)
            for way in ways
        }
        cells = []
        for way in ways:
            if not by_way[way]:
                cells.append("")
                continue
            cell = str(Sum.of(list(by_way[way].values())))
            against = results.ratios(by_way[way], by_way.get("without", {}))
            cells.append(
                cell + (f"; **{Sum.of(against)} x**" if against and way != "without" else "")
            )
        yield f"| {title} | {' | '.join(cells)} |"


def _programs(measured: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield "| program | ns a run | runs |"
    yield "|---|---|---|"
    for item in sorted(_of(measured, "program"), key=lambda item: -item["runs"]):
        yield f"| {item['program']} | {item['ns']:,.0f} | {item['runs']:,} |"


def _names(measured: Sequence[dict[str, Any]]) -> Iterator[str]:
    found = _of(measured, "names")
    sizes = sorted({item["fibs"] for item in found})
    yield f"| ms | {' | '.join(f'{size:,} FIBs' for size in sizes)} |"
    yield "|---|" + "---|" * len(sizes)
    for what in dict.fromkeys(item["names"] for item in found):
        by_size = {item["fibs"]: item["ms"] for item in found if item["names"] == what}
        cells = [f"{by_size[size]:,.1f}" if size in by_size else "" for size in sizes]
        yield f"| {what} | {' | '.join(cells)} |"


def _footprints(measured: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield "| | measured | reckoned with |"
    yield "|---|---|---|"
    for item in _of(measured, "footprint"):
        kind = item["footprint"]
        if kind == "testbed":
            yield f"| testbed, MiB | {item['mib']:.0f} | {capacity.OURSELVES_MIB} |"
            reckoned = capacity.OURSELVES_TENANT_KIB
            yield f"| testbed, KiB a tenant | {item['kib_a_tenant']:.0f} | {reckoned} |"
        elif kind == "guest":
            of = f"of {item['memory_mib']:,}"
            yield f"| guest's system, {of}, MiB | {item['system_mib']:.0f} | {capacity.GUEST_MIB} |"
            both = item["kib_a_fib"] + item["fibctl_kib_a_fib"]
            title = f"a FIB in the guest, of {item['fibs']:,}, fibctl's work included, KiB"
            yield f"| {title} | {both:.0f} | {capacity.GUEST_FIB_KIB} |"
        elif kind == "qemu":
            yield f"| QEMU beside its guest's memory, MiB | {item['mib']:.0f} | {capacity.QEMU_MIB} |"
    for item in _of(measured, "container"):
        reckoned = capacity.CONTAINER_MIB[Role(item["container"])]
        yield f"| container {item['container']}, MiB | {item['most_mib']:.1f} | {reckoned} |"
    routers = [
        item["memory_kib"] / item["tenants"]
        for item in _of(measured, "wiring")
        if item["wiring"] == "testbed"
    ]
    if routers:
        yield f"| a router, KiB | {Sum.of(routers)} | {capacity.ROUTER_KIB} |"


def _wiring(measured: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield "| tenants | | testbed | raw | testbed / raw |"
    yield "|---|---|---|---|---|"
    found = _of(measured, "wiring")
    for count in sorted({m["tenants"] for m in found}):
        for key, title in (("up_s", "up, s"), ("down_s", "down, s"), ("memory_kib", "memory, KiB")):
            ways = {
                way: by_round(found, itemgetter(key), wiring=way, tenants=count)
                for way in ("testbed", "raw")
            }
            figures = [list(way.values()) for way in ways.values()]
            sums = " | ".join(str(Sum.of(way)) if way else "failed" for way in figures)
            against = results.ratios(ways["testbed"], ways["raw"])
            yield f"| {count:,} | {title} | {sums} | {f'{Sum.of(against)} x' if against else ''} |"


def _wholes(measured: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield "| topology | tenants | up, s | down, s | memory, MiB | longest steps, s |"
    yield "|---|---|---|---|---|---|"
    for item in _of(measured, "whole"):
        longest = sorted(item["steps"].items(), key=lambda step: -step[1])[:6]
        told = ", ".join(f"{step} {took_s:.1f}" for step, took_s in longest)
        figures = f"{item['up_s']:.1f} | {item['down_s']:.1f} | {item['memory_kib'] / 1024:,.0f}"
        yield f"| {item['whole']} | {item['tenants']:,} | {figures} | {told} |"


def _starts(measured: Sequence[dict[str, Any]]) -> Iterator[str]:
    found = _of(measured, "starts")
    ways = {
        way: by_round(found, itemgetter("per_s"), starts=way) for way in ("testbed", "docker run")
    }
    if all(ways.values()):
        yield "| testbed | docker run | testbed / docker run |"
        yield "|---|---|---|"
        sums = " | ".join(str(Sum.of(list(way.values()))) for way in ways.values())
        yield f"| {sums} | {Sum.of(results.ratios(ways['testbed'], ways['docker run']))} x |"


def _suite(measured: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield "| suites | workers | s | |"
    yield "|---|---|---|---|"
    for item in sorted(_of(measured, "suite"), key=lambda item: int(item["workers"])):
        yield f"| {item['suite']} | {item['workers']} | {item['s']:.0f} | {item['summary']} |"


_MAYBE_LEFT_OUT = {
    "suite": "The suite by workers",
    "whole": "Whole topologies",
    "scaling": "Many FIBs against one",
    "peer": "Peers",
}
"""What a quick run has no time for."""

_NAMED_BY = (
    *("variant", "adding", "scaling", "wiring", "whole", "peer", "names", "footprint", "suite"),
    "part",
)
"""The keys of which each measurement that failed has one, and is told by it."""


def _failures(about: Mapping[str, Any], measured: Sequence[dict[str, Any]]) -> Iterator[str]:
    for part, title in _MAYBE_LEFT_OUT.items():
        if not any(part in item for item in measured):
            yield f"- {title}: not in a {about['scope']} run."
    for item in measured:
        if "error" in item:
            name = next(str(item[key]) for key in _NAMED_BY if key in item)
            size = next(
                (f" ({item[k]:,})" for k in ("tenants", "fibs", "workers") if k in item), ""
            )
            yield f"- {name}{size}: {item['error']}"
