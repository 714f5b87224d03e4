"""What the daemon asks of the FIB API: `fib.api` provides it, tests inject their own."""

from __future__ import annotations

import socket
from contextlib import AbstractContextManager
from typing import Protocol


class Fibs(Protocol):
    """The part of the FIB API that a daemon needs; a module satisfies it as well as an object."""

    def thread_fib(self, fib: int, /) -> AbstractContextManager[object]:
        """Give the calling thread FIB `fib` for the block; restore what it had."""

    def get_thread_fib(self) -> int:
        """Return the calling thread's FIB."""

    def socket_fib(self, sock: socket.socket, /) -> int:
        """Return the FIB of a socket."""

    def set_socket_any(self, sock: socket.socket, /) -> None:
        """Make an unbound socket a wildcard one, that serves every FIB."""

    def fib_of_address(self, address: str, /) -> int:
        """Return the FIB of a local address, else of its interface, else 0."""
