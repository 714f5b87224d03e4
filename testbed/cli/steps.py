"""Rendering of step events: live on a terminal, one line a step elsewhere, JSON for machines."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.spinner import Spinner
from rich.table import Table

from testbed.cli.options import Progress
from testbed.cli.telling import steps
from testbed.events import Event, Events, Phase
from testbed.lifecycle.history import fields_of


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
        with Live(console=console, refresh_per_second=10, transient=True) as live:
            yield Events([_Board(console, live).show])


def _print_json(event: Event) -> None:
    sys.stderr.write(json.dumps(fields_of(event)) + "\n")


def _print_line(console: Console, event: Event) -> None:
    line = _line(event)
    if line:
        console.print(line, highlight=False, soft_wrap=True)


def _line(event: Event) -> str:
    subject = f"{event.step}: {event.tenant}" if event.tenant else event.step
    detail = escape(event.detail)
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

    def __init__(self, console: Console, live: Live) -> None:
        self._console = console
        self._live = live
        self._working: dict[tuple[str, str], Spinner] = {}
        self._lock = threading.Lock()

    def show(self, event: Event) -> None:
        key = (event.step, event.tenant)
        with self._lock:
            if event.phase is Phase.BEGIN:
                text = f"{event.step}: {event.tenant}" if event.tenant else event.step
                self._working[key] = Spinner("dots", text)
            else:
                self._working.pop(key, None)
                _print_line(self._console, event)
            board = Table.grid()
            for spinner in self._working.values():
                board.add_row(spinner)
            self._live.update(board)
