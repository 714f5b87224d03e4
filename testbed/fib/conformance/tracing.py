"""Sockets and connections as the kernel sees them being made, compared with the FIB expected."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any, cast

from .. import programs


@contextmanager
def tracing() -> Iterator[list[dict[str, Any]]]:
    """Collect what fib-trace tells while the block lasts; complete when it has ended.

    Raises:
        OSError: it did not start, or has lost events.
    """
    directory = programs.directory()
    gate, end = os.pipe()
    events: list[dict[str, Any]] = []
    argv = [str(directory / "fib-trace"), str(directory)]
    with subprocess.Popen(argv, stdin=gate, stdout=subprocess.PIPE, text=True) as tracer:
        os.close(gate)
        lines = cast("IO[str]", tracer.stdout)
        if json.loads(lines.readline() or "null") != {"event": "ready"}:
            raise OSError("fib-trace did not start")
        reader = threading.Thread(target=lambda: events.extend(map(json.loads, lines)))
        reader.start()
        try:
            yield events
        finally:
            os.close(end)
            reader.join()
    if events[-1] != {"event": "end", "lost": 0}:
        raise OSError(f"fib-trace has not told all: {events[-1]}")


def judge(events: list[dict[str, Any]], callers: Mapping[int, int]) -> dict[str, Any]:
    """Compare the FIB of each socket with that of the calling thread, or of whose child made it.

    `callers` are thread -> FIB. Returns `sockets` by type, how many of them `helpers` made (threads
    that callers have started), `connections`, and what is `wrong`.
    """
    expected = dict(callers)
    sockets: Counter[str] = Counter()
    fibs: set[int] = set()
    helpers = connections = 0
    wrong: list[str] = []
    for event in events:
        thread = event.get("thread")
        if thread not in expected:
            continue
        if event["event"] == "thread":
            expected[event["child"]] = expected[thread]
            continue
        if event["family"] not in (socket.AF_INET, socket.AF_INET6):
            continue
        if event["event"] == "socket":
            sockets[socket.SocketKind(event["type"]).name] += 1
            helpers += thread not in callers
            fibs.add(event["fib"])
        else:
            connections += 1
        if event["fib"] != expected[thread]:
            wrong.append(
                f"{event['event']} of thread {thread}: FIB {event['fib']}, not {expected[thread]}"
            )
    return {
        "sockets": dict(sockets),
        "helpers": helpers,
        "fibs": sorted(fibs),
        "connections": connections,
        "wrong": wrong,
    }
