"""Negative controls: one piece of the extensions switched off or made wrong.

A scenario breaks a piece, shows that it then fails, and mends it by `fibctl break --undo` (or
any `fibctl apply`), which brings every piece back and checks it.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final

from . import bpfmap, programs
from .address import to_address
from .apply import saved_document, swap_address
from .document import InputError
from .entries import Rule
from .netlink import Rtnetlink
from .rules import source_bypass_rule, stock_local_rule


def _set_flag(flag: int) -> None:
    bpfmap.set_flag(flag, on=True)


def _set_sysctls(*names: str) -> None:
    for name in names:
        Path("/proc/sys/net", name).write_text("0", "ascii")


def _add_rules(make: Callable[[int], Rule]) -> None:
    index = socket.if_nametoindex(saved_document().interface)
    with Rtnetlink(index) as netlink:
        netlink.add(make(family) for family in (socket.AF_INET, socket.AF_INET6))


def _unmark(*names: str) -> None:
    """Take a mark away from its packets; the rules by source would find the route without it."""
    _set_sysctls(*names)
    _add_rules(source_bypass_rule)


_PIECES: Final[dict[str, Callable[[], None]]] = {
    "thread-fib": lambda: programs.detach_program("fib_socket"),
    "thread-leak": lambda: _set_flag(bpfmap.THREAD_LEAK),
    "worker-leak": lambda: _set_flag(bpfmap.WORKER_LEAK),
    "accept-fib": lambda: _unmark("ipv4/tcp_fwmark_accept"),
    "reply-route": lambda: _unmark("ipv4/fwmark_reflect", "ipv6/fwmark_reflect"),
    "egress-guard": lambda: _set_flag(bpfmap.GUARD_OFF),
    "local-first": lambda: _add_rules(stock_local_rule),
}
"""How to break each piece; what is wrong then: arguments.py."""


def break_piece(piece: str) -> None:
    """Break a piece that needs no more than its name."""
    _PIECES[piece]()


def break_address(text: str, fib: int) -> None:
    """Let the data path take the local address `text` for one of `fib`, and routing not.

    Raises:
        InputError: it is no address of the document.
    """
    document = saved_document()
    known = {entry.ip for entry in document.unassigned}
    known |= {entry.ip for owner in document.fibs for entry in owner.addresses}
    try:
        address = to_address(text)
    except ValueError as error:
        raise InputError([str(error)]) from error
    if address not in known:
        raise InputError([f"'{text}' is not an address of the last document"])
    swap_address(address, fib)
