"""What an authentication or a look-up came to; shared by the parts that ask a tenant's servers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """`ERROR` says nothing about the user: a server was out of reach or the request was bad."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address (IPv4 ones in their own notation, never v4-mapped) and a port."""

    address: str
    port: int


@dataclass(frozen=True, slots=True)
class ServerSeen:
    """The connection to the tenant's server as the kernel has it: evidence, not configuration."""

    local: Endpoint
    peer: Endpoint
    fib: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """A verdict with its reason.

    `is_unavailable` tells the scheduler that the tenant's servers did not answer. `token` is the
    acceptor's answer of a mutual authentication, base64.
    """

    verdict: Verdict
    reason: str = ""
    principal: str | None = None
    server: ServerSeen | None = None
    token: str | None = None
    is_unavailable: bool = False


def accepted(
    principal: str, *, server: ServerSeen | None = None, token: str | None = None
) -> Outcome:
    """Return the outcome of a proven identity."""
    return Outcome(Verdict.ACCEPTED, "", principal, server, token)


def refused(reason: str, *, server: ServerSeen | None = None) -> Outcome:
    """Return the outcome of a claim that was judged and found wanting."""
    return Outcome(Verdict.REFUSED, reason, server=server)


def failed(reason: str, *, is_unavailable: bool = False) -> Outcome:
    """Return the outcome of a claim that could not be judged."""
    return Outcome(Verdict.ERROR, reason, is_unavailable=is_unavailable)
