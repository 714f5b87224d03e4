"""Each target is taken from what was measured of it alone, and is met or missed by the right side."""

from __future__ import annotations

from typing import Any

import pytest

from testbed.bench import targets


def rows(measured: list[dict[str, Any]]) -> dict[str, str]:
    """Return what is said of each target, by its title."""
    found = (row.strip("| ").partition(" | ") for row in list(targets.rows(measured))[2:])
    return {title: said for title, _, said in found}


def design(name: str, tenants: int, add_ms: float, memory_kib: int) -> list[dict[str, Any]]:
    about = {"tenants": tenants, "round": 0}
    return [
        {"adding": name, "add_ms": add_ms, **about},
        {"variant": name, "memory_kib": memory_kib, **about},
    ]


def scaling(fibs: int, number: str, per_s: float, addresses: int = 10000) -> dict[str, Any]:
    return {"scaling": addresses, "fibs": fibs, "round": number, "conn": {"per_s": per_s}}


def wiring(way: str, tenants: int, up_s: float, memory_kib: int) -> dict[str, Any]:
    return {
        "wiring": way,
        "tenants": tenants,
        "round": 0,
        "up_s": up_s,
        "memory_kib": memory_kib,
    }


def call(way: str, number: int, socket_ns: float) -> dict[str, Any]:
    return {"operation": way, "round": number, "socket_ns": socket_ns}


@pytest.mark.parametrize(
    ("measured", "expected"),
    [
        pytest.param([], {}, id="nothing-measured"),
        pytest.param(
            [{"whole": "thousand", "up_s": 61.0, "down_s": 9.0, "round": 0}],
            {"`testbed up` of topologies/thousand.yaml, s": "at most 60 | 61 | **missed**"},
            id="up-too-slow",
        ),
        pytest.param(
            [{"whole": "ten-thousand", "up_s": 100.0, "down_s": 20.0, "round": 0}],
            {
                "`testbed up` of topologies/ten-thousand.yaml, s": "at most 480 | 100 | met",
                "`testbed down` of topologies/ten-thousand.yaml, s": "at most 20 | 20 | met",
            },
            id="bound-itself-is-met",
        ),
        pytest.param(
            [
                wiring("testbed", 10, 9, 9),
                wiring("raw", 10, 1, 1),
                wiring("testbed", 1000, 3, 1400),
                wiring("raw", 1000, 4, 1000),
            ],
            {
                "time of wiring 1,000 tenants, of that of raw `ip -batch`": "at most 1.5 | 0.75 | met",
                "memory of wiring 1,000 tenants, of that of raw `ip -batch`": "at most 1.3 | 1.4 | **missed**",
            },
            id="most-tenants-count",
        ),
        pytest.param(
            [
                scaling(1, "0.0", 1000, addresses=1),
                scaling(1, "0.0", 100),
                scaling(10000, "0.0", 94),
                scaling(1, "0.1", 200),
                scaling(10000, "0.1", 198),
                scaling(1, "0.2", 100),
                scaling(10000, "0.2", 96),
            ],
            {
                "connections/s with 10,000 FIBs, of those with one of as many addresses": "at least 0.95 | 0.96 (0.94 to 0.99) | met"
            },
            id="round-by-round",
        ),
        pytest.param(
            [call("without", 0, 90), call("attached", 0, 100), call("thread-fib", 0, 106)],
            {
                "socket() and close() by a thread with a FIB, of those by one without": "at most 1.05 | 1.06 | **missed**"
            },
            id="socket-too-slow",
        ),
        pytest.param(
            [
                *design("fib", 1, 1000, 1000),
                *design("procs", 1, 10, 1000),
                *design("fib", 100, 2, 10),
                *design("procs", 100, 22, 120),
                *design("vrf", 100, 8, 60),
            ],
            {
                "time to add a tenant with a namespace and its process each, of that with a FIB (100 tenants)": "at least 10 | 11 | met",
                "memory a tenant with a namespace and its process each, of that with a FIB (100 tenants)": "at least 10 | 12 | met",
                "time to add a tenant with a VRF each, of that with a FIB (100 tenants)": "at least 5 | 4 | **missed**",
                "memory a tenant with a VRF each, of that with a FIB (100 tenants)": "at least 5 | 6 | met",
            },
            id="designs-at-most-tenants",
        ),
        pytest.param(
            [
                *design("fib", 100, 2, 10),
                *design("vrf", 100, 8, 60),
                *design("fib", 1000, 2, 10),
                *design("vrf", 1000, 8, 60),
                *design("fib", 10000, 2, 10),
                *design("vrf", 10000, 12, 40),
            ],
            {
                "time to add a tenant with a VRF each, of that with a FIB (1,000 tenants)": "at least 5 | 4 | **missed**",
                "memory a tenant with a VRF each, of that with a FIB (1,000 tenants)": "at least 5 | 6 | met",
                "time to add a tenant with a VRF each, of that with a FIB (10,000 tenants)": "at least 5 | 6 | met",
                "memory a tenant with a VRF each, of that with a FIB (10,000 tenants)": "at least 5 | 4 | **missed**",
            },
            id="designs-at-a-thousand-and-more",
        ),
        pytest.param(
            [*design("fib", 1, 1, 1000), *design("vrf", 1, 1, 1000)], {}, id="one-tenant-alone"
        ),
        pytest.param(
            [{"whole": "thousand", "round": 0, "error": "does not fit"}], {}, id="failures"
        ),
    ],
)
def test_targets(measured: list[dict[str, Any]], expected: dict[str, str]) -> None:
    assert rows(measured) == expected
