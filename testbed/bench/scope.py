"""How much a run measures: quick, full, long."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scope:
    """How much is measured: (tenants, rounds) of each kind."""

    name: str
    designs: tuple[tuple[int, int], ...]
    wiring: tuple[tuple[int, int], ...]
    seconds: float
    operation_rounds: int
    start_rounds: int
    fibs: int
    peers: int
    workers: tuple[int, ...]
    suite_s: float


QUICK = Scope("quick", ((1, 1), (100, 1)), ((200, 2),), 1.5, 2, 1, 500, 10, (), 0)
FULL = Scope(
    *("full", ((1, 3), (100, 3), (1000, 2)), ((200, 3), (1000, 3)), 4, 5),
    *(3, 10000, 50, (1, 2, 4, 8), 900),
)
LONG = Scope(
    *("long", ((1, 3), (100, 3), (1000, 3), (10000, 1)), ((1000, 3), (10000, 1)), 5, 8),
    *(5, 10000, 100, (1, 2, 4, 8), 3600),
)
