"""The system under test as the rest of the testbed sees it: our VM or a machine of the user's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from testbed.events import Events
from testbed.sut.channel import Channel


@dataclass(frozen=True, slots=True)
class Health:
    """Whether the SUT can be used, and what it says of itself (empty where it says nothing)."""

    ok: bool
    detail: str
    accel: str = ""
    kernel: str = ""


@dataclass(frozen=True, slots=True)
class Capability:
    """Whether the SUT can do one of the FIB extensions; if not, `reason` says what it lacks."""

    extension: str
    supported: bool
    reason: str


class Sut(Protocol):
    """A system under test. A handle holds no state: everything is asked of the system."""

    @property
    def channel(self) -> Channel:
        """Commands and files."""
        ...

    @property
    def ssh_config(self) -> Path:
        """For people and testinfra: `ssh -F FILE sut`."""
        ...

    def start(self, events: Events) -> None:
        """Make it run and be healthy; what runs and is healthy is left alone."""
        ...

    def stop(self) -> None:
        """Stop what we started. Stopped already is fine."""
        ...

    def is_running(self) -> bool:
        """Whether it runs, healthy or not."""
        ...

    def health(self) -> Health:
        """Ask it whether it can be used. Never raises for an answer of its."""
        ...

    def require_answer(self) -> None:
        """Do nothing if it runs commands, whether it can be used or not.

        Raises:
            TestbedError: within 30 s, with what is wrong.
        """
        ...

    def capabilities(self) -> tuple[Capability, ...]:
        """Ask it which FIB extensions it can do."""
        ...

    def apply(self, fib_state_json: str) -> None:
        """Give it the state of all FIBs (docs/fib.md)."""
        ...

    def set_clock(self) -> None:
        """Set its clock to ours."""
        ...
