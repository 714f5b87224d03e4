"""Hands requests to workers so that no tenant can hold all of them.

The libraries that ask a tenant's servers block their thread until the server answers or a timeout
ends. So a tenant may occupy at most all workers but one, and a tenant whose servers have just not
answered only one, until they answer again. Requests beyond that wait, tenants taking turns; a
tenant with too many waiting is told so. Requests that ask no server (`is_light`) go first.
"""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict, deque
from typing import Generic, Protocol, TypeVar


class Schedulable(Protocol):
    """What the scheduler needs to know of a job."""

    @property
    def fib(self) -> int:
        """Return the tenant's FIB."""

    @property
    def is_light(self) -> bool:
        """Whether the job asks no server."""


J = TypeVar("J", bound=Schedulable)


class Scheduler(Generic[J]):
    """A queue of jobs with limits per FIB; its methods may be called from any thread."""

    def __init__(self, workers: int, *, longest_queue: int) -> None:
        self._limit = max(1, workers - 1)
        self._longest_queue = longest_queue
        self._changed = threading.Condition()
        self._light: deque[J] = deque()
        # FIBs in the order of their turns, each with its waiting jobs, oldest first.
        self._waiting: OrderedDict[int, deque[J]] = OrderedDict()
        self._queued: Counter[int] = Counter()
        self._running: Counter[int] = Counter()
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
            self._running[job.fib] -= 1
            if not self._running[job.fib]:
                del self._running[job.fib]
            if is_unavailable:
                self._unavailable.add(job.fib)
            else:
                self._unavailable.discard(job.fib)
            # A tenant whose servers answer again may take several workers at once.
            self._changed.notify_all()

    def close(self) -> None:
        """Send all workers home; jobs that still wait are dropped."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def _next(self) -> J | None:
        if self._light:
            return self._dequeued(self._light.popleft())
        for fib, jobs in self._waiting.items():
            if self._running[fib] >= (1 if fib in self._unavailable else self._limit):
                continue
            job = jobs.popleft()
            if jobs:
                self._waiting.move_to_end(fib)
            else:
                del self._waiting[fib]
            self._running[fib] += 1
            return self._dequeued(job)
        return None

    def _dequeued(self, job: J) -> J:
        self._queued[job.fib] -= 1
        if not self._queued[job.fib]:
            del self._queued[job.fib]
        return job
