"""Steps on a real terminal: shown while they last, and a terminal that is as before after Ctrl-C."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"
# `up` with steps of its own: two that it is at, and a note.
UP = """
import sys, time
from testbed.cli import main, starting
def bring_up(topology, events, **_):
    with events.step("boot", tenant="alpha"), events.step("apply"):
        events.note("ready", "as can be")
        while True:
            time.sleep(0.05)  # a signal that comes just before pause() would be slept through
starting.bring_up = bring_up
sys.argv = ["testbed", "up"]
main.main()
"""


@dataclass
class Terminal:
    """A command on a terminal of its own, and what it has drawn so far."""

    process: subprocess.Popen[bytes]
    controller: int
    drawn: str = ""

    def read_until(self, words: str) -> None:
        while words not in self.drawn:
            self.drawn += os.read(self.controller, 4096).decode()

    def read_to_the_end(self) -> int:
        """Return the exit code."""
        code = self.process.wait()
        while True:
            try:
                self.drawn += os.read(self.controller, 4096).decode()
            except OSError:  # EIO: nobody has it open any more
                return code


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Terminal]:
    controller, own = pty.openpty()
    settings = {"TERM": "xterm", "COLUMNS": "60", "LINES": "20", "TESTBED_CACHE": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", UP], cwd=ROOT, stderr=own, env={**os.environ, **settings}
    ) as process:
        os.close(own)
        yield Terminal(process, controller)
        process.kill()
    os.close(controller)


def test_interruption_leaves_the_terminal_as_it_was(up: Terminal) -> None:
    up.read_until("apply")
    up.process.send_signal(signal.SIGINT)
    assert up.read_to_the_end() == 130
    assert "ready: as can be" in up.drawn
    assert HIDE in up.drawn
    assert up.drawn.rindex(SHOW) > up.drawn.rindex(HIDE)
    last = up.drawn[up.drawn.rindex(SHOW) :].splitlines()
    assert last[1].endswith("interrupted")
    assert last[2].startswith("    go on with `testbed up`")
    assert len(last) == 3
