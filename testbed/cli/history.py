"""The verb `events`: what was done to a deployment, and what is being done.

Following ends with the deployment, or with whoever reads what is told.
"""

from __future__ import annotations

import json
import select
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from testbed.cli.telling import tell
from testbed.deadline import Deadline, NotYet, wait_for
from testbed.errors import WaitTimeoutError
from testbed.lifecycle.history import FILE
from testbed.lifecycle.store import Store, state_root

_LOOK_EVERY_S = 0.2
_A_DAY_S = 86400.0
_MARKS = {"end": "✔", "fail": "✘", "note": "·"}


def print_events(name: str, *, follow: bool, tail: int, as_json: bool) -> None:
    """Print the last `tail` events, and with `follow` those that come until the deployment goes."""
    store = Store(state_root())
    record = store.get(name)
    path = store.folder(record.id) / FILE
    written = path.read_bytes() if path.exists() else b""
    lines = written.decode(errors="replace").splitlines()
    for line in lines[len(lines) - tail :] if tail else []:
        _print(line, as_json=as_json)
    if follow:
        sys.stdout.flush()
        for line in _coming(path, len(written)):
            _print(line, as_json=as_json)
            sys.stdout.flush()


def _coming(path: Path, position: int) -> Iterator[str]:
    """Yield lines that are appended, until the deployment's folder has gone."""
    while path.parent.exists():

        def appended(start: int = position) -> bytes:
            _require_reader()
            if not path.parent.exists():
                return b"\n"
            size = path.stat().st_size if path.exists() else 0
            if size == start:
                raise NotYet("nothing")
            begin = start if size > start else 0  # a new file was begun
            with path.open("rb") as file:
                file.seek(begin)
                return file.read().rpartition(b"\n")[0] + b"\n"

        try:
            data = wait_for(
                appended, Deadline.after(_A_DAY_S), what="an event", pause_s=_LOOK_EVERY_S
            )
        except WaitTimeoutError:
            continue
        if data != b"\n":
            yield from data.decode(errors="replace").splitlines()
        position += len(data)


def _require_reader() -> None:
    """Leave when nobody reads our output any more, as after `| head`: else an event would tell us."""
    poll = select.poll()
    poll.register(sys.stdout, 0)  # told of its reader's end only
    if any(seen & select.POLLERR for _, seen in poll.poll(0)):
        raise BrokenPipeError


def _print(line: str, *, as_json: bool) -> None:
    try:
        told = line if as_json and json.loads(line) else _in_words(json.loads(line))
    except (ValueError, TypeError, KeyError):  # cut off, as by a full disk
        tell("an event that cannot be read")
        return
    sys.stdout.write(f"{told}\n")


def _in_words(event: dict[str, Any]) -> str:
    moment = time.strftime("%H:%M:%S", time.localtime(event["time_s"]))
    words = ": ".join(part for part in (event["step"], event["tenant"], event["detail"]) if part)
    took = f" ({event['elapsed_s']:.1f} s)" if event["phase"] in ("end", "fail") else ""
    return f"{moment} {_MARKS[event['phase']]} {words}{took}  [{event['by']}, pid {event['pid']}]"
