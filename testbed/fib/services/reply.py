"""Builds replies and the log's lines from the same facts, so that they cannot disagree."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from .config import Method, Tenant
from .job import Origin
from .outcome import Outcome
from .resolve import Resolved


@dataclass(frozen=True, slots=True)
class Account:
    """All that can be said about one request; `worker` is None when none was needed."""

    origin: Origin
    received_s: float
    outcome: Outcome
    nonce: str | None = None
    op: str | None = None
    tenant: Tenant | None = None
    method: Method | None = None
    user: str | None = None
    data: str | None = None
    resolved: Resolved | None = None
    thread_fib: int | None = None
    waited_s: float = 0.0
    worker: int | None = None

    def reply(self) -> dict[str, object]:
        """Return the reply; always the same keys (see `protocol`)."""
        origin, outcome = self.origin, self.outcome
        return {
            "nonce": self.nonce,
            "op": self.op,
            "fib": origin.fib,
            "tenant": self.tenant.name if self.tenant else None,
            "local": asdict(origin.local),
            "peer": asdict(origin.peer),
            "thread_fib": self.thread_fib,
            "resolved": asdict(self.resolved) if self.resolved else None,
            "verdict": outcome.verdict,
            "reason": outcome.reason or None,
            "method": self.method,
            "principal": outcome.principal,
            "server": asdict(outcome.server) if outcome.server else None,
            "token": outcome.token,
            "data": self.data,
            "waited_ms": _milliseconds(self.waited_s),
            "elapsed_ms": _milliseconds(time.monotonic() - self.received_s),
            "worker": self.worker,
        }

    def log_line(self, reply: Mapping[str, object]) -> dict[str, object]:
        """Return what the log keeps of `reply`: no token, no data; the user's name besides."""
        kept = {key: value for key, value in reply.items() if key not in {"token", "data"}}
        return {
            "event": "request",
            "transport": self.origin.transport,
            **kept,
            "user": self.user,
        }


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 3)
