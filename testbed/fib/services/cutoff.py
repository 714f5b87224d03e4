"""Ends library calls that a tenant's server would never let end, by shutting their sockets down.

Not every wait in the libraries has a timeout, and a hostile or half-dead server finds the one that
has none. Seen: glibc 2.36 reads a DNS reply over TCP for as long as the server keeps it waiting;
libldap 2.5 does so in the middle of a message; libkrb5 1.20 tries a silent KDC for 27 s and has no
setting for it. A thread cannot be interrupted in there, but its sockets can be shut down: then the
call fails as if the server had hung up. What is open in a FIB besides our clients' connections
(those have our port) was opened by libraries on behalf of that FIB's tenant.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Collection

_INTERNET = frozenset({socket.AF_INET, socket.AF_INET6})


def cut_off(
    fib: int,
    *,
    socket_fib: Callable[[socket.socket], int],
    own_port: int,
    own_descriptors: Collection[int] = frozenset(),
) -> int:
    """Shut down the sockets that libraries have in `fib`; return how many.

    `own_descriptors` are skipped unseen; that saves time and is not needed to be right.
    """
    number = 0
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - thousands of plain names
        if int(name) in own_descriptors:
            continue
        # Descriptors come and go in other threads: first hold on to what is there, then look.
        with contextlib.suppress(OSError), _socket_of(int(name)) as sock:
            if sock.family not in _INTERNET or sock.getsockname()[1] == own_port:
                continue
            if socket_fib(sock) == fib:
                sock.shutdown(socket.SHUT_RDWR)
                number += 1
    return number


def _socket_of(descriptor: int) -> socket.socket:
    copy = os.dup(descriptor)
    try:
        return socket.socket(fileno=copy)
    except OSError:
        os.close(copy)
        raise
