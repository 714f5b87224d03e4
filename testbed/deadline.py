"""Waiting for conditions, never for time: every wait says what it waits for and what it last saw."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Self, TypeVar

from testbed.errors import WaitTimeoutError

T = TypeVar("T")

_FIRST_PAUSE_S = 0.005
_LONGEST_PAUSE_S = 0.2


class Deadline:
    """A point on the monotonic clock that several waits can share."""

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self._start = time.monotonic()

    @classmethod
    def after(cls, limit_s: float) -> Self:
        """Return the deadline that is `limit_s` seconds from now."""
        return cls(limit_s)

    @property
    def elapsed_s(self) -> float:
        """Seconds since the deadline was made."""
        return time.monotonic() - self._start

    @property
    def left_s(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self.limit_s - self.elapsed_s)

    @property
    def is_over(self) -> bool:
        """Whether no time is left."""
        return self.left_s <= 0


def wait_for(
    condition: Callable[[], T | None],
    deadline: Deadline,
    *,
    what: str,
    pause_s: float = _LONGEST_PAUSE_S,
) -> T:
    """Poll `condition` until it returns something true, and return that.

    The pause between polls grows from 5 ms to `pause_s`. A condition that wants its last observation
    in the message raises `NotYet(observation)` instead of returning nothing.

    Raises:
        WaitTimeoutError: after the deadline, with what was awaited and last seen.
    """
    next_s = min(_FIRST_PAUSE_S, pause_s)
    seen: object = "nothing"
    while True:
        try:
            result = condition()
            if result:
                return result
            seen = result
        except NotYet as not_yet:
            seen = not_yet
        if deadline.is_over:
            message = (
                f"{what}: not after {deadline.elapsed_s:.1f} s "
                f"(limit {deadline.limit_s:g} s), last seen: {seen}"
            )
            raise WaitTimeoutError(message)
        time.sleep(min(next_s, deadline.left_s))
        next_s = min(next_s * 2, pause_s)


class NotYet(Exception):  # noqa: N818 - a signal to wait_for, not an error
    """Raised by a condition to say what it saw instead."""
