"""Asks the tenant's DNS through the ordinary libc resolver, in the calling thread's FIB.

glibc keeps resolver state per thread and opens its sockets in the calling thread, so the thread's
FIB decides whose DNS answers, while /etc/resolv.conf is the same for all. How long it tries is set
by `RES_OPTIONS` in the environment (see `tenantd`), read when a thread first resolves.
"""

from __future__ import annotations

import errno
import os
import socket
from dataclasses import dataclass

_NO_ANSWER = frozenset({socket.EAI_AGAIN, socket.EAI_SYSTEM, socket.EAI_FAIL})
_SYMBOLS = {number: symbol for symbol, number in vars(socket).items() if symbol.startswith("EAI_")}


@dataclass(frozen=True, slots=True)
class Resolved:
    """A name and its addresses, in the order in which the resolver prefers them."""

    name: str
    addresses: tuple[str, ...]


class ResolveError(Exception):
    """The name has no address (`is_unavailable` False) or nobody could say (True)."""

    def __init__(self, reason: str, *, is_unavailable: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_unavailable = is_unavailable


def resolve(name: str) -> Resolved:
    """Return the addresses of `name`; blocks for as long as the resolver tries.

    Raises:
        ResolveError: when there are none or the DNS does not answer.
    """
    try:
        # As bytes: a text would go through Python's IDNA codec, which has its own errors.
        found = socket.getaddrinfo(name.encode("ascii"), None, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise _explained(name, error) from error
    # One address may come twice, from /etc/hosts and DNS.
    return Resolved(name, tuple(dict.fromkeys(str(item[4][0]) for item in found)))


def _explained(name: str, error: socket.gaierror) -> ResolveError:
    symbol = _SYMBOLS.get(error.args[0], str(error.args[0]))
    detail = error.args[1]
    if error.args[0] == socket.EAI_SYSTEM and error.__context__ is None:
        detail = os.strerror(error.errno or errno.EIO)
    return ResolveError(
        f"resolve {name!r}: {symbol} ({detail})", is_unavailable=error.args[0] in _NO_ANSWER
    )
