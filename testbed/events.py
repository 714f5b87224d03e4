"""Step events: every action over a second is a step; consoles, JSON lines and pytest subscribe."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum


class Phase(StrEnum):
    """What happened to a step."""

    BEGIN = "begin"
    END = "end"
    FAIL = "fail"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Event:
    """One change of one step. `elapsed_s` is 0 at the beginning; `time_s` is Unix time."""

    phase: Phase
    step: str
    tenant: str = ""
    detail: str = ""
    elapsed_s: float = 0.0
    time_s: float = 0.0


@dataclass(slots=True)
class Events:
    """Hands each event to every subscriber, in the thread that caused it."""

    subscribers: list[Callable[[Event], None]] = field(default_factory=list)

    def emit(self, event: Event) -> None:
        """Hand `event` to all subscribers."""
        for subscriber in self.subscribers:
            subscriber(event)

    def note(self, step: str, detail: str = "", *, tenant: str = "") -> None:
        """Tell something that takes no time, such as a step that was not needed."""
        self.emit(Event(Phase.NOTE, step, tenant, detail, 0.0, time.time()))

    @contextmanager
    def step(self, step: str, *, tenant: str = "") -> Iterator[None]:
        """Frame an action with a begin and an end (or fail) event."""
        start = time.monotonic()
        self.emit(Event(Phase.BEGIN, step, tenant, "", 0.0, time.time()))
        try:
            yield
        except BaseException as error:
            elapsed_s = time.monotonic() - start
            detail = str(error) or type(error).__name__
            self.emit(Event(Phase.FAIL, step, tenant, detail, elapsed_s, time.time()))
            raise
        self.emit(Event(Phase.END, step, tenant, "", time.monotonic() - start, time.time()))
