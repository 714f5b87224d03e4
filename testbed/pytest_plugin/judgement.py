"""After each scenario that has passed: judges what was dropped and what was sent meanwhile.

The extensions' drop counters are read once a scenario; what they have gained since this process
last looked must be expected by a scenario that ran meanwhile (marker `expects`). And of the leased
tenants' frames, what the SUT has sent must have gone to the router of its source address's FIB.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from testbed.probe.wire import strays
from testbed.pytest_plugin.counters import Counters
from testbed.pytest_plugin.fixtures import Leased

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Expected:
    """What a scenario says it causes: drops for these reasons; frames at wrong routers."""

    drops: tuple[str, ...]
    strays: bool

    @classmethod
    def of(cls, item: pytest.Item) -> Expected:
        """Read the marker of `item`."""
        marker = item.get_closest_marker("expects")
        if marker is None:
            return cls((), strays=False)
        return cls(tuple(map(str, marker.args)), bool(marker.kwargs.get("strays", False)))


def judge(counters: Counters, leased: Leased, expects: Expected) -> None:
    """Fail the scenario when something was dropped, or sent, that nobody expected."""
    dropped = counters.unexplained(leased.running)
    if dropped:
        told = ", ".join(f"{count} for {name!r}" for name, count in sorted(dropped.items()))
        pytest.fail(f"the SUT has dropped frames that no scenario expects: {told}", pytrace=False)
    if expects.strays:
        return
    found = strays(leased.running.plan, leased.wire.read().frames)
    if found:
        shown = "\n".join(str(leak) for leak in found[:_SHOWN])
        pytest.fail(
            f"the SUT has sent {len(found)} frames to a wrong station:\n{shown}", pytrace=False
        )
