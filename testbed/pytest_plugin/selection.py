"""Which collected tests a run leaves out, unless it asks for them: long ones, and cases not drawn."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence

import pytest


def asks_for_all(config: pytest.Config) -> bool:
    """Whether nothing is to be left out: by --long, or because a test is named by FILE::TEST."""
    return bool(config.getoption("--long")) or any("::" in argument for argument in config.args)


def left_out(items: Sequence[pytest.Item], seed: int) -> list[pytest.Item]:
    """Return the tests marked `long`, and the cases of those marked `drawn` that `seed` does not draw.

    All workers of a run must collect the same tests, so they draw alike.
    """
    cases: defaultdict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        if item.get_closest_marker("drawn"):
            cases[item.nodeid.partition("[")[0]].append(item)
    drawn = {item for name, found in cases.items() for item in _draw(found, f"{seed} {name}")}
    undrawn = {item for found in cases.values() for item in found} - drawn
    return [item for item in items if item in undrawn or item.get_closest_marker("long")]


def _draw(cases: Sequence[pytest.Item], seed: str) -> list[pytest.Item]:
    marker = cases[0].get_closest_marker("drawn")
    count = int(marker.args[0]) if marker else len(cases)
    return random.Random(seed).sample(cases, min(count, len(cases)))  # noqa: S311 - no secret
