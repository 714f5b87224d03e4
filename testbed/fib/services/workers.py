"""The daemon's worker threads: as many as it was started with, whatever the number of tenants."""

from __future__ import annotations

import threading
import traceback

from .answer import Answerer
from .job import Job
from .log import Log
from .outcome import failed
from .protocol import encode
from .reply import Account
from .scheduler import Scheduler


class Workers:
    """Threads that take jobs from `scheduler`, answer and log them."""

    def __init__(
        self, number: int, *, scheduler: Scheduler[Job], answerer: Answerer, log: Log
    ) -> None:
        self._scheduler = scheduler
        self._answerer = answerer
        self._log = log
        # Daemon threads: at the end of the process a library call may still wait for a server.
        self._threads = [
            threading.Thread(
                target=self._work, args=(worker,), name=f"worker-{worker}", daemon=True
            )
            for worker in range(number)
        ]

    def start(self) -> None:
        """Start them; each inherits the FIB of the calling thread."""
        for thread in self._threads:
            thread.start()

    def join(self, timeout_s: float) -> None:
        """Give each up to `timeout_s` to end after the scheduler was closed."""
        for thread in self._threads:
            thread.join(timeout_s)

    def _work(self, worker: int) -> None:
        while (job := self._scheduler.take()) is not None:
            account = self._answer(job, worker)
            self._scheduler.done(job, is_unavailable=account.outcome.is_unavailable)
            reply = account.reply()
            job.respond(encode(reply))
            self._log.write(account.log_line(reply))

    def _answer(self, job: Job, worker: int) -> Account:
        try:
            return self._answerer.answer(job, worker)
        except Exception as error:  # noqa: BLE001 - one request must not end the worker
            self._log.write({"event": "bug", "traceback": traceback.format_exc()})
            outcome = failed(f"the daemon failed: {type(error).__name__}")
            return Account(
                job.origin, job.received_s, outcome, job.request.nonce, job.request.op, job.tenant
            )
