"""A page of everything, of nothing, and of failures alone: a run of half an hour must not end in vain."""

from __future__ import annotations

from typing import Any

from testbed.bench import report
from testbed.bench.compare import Run

ABOUT = {
    "scope": "quick",
    "date": "2026-01-01 00:00",
    "took_s": 100,
    "host": "2 x some CPU",
    "load": [0.5, 2.25],
}


def design(
    name: str, number: int, per_s: float, memory_kib: float = 10, tenants: int = 100
) -> list[dict[str, Any]]:
    rate = {"per_s": per_s, "p50_us": 900.0, "p99_us": 2000.0}
    about = {"tenants": tenants, "round": number}
    loaded = {"memory_kib": memory_kib, "threads": 1, "listeners": 2}
    return [
        {"adding": name, "add_ms": 0.5, "alone_ms": 30.0, **about},
        {"variant": name, "conn": rate, "req": rate, "udp": rate, **loaded, **about},
    ]


EVERYTHING: list[dict[str, Any]] = [
    *(row for n in range(3) for row in design("fib", n, 1000)),
    *(row for n in range(3) for row in design("rules", n, 500, memory_kib=40)),
    *design("fib", 0, 1000, memory_kib=3010, tenants=1),
    *(
        {
            "scaling": addresses,
            "fibs": fibs,
            "round": 0,
            **{way: {"per_s": rate} for way in ("conn", "req", "udp")},
        }
        for addresses, fibs, rate in ((1, 1, 1500), (10000, 1, 1000), (10000, 10000, 970))
    ),
    {"operation": "without", "round": 0, "socket_ns": 100, "thread_fib_ns": 50, "accept_ns": 200},
    {"operation": "attached", "round": 0, "socket_ns": 104, "thread_fib_ns": 75, "accept_ns": 210},
    {
        "operation": "thread-fib",
        "round": 0,
        "socket_ns": 105,
        "thread_fib_ns": 75,
        "accept_ns": 210,
        "direct_ns": 300,
        "virtual_ns": 330,
    },
    {"program": "fib_ingress", "runs": 10, "ns": 400.0},
    {"names": "resolve", "fibs": 8, "ms": 2.0},
    {"names": "resolve", "fibs": 10000, "ms": 3.0},
    {"footprint": "testbed", "mib": 60.0, "kib_a_tenant": 14.0, "tenants": 2000},
    {
        "footprint": "guest",
        "memory_mib": 2048,
        "system_mib": 220.0,
        "kib_a_fib": 60.0,
        "fibctl_kib_a_fib": 30.0,
        "apply_s": 9.0,
        "fibs": 10000,
    },
    {"footprint": "qemu", "mib": 300.0},
    {"container": "ldap", "mib": 14.0, "most_mib": 15.0, "containers": 8},
    *(
        {"wiring": way, "tenants": 200, "round": 0, "up_s": up, "down_s": 1.0, "memory_kib": 60000}
        for way, up in (("testbed", 1.0), ("raw", 4.0))
    ),
    {
        "wiring": "testbed",
        "tenants": 9000,
        "round": 0,
        "up_s": 9.0,
        "down_s": 8.0,
        "memory_kib": 7000,
    },
    {"wiring": "routers and links", "tenants": 9000, "error": "too many open files"},
    {"adding": "netns", "round": 0, "tenants": 9000, "error": "killed"},
    {
        "whole": "thousand",
        "round": 0,
        "tenants": 1000,
        "up_s": 17.0,
        "down_s": 4.0,
        "memory_kib": 2048000,
        "steps": {"configure FIBs": 7.0, "start the daemon": 3.0},
    },
    {"whole": "ten-thousand", "round": 0, "error": "does not fit"},
    {"starts": "testbed", "round": 0, "containers": 32, "per_s": 4.0},
    {"starts": "docker run", "round": 0, "containers": 32, "per_s": 5.0},
    {
        "peer": "Mininet",
        "tenants": 10,
        "version": "2.3.0",
        "works": True,
        "up_s": 1.0,
        "down_s": 0.5,
        "memory_kib": 30000,
    },
    {"peer": "munet", "tenants": 10, "error": "cannot be had"},
    {"suite": "scenarios", "workers": 4, "s": 60.0, "summary": "40 passed"},
    {"suite": "scenarios", "workers": 8, "error": "no time"},
    {"part": "what else is measured in the VM", "error": "it does not answer"},
]


def test_page_has_every_figure_and_what_failed() -> None:
    page = report.page(ABOUT, EVERYTHING)
    for line in (
        "load average 0.5 to 2.2.",
        "| connections, /s | 1,000 | 500; **0.5 x** |",
        "| memory a tenant, KiB | 10 | 40; **4 x** |",
        "| memory a tenant, KiB | 3,010 |",
        "| 10,000 | 1 | 1,000 | 1,000 | 1,000 |",
        "| 10,000 | 10,000 | 970; **0.97 x** | 970; **0.97 x** | 970; **0.97 x** |",
        "| socket() and close() | 100 | 104; **1.04 x** | 105; **1.05 x** |",
        "| connect() to the virtual resolver, translated |  |  | 330 |",
        "| fib_ingress | 400 | 10 |",
        "| resolve | 2.0 | 3.0 |",
        "| 200 | up, s | 1 | 4 | 0.25 x |",
        "| container ldap, MiB | 15.0 | 17 |",
        "| 9,000 | up, s | 9 | failed |  |",
        "- routers and links (9,000): too many open files",
        "- netns (9,000): killed",
        "| 4 | 5 | 0.8 x |",
        "| thousand | 1,000 | 17.0 | 4.0 | 2,000 | configure FIBs 7.0, start the daemon 3.0 |",
        "- ten-thousand: does not fit",
        "| 4 | 60 | 40 passed |",
        "- munet (10): cannot be had",
        "- scenarios (8): no time",
        "- what else is measured in the VM: it does not answer",
    ):
        assert line in page
    assert {name for name, _ in report.pictures(EVERYTHING)} == {f"{n}.svg" for n in range(7)}


def test_page_of_nothing_says_so() -> None:
    page = report.page(ABOUT, [])
    assert "- The suite by workers: not in a quick run." in page
    assert "- Whole topologies: not in a quick run." in page
    assert not list(report.pictures([]))


def test_page_compares_ratios_with_the_run_before() -> None:
    other = [
        *(row for n in range(3) for row in design("fib", n, 500)),
        *(row for n in range(3) for row in design("rules", n, 300, memory_kib=40)),
        *design("gone", 0, 1),
        {"scaling": 10000, "fibs": 1, "round": 0, "conn": {"per_s": 100}},
        {"scaling": 10000, "fibs": 10000, "round": 0, "conn": {"per_s": 99}},
    ]
    page = report.page(ABOUT, EVERYTHING, Run({**ABOUT, "host": "another"}, other))
    title = "connections/s with 10,000 FIBs, of those with one of as many addresses"
    for line in (
        "Then: 2026-01-01 00:00 (quick), on another.",
        f"| {title} | 0.99 | 0.97 |",
        "| connections | 1 | 0.833 |",  # 0.5 now, 0.6 then
        "| memory a tenant | 1 | 1 |",
    ):
        assert line in page
    assert "## The run before" not in report.page(ABOUT, EVERYTHING)
