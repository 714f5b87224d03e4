from __future__ import annotations

import socket
from typing import Any

from testbed.fib.conformance.tracing import judge

CALLER, HELPER, STRANGER = 10, 11, 99


def made(thread: int, fib: int, event: str = "socket", **changes: Any) -> dict[str, Any]:
    return {
        "event": event,
        "thread": thread,
        "fib": fib,
        "family": socket.AF_INET,
        "type": socket.SOCK_DGRAM,
        **changes,
    }


def test_sockets_of_callers_and_their_helpers_are_judged_by_the_callers_fib() -> None:
    events = [
        made(CALLER, 2),
        {"event": "thread", "thread": CALLER, "child": HELPER},
        made(HELPER, 2, type=socket.SOCK_STREAM),
        made(HELPER, 2, event="connect"),
    ]
    assert judge(events, {CALLER: 2}) == {
        "sockets": {"SOCK_DGRAM": 1, "SOCK_STREAM": 1},
        "helpers": 1,
        "fibs": [2],
        "connections": 1,
        "wrong": [],
    }


def test_a_helper_in_another_fib_is_wrong() -> None:
    events = [{"event": "thread", "thread": CALLER, "child": HELPER}, made(HELPER, 0)]
    assert judge(events, {CALLER: 2})["wrong"] == ["socket of thread 11: FIB 0, not 2"]


def test_what_others_do_does_not_count() -> None:
    events = [
        made(STRANGER, 7),
        made(CALLER, 7, family=socket.AF_UNIX),
        {"event": "end", "lost": 0},
    ]
    assert judge(events, {CALLER: 2})["sockets"] == {}
