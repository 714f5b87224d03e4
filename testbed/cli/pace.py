"""How long steps took last time, so that a person who waits knows how long he will.

A file in the cache, written when a command has ended well; it is told from and decides nothing.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from pathlib import Path

from testbed.events import Event, Phase

_FILE = "durations.json"
_WHOLE = "whole"


class Pace:
    """The durations of the steps of one command, `verb`, as they were and as they are now."""

    def __init__(self, cache: Path, verb: str) -> None:
        self._path, self._verb = cache / _FILE, verb
        self._began_s = time.monotonic()
        self._now: dict[str, float] = {}
        self._known = self._read()
        self._before = self._known.get(verb, {})

    def take(self, event: Event) -> None:
        """Learn from a step that has ended: of several alike the longest counts."""
        if event.phase is Phase.END:
            self._now[event.step] = max(event.elapsed_s, self._now.get(event.step, 0.0))

    def of_step(self, step: str, elapsed_s: float) -> str:
        """Return how long a step at work has taken, and usually takes."""
        usual_s = self._before.get(step)
        return f"{elapsed_s:.0f} s" + (f" of about {usual_s:.0f} s" if usual_s else "")

    def of_all(self) -> str:
        """Return how long the whole may still take, empty where nobody knows."""
        usual_s = self._before.get(_WHOLE)
        if usual_s is None:
            return ""
        left_s = usual_s - (time.monotonic() - self._began_s)
        return f"about {left_s:.0f} s left" if left_s > 1 else "longer than last time"

    def keep(self) -> None:
        """Keep the durations for the next time; nothing is lost where that is impossible."""
        self._now[_WHOLE] = time.monotonic() - self._began_s
        text = json.dumps({**self._known, self._verb: {**self._before, **self._now}})
        beside = self._path.with_name(f".{_FILE}.{os.getpid()}")
        with suppress(OSError):
            beside.write_text(text)
            beside.replace(self._path)

    def _read(self) -> dict[str, dict[str, float]]:
        try:
            found = json.loads(self._path.read_text())
            return {
                str(verb): {str(step): float(taken) for step, taken in steps.items()}
                for verb, steps in found.items()
            }
        except (OSError, ValueError, TypeError, AttributeError):
            return {}  # none yet, or of another version
