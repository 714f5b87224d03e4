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
    cases: defaultdict[tuple[str, int], list[pytest.Item]] = defaultdict(list)
    left = {item for item in items if item.get_closest_marker("long")}
    for item in items:
        if marker := item.get_closest_marker("drawn"):
            cases[item.nodeid.partition("[")[0], marker.args[0]].append(item)
    for (name, count), found in cases.items():
        draw = random.Random(f"{seed} {name}")  # noqa: S311 - no secret
        left |= set(draw.sample(found, max(0, len(found) - count)))
    return [item for item in items if item in left]
