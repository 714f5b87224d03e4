"""From a line or datagram to a job, or at once to a reply when there is nothing to ask."""

from __future__ import annotations

import time
from typing import Protocol

from .config import Config
from .job import Job, Origin
from .log import Log
from .outcome import Outcome, failed, refused
from .protocol import ProtocolError, Request, encode, parse_request
from .reply import Account
from .scheduler import Scheduler


class Respond(Protocol):
    """Takes the one reply to a request, in any thread."""

    def __call__(self, reply: bytes, *, is_last: bool) -> None:
        """Send it; after the last one the peer is not listened to any more."""


class Dispatcher:
    """Judges what needs no server, hands the rest to the scheduler.

    `config` may be replaced at any time; requests under way keep the one they came under.
    """

    def __init__(self, config: Config, *, scheduler: Scheduler[Job], log: Log) -> None:
        self.config = config
        self._scheduler = scheduler
        self._log = log

    def dispatch(self, line: bytes, origin: Origin, respond: Respond) -> None:
        """Cause exactly one call of `respond`."""
        received_s = time.monotonic()
        try:
            request = parse_request(line)
        except ProtocolError as error:
            account = Account(origin, received_s, failed(error.reason), error.nonce, error.op)
            self._respond(account, respond, is_last=True)
            return
        tenant = self.config.tenants.get(origin.fib)
        if tenant is None:
            outcome = refused(f"no tenant has FIB {origin.fib}")
            self._respond(_account(request, origin, received_s, outcome), respond, is_last=False)
            return
        job = Job(request, origin, tenant, received_s, lambda reply: respond(reply, is_last=False))
        if not self._scheduler.submit(job):
            outcome = failed(f"too many requests of tenant {tenant.name!r} are waiting")
            self._respond(_account(request, origin, received_s, outcome), respond, is_last=False)

    def give_up(self, job: Job, reason: str) -> None:
        """Answer a job that no worker took."""
        account = Account(
            job.origin,
            job.received_s,
            failed(reason),
            job.request.nonce,
            job.request.op,
            job.tenant,
            user=job.request.user or None,
            waited_s=time.monotonic() - job.received_s,
        )
        reply = account.reply()
        job.respond(encode(reply))
        self._log.write(account.log_line(reply))

    def reject(self, reason: str, origin: Origin, respond: Respond) -> None:
        """Answer with an error that concerns the connection, not one request."""
        account = Account(origin, time.monotonic(), failed(reason))
        self._respond(account, respond, is_last=True)

    def _respond(self, account: Account, respond: Respond, *, is_last: bool) -> None:
        reply = account.reply()
        respond(encode(reply), is_last=is_last)
        self._log.write(account.log_line(reply))


def _account(request: Request, origin: Origin, received_s: float, outcome: Outcome) -> Account:
    return Account(
        origin, received_s, outcome, request.nonce, request.op, user=request.user or None
    )
