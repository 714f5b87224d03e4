"""The scenarios by number of workers, on deployments that run already, each time in another order."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from testbed.drivers import process
from testbed.errors import TestbedError
from testbed.events import Events
from testbed.lifecycle.down import remove_deployment, stop_shared
from testbed.lifecycle.store import Store, state_root
from testbed.lifecycle.up import bring_up

_ROOT = Path(__file__).parents[2]
_TOPOLOGIES = ("proposal", "twins")  # of the suites that are timed
_LONGEST_S = 1800


def measure(
    suites: Sequence[str], workers: Sequence[int], budget_s: float, events: Events
) -> Iterator[dict[str, Any]]:
    """Run `suites` with each number of workers in turn, while there is time in the budget.

    Each run has an order of its own: the number of its workers is the seed.
    """
    try:
        with _running(events):
            start = time.monotonic()
            for count in workers:
                found: dict[str, Any] = {"suite": " ".join(suites), "workers": count}
                if time.monotonic() - start > budget_s:
                    yield found | {"error": f"no time: {budget_s:g} s were used up"}
                else:
                    yield found | _timed(suites, count)
    except TestbedError as error:
        yield {"suite": " ".join(suites), "workers": 0, "error": error.message}


def _timed(suites: Sequence[str], workers: int) -> dict[str, Any]:
    scenarios = [f"scenarios/{suite}" for suite in suites]
    order = ["--shuffle", "--seed", str(workers)]
    argv = [sys.executable, "-m", "pytest", "-q", *order, "-n", str(workers), *scenarios]
    begun = time.monotonic()
    done = process.run(argv, cwd=_ROOT, timeout_s=_LONGEST_S, check=False)
    took_s = time.monotonic() - begun
    summary = (done.stdout.strip().splitlines() or [""])[-1].strip("= ")
    return {"s": took_s, "summary": summary} if not done.returncode else {"error": summary}


@contextmanager
def _running(events: Events) -> Iterator[None]:
    """Have the topologies up; one that was not is removed at the end."""
    store = Store(state_root())
    former = {record.id for record in store.all()}
    try:
        for name in _TOPOLOGIES:
            bring_up(store, _ROOT / "topologies" / f"{name}.yaml", events)
        yield
    finally:
        for record in store.all():
            if record.name in _TOPOLOGIES and record.id not in former:
                remove_deployment(store, record, events)
        stop_shared(store, events)
