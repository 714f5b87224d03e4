"""The scenarios by number of workers, on a deployment that runs already."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from testbed.drivers import process
from testbed.errors import TestbedError

_ROOT = Path(__file__).parents[2]
_SCENARIOS = ("scenarios/routing", "scenarios/isolation", "scenarios/authentication")
_LONGEST_S = 1800


def measure(workers: Sequence[int], budget_s: float) -> Iterator[dict[str, Any]]:
    """Run them with each number of workers in turn, while there is time in the budget."""
    start = time.monotonic()
    base = [sys.executable, "-m", "pytest", "-q", "--keep", *_SCENARIOS]
    try:
        process.run(
            [*base, "-n", "4"], cwd=_ROOT, timeout_s=_LONGEST_S, check=False
        )  # brings it up
        for count in workers:
            found: dict[str, Any] = {"suite": "scenarios", "workers": count}
            if time.monotonic() - start > budget_s:
                yield found | {"error": f"no time: {budget_s:g} s were used up"}
                continue
            begun = time.monotonic()
            done = process.run(
                [*base, "-n", str(count)], cwd=_ROOT, timeout_s=_LONGEST_S, check=False
            )
            took_s = time.monotonic() - begun
            summary = (done.stdout.strip().splitlines() or [""])[-1].strip("= ")
            yield found | {"s": took_s, "summary": summary}
    except TestbedError as error:
        yield {"suite": "scenarios", "workers": 0, "error": error.message}
