"""What can go wrong, told apart by who can mend it; each class fixes the CLI's exit code.

SUT misbehaviour is never an exception of ours: probes return results and scenarios assert on them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of the `testbed` command, as its manual documents them."""

    DONE = 0
    FAILED = 1
    BAD_INPUT = 2
    ENVIRONMENT = 3
    INTERRUPTED = 130


class TestbedError(Exception):
    """Something failed that is not the user's input nor the host's equipment."""

    __test__ = False  # pytest would collect the name
    exit_code = ExitCode.FAILED

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with an input: where, what, and what to do."""

    where: str
    what: str
    hint: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}\n    {self.hint}"


class InputError(TestbedError):
    """The user's input is wrong; carries every problem found, in the order of the input."""

    exit_code = ExitCode.BAD_INPUT

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


class TopologyError(InputError):
    """A topology file is wrong; `where` of each problem is file:line:column."""


class PreflightError(TestbedError):
    """The host lacks something; `hint` names the command that mends it."""

    exit_code = ExitCode.ENVIRONMENT


class ResourceError(TestbedError):
    """A driver's call failed: the message carries the command or API call and what it answered."""


class WaitTimeoutError(TestbedError):
    """A condition did not come true in time: what was awaited, for how long, what was last seen."""


class GuestError(TestbedError):
    """A command inside the SUT failed: carries the command, its exit code and its stderr."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a hint that names the one of `known` that `word` looks like, empty when none does.

    >>> did_you_mean("alpho", ["alpha", "bravo"])
    "did you mean 'alpha'?"
    """
    close = get_close_matches(word, [str(name) for name in known], n=1)
    return f"did you mean {close[0]!r}?" if close else ""
