"""Who expects which drops when: all that share a SUT share its drop counters.

A scenario that makes the extensions drop frames says so here before it begins and when it ends;
another that runs at the same time finds it. One line each, appended at a stroke; what a killed
process has announced ends with it.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from testbed.drivers import process

_FILE = "expected-drops.jsonl"
# A dropped segment is sent again for a while, also after who asked for it has gone.
_AFTER_S = 3.0


@contextmanager
def announced(folder: Path, reasons: Sequence[str]) -> Iterator[None]:
    """Say that drops for `reasons` are expected while the block lasts."""
    if not reasons:
        yield
        return
    entry = {"who": f"{os.getpid()} {time.time_ns()}", "reasons": list(reasons)}
    _append(folder, {**entry, "begins_s": time.time()})
    try:
        yield
    finally:
        _append(folder, {**entry, "ends_s": time.time()})


def expected(folder: Path, since_s: float) -> frozenset[str]:
    """Return the reasons that anybody expected at any moment from `since_s` on."""
    try:
        lines = (folder / _FILE).read_text().splitlines()
    except FileNotFoundError:
        return frozenset()
    reasons: dict[str, list[str]] = {}
    ended: dict[str, float] = {}
    for line in lines:
        entry = json.loads(line)
        reasons[entry["who"]] = entry["reasons"]
        if "ends_s" in entry:
            ended[entry["who"]] = entry["ends_s"]
    return frozenset(
        reason
        for who, told in reasons.items()
        if ended.get(who, time.time() if _lives(who) else 0.0) + _AFTER_S >= since_s
        for reason in told
    )


def _lives(who: str) -> bool:
    return process.started_at(int(who.split(maxsplit=1)[0])) != 0


def _append(folder: Path, entry: dict[str, object]) -> None:
    handle = os.open(folder / _FILE, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        os.write(handle, json.dumps(entry).encode() + b"\n")
    finally:
        os.close(handle)
