"""What is configured, on disk: the last document, and a journal of FIBs changed one at a time since.

A change is in the journal before the kernel sees it and is closed after, so that whoever comes after
a crash knows that the kernel may have half of it. The journal bears its document's identity in its
name: one whose document has been replaced counts for nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any, Final

from .failure import EnvironmentFailure

RUN: Final = Path("/run/fib")
"""Run-time state of fibctl; gone with the boot, as pins are."""

_DOCUMENT = RUN / "document.json"
_CLOSED = {"closed": True}


def exists() -> bool:
    """Whether anything has been applied since the system started."""
    return _DOCUMENT.exists()


def replace(text: str) -> None:
    """Make `text` the document in force, whole or not at all."""
    temporary = _DOCUMENT.with_suffix(".new")
    temporary.write_text(text, "utf-8")
    temporary.rename(_DOCUMENT)
    for stale in set(RUN.glob("journal-*")) - {_journal()}:
        stale.unlink(missing_ok=True)


def forget() -> None:
    """Nothing is configured any more."""
    for path in (_DOCUMENT, *RUN.glob("journal-*")):
        path.unlink(missing_ok=True)


def load() -> Any:
    """Return the decoded document in force, changes of single FIBs included.

    Raises:
        EnvironmentFailure: nothing has been applied yet.
    """
    if not exists():
        raise EnvironmentFailure("nothing has been applied since the system started")
    document = json.loads(_DOCUMENT.read_text("utf-8"))
    lines = _lines()
    if lines:
        fibs = {fib["id"]: fib for fib in document["fibs"]}
        for line in lines:
            for number in line.get("delete", ()):
                fibs.pop(number, None)
            fibs |= {fib["id"]: fib for fib in line.get("add", ())}
        document["fibs"] = list(fibs.values())
    return document


def interface() -> str:
    """Return the interface of the FIBs, empty when there is none."""
    stamps = sorted(RUN.glob("attached-*"))
    return stamps[0].name.partition("-")[2] if stamps else ""


def text() -> str:
    """Return the document in force as JSON."""
    return json.dumps(load())


def is_closed() -> bool:
    """Whether the last change has been made to the end."""
    lines = _lines()
    return not lines or lines[-1] == _CLOSED


def open_change(*, add: list[Any], delete: list[int]) -> None:
    """Note a change that is about to be made."""
    _append({"add": add, "delete": delete})


def close_change() -> None:
    """Note that the change has been made."""
    _append(_CLOSED)


def undo_change(*, add: list[Any], delete: list[int]) -> None:
    """Note that the change has been taken back: `add` and `delete` are its opposite."""
    _append({"add": add, "delete": delete})
    _append(_CLOSED)


def generation() -> tuple[int, ...]:
    """Return what tells this state from any other."""
    try:
        found = os.stat(_DOCUMENT)  # noqa: PTH116 - for every FIB added: pathlib takes as long again
    except FileNotFoundError:
        return ()
    try:
        size = os.stat(_name_of(found)).st_size  # noqa: PTH116
    except FileNotFoundError:
        size = 0
    return (found.st_ino, found.st_mtime_ns, size)


def _journal() -> Path:
    return Path(_name_of(_DOCUMENT.stat()))


def _name_of(document: os.stat_result) -> str:
    return f"{RUN}/journal-{document.st_ino}-{document.st_mtime_ns}"


def _lines() -> list[Any]:
    """Return the journal's entries; one cut short is of a change that had not begun."""
    journal = _journal()
    entries = []
    for line in journal.read_text("utf-8").split("\n") if journal.exists() else ():
        with contextlib.suppress(ValueError):
            entries.append(json.loads(line))
    return entries


def _append(entry: Any) -> None:
    line = f"\n{json.dumps(entry)}\n"  # apart from one before it that was cut short
    descriptor = os.open(_journal(), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)
