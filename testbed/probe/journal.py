"""What was asked during a scenario, what came back, and what the oracle says should have.

Probes write it down for people who read a failure or a report; scenarios assert for themselves.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from testbed.plan.fib import Accepted, Arrival, Loss, Lost
from testbed.plan.resources import TenantPlan

# Somebody else is asked, about whom the oracle knows nothing: a host of the tenant's, its router.
_OTHERS = (Lost(Loss.LAN), Lost(Loss.ROUTER))


@dataclass(frozen=True, slots=True)
class Asked:
    """One question of a tenant's client. `agrees` is None where the oracle has no opinion."""

    time_s: float
    elapsed_s: float
    tenant: str
    question: str
    answer: str
    expected: str = ""
    agrees: bool | None = None

    def __str__(self) -> str:
        mark = {True: "as expected", False: f"expected {self.expected}", None: ""}[self.agrees]
        return f"{self.tenant}: {self.question}: {self.answer}" + (f" ({mark})" if mark else "")


@dataclass(slots=True)
class Journal:
    """The questions of one scenario, in the order of their answers."""

    asked: list[Asked] = field(default_factory=list)

    @contextmanager
    def question(self, tenant: str, question: str) -> Iterator[Entry]:
        """Time a question; the block says how it was answered."""
        entry = Entry()
        wall, start = time.time(), time.monotonic()
        try:
            yield entry
        except BaseException as error:
            entry.answer = f"{type(error).__name__}: {error}"
            raise
        finally:
            elapsed = time.monotonic() - start
            self.asked.append(
                Asked(
                    *(wall, elapsed, tenant, question),
                    *(entry.answer, entry.expected, entry.agrees),
                )
            )

    def tell(self, tenant: str, what: str, detail: str) -> None:
        """Write down what was done, between the questions."""
        self.asked.append(Asked(time.time(), 0.0, tenant, what, detail))


@dataclass(slots=True)
class Entry:
    """The answer to a question, and what the oracle expects if it does."""

    answer: str = ""
    expected: str = ""
    agrees: bool | None = None

    def answered(
        self, answer: object, *, expected: object = "", agrees: bool | None = None
    ) -> None:
        """Write down the answer; with something `expected`, whether it `agrees`."""
        self.answer, self.expected, self.agrees = str(answer), str(expected), agrees

    def reached(self, answer: object, expected: Arrival, *, is_there: bool) -> None:
        """Write down whether anybody answered at an address, beside what becomes of packets to it."""
        if expected in _OTHERS:
            self.answered(answer)
        else:
            agrees = is_there == isinstance(expected, Accepted)
            self.answered(answer, expected=in_words(expected), agrees=agrees)


def in_words(expected: Arrival) -> str:
    """Return what the oracle expects, as people read it."""
    if isinstance(expected, Accepted):
        return f"accepted in FIB {expected.fib}"
    return f"lost: {expected.loss}"


def is_password(tenant: TenantPlan, user: str, password: str) -> bool:
    """Whether the plan gives the tenant's `user` this password."""
    return any((known.name, known.password) == (user, password) for known in tenant.users)


def right_or_wrong(is_right: bool) -> str:  # noqa: FBT001 - its name says what the value means
    """Return how the oracle calls a password that it must not show."""
    return "right password" if is_right else "wrong password"
