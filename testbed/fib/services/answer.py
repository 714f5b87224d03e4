"""Answers one request, in a worker thread that has taken the FIB of the request's connection."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Protocol

from .config import KerberosConfig, LdapConfig, Method, Tenant
from .fibs import Fibs
from .job import Job
from .outcome import Outcome, Verdict, failed, refused
from .protocol import Op, Request
from .reply import Account
from .resolve import Resolved, ResolveError


class Directory(Protocol):
    """Proves passwords at an LDAP server."""

    def login(self, config: LdapConfig, user: str, password: str) -> Outcome:
        """Judge the password."""


class Realm(Protocol):
    """Proves passwords at a KDC, and tickets with our key."""

    def login(self, config: KerberosConfig, user: str, password: str) -> Outcome:
        """Judge the password."""

    def accept(self, config: KerberosConfig, fib: int, token: bytes) -> Outcome:
        """Judge the ticket."""


class Answerer:
    """Answers requests; may be used by several threads at once.

    `timeout_s` is when the daemon cuts a request off from its servers (see `cutoff`).
    """

    def __init__(
        self,
        *,
        fibs: Fibs,
        resolve: Callable[[str], Resolved],
        directory: Directory,
        realm: Realm,
        timeout_s: float,
        set_thread_fib: bool = True,
    ) -> None:
        self._fibs = fibs
        self._resolve = resolve
        self._directory = directory
        self._realm = realm
        self._timeout_s = timeout_s
        self._set_thread_fib = set_thread_fib

    def answer(self, job: Job, worker: int) -> Account:
        """Take the job's FIB, do what is asked, give the FIB back; says all that was seen."""
        start_s = time.monotonic()
        seen = _Seen()
        outcome = self._in_fib(job, seen)
        if outcome.verdict is Verdict.ERROR and time.monotonic() - start_s > self._timeout_s:
            reason = f"{outcome.reason} (cut off after {self._timeout_s:g} s)"
            outcome = failed(reason, is_unavailable=True)
        return Account(
            origin=job.origin,
            received_s=job.received_s,
            outcome=outcome,
            nonce=job.request.nonce,
            op=job.request.op,
            tenant=job.tenant,
            method=seen.method,
            user=job.request.user or None,
            data=job.request.data,
            resolved=seen.resolved,
            thread_fib=seen.thread_fib,
            waited_s=start_s - job.received_s,
            worker=worker,
        )

    def _in_fib(self, job: Job, seen: _Seen) -> Outcome:
        with contextlib.ExitStack() as stack:
            if self._set_thread_fib:
                try:
                    stack.enter_context(self._fibs.thread_fib(job.origin.fib))
                except OSError as error:
                    return failed(f"cannot take FIB {job.origin.fib}: {error}")
            seen.thread_fib = self._fibs.get_thread_fib()
            try:
                return self._do(job.request, job.tenant, seen)
            except ResolveError as error:
                return failed(error.reason, is_unavailable=error.is_unavailable)

    def _do(self, request: Request, tenant: Tenant, seen: _Seen) -> Outcome:
        if request.op.is_light:
            return Outcome(Verdict.ACCEPTED)
        if request.op is Op.RESOLVE:
            return self._look_up(request, tenant, seen)
        if request.op is Op.TICKET:
            return self._judge_ticket(request, tenant, seen)
        return self._judge_password(request, tenant, seen)

    def _look_up(self, request: Request, tenant: Tenant, seen: _Seen) -> Outcome:
        name = request.name or tenant.resolve
        if name is None:
            return refused(f"tenant {tenant.name!r} has no server to look up")
        seen.resolved = self._resolve(name)
        return Outcome(Verdict.ACCEPTED)

    def _judge_ticket(self, request: Request, tenant: Tenant, seen: _Seen) -> Outcome:
        seen.method = Method.KERBEROS
        if tenant.kerberos is None:
            return refused(f"tenant {tenant.name!r} has no kerberos")
        # A ticket is judged without asking anybody; the look-up shows whose names we see.
        if tenant.resolve is not None:
            seen.resolved = self._resolve(tenant.resolve)
        return self._realm.accept(tenant.kerberos, tenant.fib, request.token)

    def _judge_password(self, request: Request, tenant: Tenant, seen: _Seen) -> Outcome:
        seen.method = request.method or tenant.login
        if seen.method is None:
            return refused(f"tenant {tenant.name!r} has no way to log in")
        if not tenant.offers(seen.method):
            return refused(f"tenant {tenant.name!r} has no {seen.method}")
        if tenant.resolve is not None:
            seen.resolved = self._resolve(tenant.resolve)
        if seen.method is Method.KERBEROS and tenant.kerberos is not None:
            return self._realm.login(tenant.kerberos, request.user, request.password)
        assert tenant.ldap is not None  # noqa: S101 - offers() said so; for the type checker
        return self._directory.login(tenant.ldap, request.user, request.password)


class _Seen:
    """What came to light on the way to an outcome."""

    def __init__(self) -> None:
        self.thread_fib: int | None = None
        self.resolved: Resolved | None = None
        self.method: Method | None = None
