"""FIB extensions for Linux: the API for daemons; `python3 -m fib` is fibctl."""

from .api import (
    FIB_MAX,
    PR_FIB,
    PR_FIB_GET,
    PR_FIB_SET,
    SO_FIB,
    SO_FIB_ANY,
    SO_SETFIB,
    SOL_FIB,
    fib_of_address,
    get_thread_fib,
    set_socket_any,
    set_socket_fib,
    socket_fib,
    thread_fib,
)

__all__ = [
    "FIB_MAX",
    "PR_FIB",
    "PR_FIB_GET",
    "PR_FIB_SET",
    "SOL_FIB",
    "SO_FIB",
    "SO_FIB_ANY",
    "SO_SETFIB",
    "fib_of_address",
    "get_thread_fib",
    "set_socket_any",
    "set_socket_fib",
    "socket_fib",
    "thread_fib",
]
