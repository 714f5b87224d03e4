"""What was done to a deployment and by whom: JSON lines in its folder, for `testbed events`.

Whoever works on a deployment appends; a line is one write(2) on a file opened with O_APPEND, so that
lines of several processes never mix. The file is told from and decides nothing: where it cannot be
written, on a full disk or because `down` has just removed it, the work goes on.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from testbed.events import Event, Events, Phase

SCHEMA = "testbed.event/1"
FILE, OLD = "events.jsonl", "events.previous.jsonl"
_LARGEST_BYTES = 4 << 20


def fields_of(event: Event) -> dict[str, Any]:
    """Return `event` as JSON-ready data, with who did it."""
    script = Path(sys.argv[0]).name
    by = " ".join([script, *sys.argv[1:2]]) if script not in ("", "-c") else "a test worker"
    return {"schema": SCHEMA, **asdict(event), "pid": os.getpid(), "by": by}


def event_in(line: str) -> Event | None:
    """Return the event that `line` tells, None when it is no event's."""
    if not line.startswith(f'{{"schema": "{SCHEMA}"'):
        return None
    try:
        told = json.loads(line)
        values = {field.name: told[field.name] for field in fields(Event)}
        return Event(**{**values, "phase": Phase(told["phase"])})
    except (ValueError, KeyError):
        return None  # cut off, as by a full disk


@contextmanager
def recorded(folder: Path, events: Events) -> Iterator[None]:
    """Write all `events` down in the deployment's `folder` while the block lasts."""
    with suppress(FileNotFoundError):
        if (folder / FILE).stat().st_size > _LARGEST_BYTES:
            (folder / FILE).replace(folder / OLD)
    subscriber = _recorder(folder)
    events.subscribers.append(subscriber)
    try:
        yield
    finally:
        events.subscribers.remove(subscriber)


def note(folder: Path, step: str, detail: str) -> None:
    """Write one event down that is no step of a command's."""
    Events([_recorder(folder)]).note(step, detail)


def _recorder(folder: Path) -> Callable[[Event], None]:
    path = folder / FILE

    def record(event: Event) -> None:
        if event.phase is Phase.BEGIN:
            return  # its end tells when it began; one without an end was killed, as its caller was
        line = json.dumps(fields_of(event)) + "\n"
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        with suppress(OSError):  # see the module's docstring
            handle = os.open(path, flags, 0o600)
            try:
                os.write(handle, line.encode())
            finally:
                os.close(handle)

    return record
