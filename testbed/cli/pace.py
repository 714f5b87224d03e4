"""How long steps took last time, so that a person who waits knows how long he will.

What is left is told from the step that has ended last: of a repair, which has other steps, it is
less than of a new deployment. A file in the cache, written when a command has ended well; it is told
from and decides nothing.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from pathlib import Path

from testbed.drivers.cache import File
from testbed.events import Event, Phase

_BEGINNING = ""
_LATE_S = 3.0
_MINUTES_S = 100.0
_Times = dict[str, float]


class Pace:
    """The durations of the steps of one command, `what`, as they were and as they are now."""

    def __init__(self, cache: Path, what: str) -> None:
        self._path, self._what = cache / File.DURATIONS, what
        self._known = self._read()
        before = self._known.get(what, {})
        self._took, self._left = before.get("took", {}), before.get("left", {})
        self._took_now: _Times = {}
        self._passed_s = {_BEGINNING: time.monotonic()}
        self._latest = _BEGINNING

    def take(self, event: Event) -> None:
        """Learn from a step that has ended: of several alike the longest counts, and the first."""
        if event.phase is Phase.END:
            self._took_now[event.step] = max(event.elapsed_s, self._took_now.get(event.step, 0.0))
        if event.phase in (Phase.END, Phase.NOTE) and event.step not in self._passed_s:
            self._passed_s[event.step] = time.monotonic()
            if event.step in self._left:
                self._latest = event.step

    def of_step(self, step: str, elapsed_s: float) -> str:
        """Return how long a step at work has taken, and usually takes."""
        usual_s = self._took.get(step)
        return in_words(elapsed_s) + (f" of about {in_words(usual_s)}" if usual_s else "")

    def of_all(self) -> str:
        """Return how long the whole may still take, empty where nobody knows."""
        usual_s = self._left.get(self._latest)
        if usual_s is None:
            return ""
        left_s = usual_s - (time.monotonic() - self._passed_s[self._latest])
        if left_s < -_LATE_S:
            return "longer than last time"
        return f"about {in_words(max(left_s, 1.0))} left"

    def keep(self) -> None:
        """Keep the durations for the next time; nothing is lost where that is impossible."""
        now_s = time.monotonic()
        left_now = {step: now_s - passed_s for step, passed_s in self._passed_s.items()}
        learnt = {"took": {**self._took, **self._took_now}, "left": {**self._left, **left_now}}
        text = json.dumps({**self._known, self._what: learnt})
        beside = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        with suppress(OSError):
            beside.write_text(text)
            beside.replace(self._path)

    def _read(self) -> dict[str, dict[str, _Times]]:
        try:
            found = json.loads(self._path.read_text())
            return {
                str(what): {
                    kind: {str(step): float(time_s) for step, time_s in times[kind].items()}
                    for kind in ("took", "left")
                }
                for what, times in found.items()
            }
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return {}  # none yet, or of another version


def in_words(time_s: float) -> str:
    """Return a time as a person reads it.

    >>> in_words(7.6), in_words(125)
    ('8 s', '2:05 min')
    """
    if time_s < _MINUTES_S:
        return f"{time_s:.0f} s"
    return f"{time_s // 60:.0f}:{time_s % 60:02.0f} min"
