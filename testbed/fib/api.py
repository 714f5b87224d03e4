"""FIBs for Python daemons: a default FIB per thread, a FIB per socket, no capability needed.

    with fib.thread_fib(7):              # this thread, and what it starts
        ldap.initialize(...).simple_bind_s(...)

    fib.socket_fib(connection)           # FIB of an accepted connection

The thread's FIB is the kernel's, so libraries in C follow it. Errors are OSError with the errno
of fib.h. Constants are those of fib.h.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import socket
from typing import Final

FIB_MAX: Final = 65535
PR_FIB: Final = 0x46494200
PR_FIB_GET: Final = 0
PR_FIB_SET: Final = 1
SOL_FIB: Final = 0x4642
SO_SETFIB: Final = 1
SO_FIB: Final = 2
SO_FIB_ANY: Final = 3
SO_FIB_ACCEPT: Final = 4
SO_FIB_ONLY: Final = 5

_prctl = ctypes.CDLL(None, use_errno=True).prctl
_prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
_prctl.restype = ctypes.c_int


def _call(operation: int, argument: int) -> int:
    raised: int = _prctl(PR_FIB, operation, argument, 0, 0)
    if raised < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return raised - 1  # the kernel's hook cannot return 0


def get_thread_fib() -> int:
    """Return the calling thread's FIB."""
    return _call(PR_FIB_GET, 0)


class _ThreadFib(contextlib.AbstractContextManager[None]):
    """The former FIB of the thread, to come back at the end of a `with` block."""

    def __init__(self, former: int) -> None:
        self._former = former

    def __exit__(self, *_: object) -> None:
        _call(PR_FIB_SET, self._former)


def thread_fib(fib: int) -> contextlib.AbstractContextManager[None]:
    """Set the FIB of sockets that this thread, and what it starts from now on, will create.

    It is set at once; as a context manager the former one comes back at the end of the block.

    Raises:
        OSError: EINVAL outside 0..FIB_MAX, or where the extensions are not attached.
    """
    former = get_thread_fib()
    if not 0 <= fib <= FIB_MAX:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    _call(PR_FIB_SET, fib)
    return _ThreadFib(former)


def socket_fib(sock: socket.socket) -> int:
    """Return the FIB of a socket: its own, else that of its local address, else 0."""
    return sock.getsockopt(SOL_FIB, SO_FIB)


def set_socket_fib(sock: socket.socket, fib: int) -> None:
    """Set the FIB of a socket that is neither bound nor connected.

    Raises:
        OSError: EINVAL outside 0..FIB_MAX, EISCONN when bound or connected in another FIB.
    """
    if not -(1 << 31) <= fib < 1 << 31:  # as the kernel would say, if it could be asked
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    sock.setsockopt(SOL_FIB, SO_SETFIB, fib)


def set_socket_any(sock: socket.socket) -> None:
    """Make an unbound socket a wildcard one: FIB 0, whatever the thread's FIB is."""
    sock.setsockopt(SOL_FIB, SO_FIB_ANY, 1)


def set_socket_only(sock: socket.socket, *, on: bool = True) -> None:
    """Let a socket of FIB 0 hear FIB 0 alone instead of all FIBs; before bind."""
    sock.setsockopt(SOL_FIB, SO_FIB_ONLY, int(on))


def set_accept_sets_thread(listener: socket.socket, *, on: bool = True) -> None:
    """Let accept() on this listener also set the accepting thread's FIB, or no longer."""
    listener.setsockopt(SOL_FIB, SO_FIB_ACCEPT, int(on))


def fib_of_address(address: str) -> int:
    """Return the FIB of a local address, as a socket bound to it would have.

    Raises:
        OSError: EADDRNOTAVAIL when it is not local.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        set_socket_any(probe)
        probe.bind((address, 0))
        return socket_fib(probe)
