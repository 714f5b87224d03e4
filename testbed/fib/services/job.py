"""One request on its way from a socket to a worker and back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from .config import Tenant
from .outcome import Endpoint
from .protocol import Request


class Transport(StrEnum):
    """How the request came."""

    TCP = "tcp"
    UDP = "udp"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a request came from and what that says about whose it is."""

    transport: Transport
    fib: int
    local: Endpoint
    peer: Endpoint


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """A request with its tenant, as configured when it came.

    `respond` is called once, in any thread, with the reply. `received_s` is monotonic time.
    """

    request: Request
    origin: Origin
    tenant: Tenant
    received_s: float
    respond: Callable[[bytes], None]

    @property
    def fib(self) -> int:
        """The FIB that the scheduler counts by."""
        return self.origin.fib

    @property
    def is_light(self) -> bool:
        """Whether no server of the tenant is asked."""
        return self.request.op.is_light
