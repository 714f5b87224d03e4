"""How much a run measures: quick, full, long."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scope:
    """How much is measured: (tenants, rounds) of each kind; `scaling` against one FIB.

    `wholes` are topologies of topologies/ that go up and down. `topology` and `counted` are files beside
    this module, whose VMs must have room for the most FIBs; the time of the second is instructions, which
    hardly differ from round to round.
    """

    name: str
    topology: str
    counted: str
    additions: tuple[tuple[int, int], ...]
    designs: tuple[tuple[int, int], ...]
    wiring: tuple[tuple[int, int], ...]
    wholes: tuple[tuple[str, int], ...]
    scaling: tuple[tuple[int, int], ...]
    seconds: float
    operation_rounds: int
    start_rounds: int
    fibs: int
    peers: int
    suites: tuple[str, ...]
    workers: tuple[int, ...]
    suite_s: float


QUICK = Scope(
    name="quick",
    topology="bench.yaml",
    counted="bench-counted.yaml",
    additions=((100, 1),),
    designs=((100, 1),),
    wiring=((200, 2),),
    wholes=(),
    scaling=(),
    seconds=0.25,
    operation_rounds=1,
    start_rounds=1,
    fibs=500,
    peers=0,
    suites=(),
    workers=(),
    suite_s=0,
)
FULL = Scope(
    name="full",
    topology="bench.yaml",
    counted="bench-counted.yaml",
    additions=((1, 1), (100, 1), (1000, 2)),
    designs=((1, 1), (100, 1), (1000, 1)),
    wiring=((200, 3), (1000, 3)),
    wholes=(("thousand", 1),),
    scaling=((10000, 1),),
    seconds=0.5,
    operation_rounds=2,
    start_rounds=2,
    fibs=10000,
    peers=20,
    suites=("routing/test_reach.py",),
    workers=(4, 8, 2, 1),
    suite_s=300,
)
LONG = Scope(
    name="long",
    topology="bench-long.yaml",
    counted="bench-long-counted.yaml",
    additions=((1, 3), (100, 3), (1000, 5), (10000, 1)),
    designs=((1, 2), (100, 2), (1000, 2), (10000, 1)),
    wiring=((1000, 3), (10000, 1)),
    wholes=(("thousand", 2), ("ten-thousand", 1)),
    scaling=((10000, 2), (65535, 1)),
    seconds=2,
    operation_rounds=8,
    start_rounds=5,
    fibs=10000,
    peers=100,
    suites=("routing", "isolation", "authentication"),
    workers=(4, 8, 2, 1),
    suite_s=3600,
)
