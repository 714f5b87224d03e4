"""Hands requests to workers so that no tenant can hold all of them.

The libraries that ask a tenant's servers block their thread until the server answers or a timeout
ends (see `cutoff`). So a tenant may occupy at most all workers but one. A tenant is suspect when its servers have just not
answered, until they answer again, and while a request of it runs for long: it may occupy one
worker, and all suspects together half of them. Requests beyond that wait, tenants taking turns,
but not for ever; a tenant with too many waiting is told so. Requests that ask no server
(`is_light`) go first.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

# Hundreds of times what a login takes when the servers answer.
_SUSPECT_AFTER_S = 2.0


class Schedulable(Protocol):
    """What the scheduler needs to know of a job."""

    @property
    def fib(self) -> int:
        """Return the tenant's FIB."""

    @property
    def received_s(self) -> float:
        """Return when the job came, on the scheduler's clock."""

    @property
    def is_light(self) -> bool:
        """Whether the job asks no server."""


J = TypeVar("J", bound=Schedulable)


class Scheduler(Generic[J]):
    """A queue of jobs with limits per FIB; its methods may be called from any thread."""

    def __init__(
        self, workers: int, *, longest_queue: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit = max(1, workers - 1)
        self._limit_suspects = max(1, workers // 2)
        self._longest_queue = longest_queue
        self._clock = clock
        self._changed = threading.Condition()
        self._light: deque[J] = deque()
        # FIBs in the order of their turns, each with its waiting jobs, oldest first.
        self._waiting: OrderedDict[int, deque[J]] = OrderedDict()
        self._queued: Counter[int] = Counter()
        # FIBs with jobs under way: when each was started, by the identity of the job.
        self._running: dict[int, dict[int, float]] = {}
        self._unavailable: set[int] = set()
        self._is_closed = False

    def submit(self, job: J) -> bool:
        """Queue `job`; False when its tenant has too many waiting already."""
        with self._changed:
            if self._queued[job.fib] >= self._longest_queue:
                return False
            self._queued[job.fib] += 1
            if job.is_light:
                self._light.append(job)
            else:
                self._waiting.setdefault(job.fib, deque()).append(job)
            self._changed.notify()
            return True

    def take(self) -> J | None:
        """Wait for a job that may run now; None once the scheduler is closed.

        Whoever takes a job calls `done` with it.
        """
        with self._changed:
            while not self._is_closed:
                job = self._next()
                if job is not None:
                    return job
                self._changed.wait()
            return None

    def done(self, job: J, *, is_unavailable: bool = False) -> None:
        """Give the job's worker back; `is_unavailable` when its tenant's servers did not answer."""
        if job.is_light:
            return
        with self._changed:
            started = self._running[job.fib]
            del started[id(job)]
            if not started:
                del self._running[job.fib]
            if is_unavailable:
                self._unavailable.add(job.fib)
            else:
                self._unavailable.discard(job.fib)
            # More than one may run now: a tenant that is no longer suspect, or another suspect.
            self._changed.notify_all()

    def expire(self, received_before_s: float) -> list[J]:
        """Drop jobs that came before that time and still wait; return them."""
        with self._changed:
            expired = _pop_older(self._light, received_before_s)
            for fib in list(self._waiting):
                expired += _pop_older(self._waiting[fib], received_before_s)
                if not self._waiting[fib]:
                    del self._waiting[fib]
            return [self._dequeued(job) for job in expired]

    def overdue(self, started_before_s: float) -> list[int]:
        """Return the FIBs with a job under way since before that time."""
        with self._changed:
            return [
                fib
                for fib, started in self._running.items()
                if min(started.values()) < started_before_s
            ]

    def close(self) -> None:
        """Send all workers home; jobs that still wait are dropped."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def _next(self) -> J | None:
        if self._light:
            return self._dequeued(self._light.popleft())
        now_s = self._clock()
        suspects = {fib for fib in self._running if self._is_suspect(fib, now_s)}
        held_by_suspects = sum(len(self._running[fib]) for fib in suspects)
        for fib, jobs in self._waiting.items():
            if not self._may_run(fib, suspects, held_by_suspects):
                continue
            job = jobs.popleft()
            if jobs:
                self._waiting.move_to_end(fib)
            else:
                del self._waiting[fib]
            self._running.setdefault(fib, {})[id(job)] = now_s
            return self._dequeued(job)
        return None

    def _may_run(self, fib: int, suspects: set[int], held_by_suspects: int) -> bool:
        if fib in suspects or fib in self._unavailable:
            return fib not in self._running and held_by_suspects < self._limit_suspects
        return len(self._running.get(fib, ())) < self._limit

    def _is_suspect(self, fib: int, now_s: float) -> bool:
        oldest_s = min(self._running[fib].values())
        return fib in self._unavailable or now_s - oldest_s > _SUSPECT_AFTER_S

    def _dequeued(self, job: J) -> J:
        self._queued[job.fib] -= 1
        if not self._queued[job.fib]:
            del self._queued[job.fib]
        return job


def _pop_older(jobs: deque[J], received_before_s: float) -> list[J]:
    older = []
    while jobs and jobs[0].received_s < received_before_s:
        older.append(jobs.popleft())
    return older
