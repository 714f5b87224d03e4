"""Rendering of step events: live on a terminal, one line a step elsewhere, JSON for machines."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.spinner import Spinner
from rich.table import Table

from testbed.cli.options import Progress
from testbed.cli.pace import Pace
from testbed.cli.telling import printable, steps
from testbed.events import Event, Events, Phase
from testbed.lifecycle.history import fields_of
from testbed.lifecycle.store import cache_root

_OTHER_LINES = 4  # of the terminal: those below the steps at work, and some of what has ended


@contextmanager
def shown_events(progress: Progress) -> Iterator[Events]:
    """Yield events whose steps are shown on stderr until the block ends."""
    console = steps()
    if progress is Progress.QUIET:
        yield Events()
    elif progress is Progress.JSON:
        yield Events([_print_json])
    elif progress is Progress.PLAIN or not console.is_terminal:
        yield Events([lambda event: _print_line(console, event)])
    else:
        pace = Pace(cache_root(), _what(sys.argv))
        board = _Board(console, pace)
        with Live(board, console=console, refresh_per_second=10, transient=True):
            yield Events([board.show])
        pace.keep()


def _what(argv: list[str]) -> str:
    """Return what takes as long each time: the verb, and the topology if one is named."""
    files = (Path(word).name for word in argv[2:] if word.endswith((".yaml", ".yml")))
    return " ".join([*argv[1:2], *files])


def _print_json(event: Event) -> None:
    sys.stderr.write(json.dumps(fields_of(event)) + "\n")


def _print_line(console: Console, event: Event) -> None:
    line = _line(event)
    if line:
        console.print(line, highlight=False, soft_wrap=True)


def _line(event: Event) -> str:
    subject = f"{event.step}: {event.tenant}" if event.tenant else event.step
    detail = escape(printable(event.detail))
    match event.phase:
        case Phase.END:
            return f"[green]✔[/green] {subject} [dim]{event.elapsed_s:.1f} s[/dim]"
        case Phase.FAIL:
            return f"[red]✘[/red] {subject} [dim]{event.elapsed_s:.1f} s[/dim]"
        case Phase.NOTE:
            return f"[dim]· {subject}{': ' if detail else ''}{detail}[/dim]"
        case Phase.BEGIN:
            return ""


class _Board:
    """The steps at work now, with finished ones scrolling above."""

    def __init__(self, console: Console, pace: Pace) -> None:
        self._console = console
        self._pace = pace
        self._working: dict[tuple[str, str], tuple[Spinner, float]] = {}
        self._lock = threading.Lock()

    def show(self, event: Event) -> None:
        """Take one event in; the display refreshes itself."""
        key = (event.step, event.tenant)
        self._pace.take(event)
        with self._lock:
            if event.phase is Phase.BEGIN:
                self._working[key] = (Spinner("dots"), time.monotonic())
                return
            self._working.pop(key, None)
        _print_line(self._console, event)

    def __rich__(self) -> Table:
        """Return what is to be seen now."""
        board = Table.grid(padding=(0, 1))
        with self._lock:
            working = list(self._working.items())
        shown = max(1, self._console.height - _OTHER_LINES)
        for (step, tenant), (spinner, began_s) in working[:shown]:
            subject = f"{step}: {tenant}" if tenant else step
            took = self._pace.of_step(step, time.monotonic() - began_s)
            board.add_row(spinner, escape(subject), f"[dim]{took}[/dim]")
        if len(working) > shown:
            board.add_row("", f"[dim]and {len(working) - shown} more[/dim]", "")
        left = self._pace.of_all()
        if working and left:
            board.add_row("", f"[dim]{left}[/dim]", "")
        return board
