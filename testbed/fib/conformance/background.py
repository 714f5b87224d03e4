"""libc's getaddrinfo_a: names are resolved by helper threads of libc's own.

`python3 -m fib.conformance.background NAME`: exit code 0 when it was resolved.
"""

from __future__ import annotations

import ctypes
import sys


class _Question(ctypes.Structure):
    """`struct gaicb` of netdb.h, with its reserved fields."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("service", ctypes.c_char_p),
        ("hints", ctypes.c_void_p),
        ("result", ctypes.c_void_p),
        ("reserved", ctypes.c_int * 6),
    )


_GAI_WAIT = 0  # the caller sleeps, a helper works


def ask_in_background(name: str) -> None:
    """Resolve a name by a helper thread.

    Raises:
        OSError: it was not resolved.
    """
    question = _Question(name=name.encode())
    questions = (ctypes.POINTER(_Question) * 1)(ctypes.pointer(question))
    libc = ctypes.CDLL(None)
    if libc.getaddrinfo_a(_GAI_WAIT, questions, 1, None) or libc.gai_error(questions[0]):
        raise OSError(f"'{name}' was not resolved")


if __name__ == "__main__":
    ask_in_background(sys.argv[1])
