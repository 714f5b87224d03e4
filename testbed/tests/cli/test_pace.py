from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from testbed.cli.pace import Pace
from testbed.cli.steps import _Board
from testbed.events import Event, Events, Phase


def test_next_time_knows_how_long_it_takes(tmp_path: Path) -> None:
    first = Pace(tmp_path, "up")
    assert first.of_step("wire", 2.4) == "2 s"
    assert first.of_all() == ""
    first.take(Event(Phase.END, "wire", "alpha", elapsed_s=3.0))
    first.take(Event(Phase.END, "wire", "bravo", elapsed_s=5.0))
    first.keep()
    second = Pace(tmp_path, "up")
    assert second.of_step("wire", 2.4) == "2 s of about 5 s"
    assert second.of_all() == "longer than last time"
    assert Pace(tmp_path, "down").of_step("wire", 2.4) == "2 s"


@pytest.mark.parametrize("text", ["", "[]", '{"up": 7}', '{"up": {"wire": "x"}}', "\x00"])
def test_file_that_is_none_is_no_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "durations.json").write_text(text)
    assert Pace(tmp_path, "up").of_all() == ""


def test_missing_cache_is_no_error(tmp_path: Path) -> None:
    Pace(tmp_path / "none", "up").keep()


def test_board_shows_what_is_at_work_and_scrolls_what_has_ended(tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), width=100)
    board = _Board(console, Pace(tmp_path, "up"))
    events = Events([board.show])
    with events.step("start services", tenant="[bold]alpha"), events.step("restore the SUT"):
        console.print(board)
    printed = console.file.getvalue()  # type: ignore[attr-defined]  # a StringIO
    assert "start services: [bold]alpha 0 s" in printed
    assert "restore the SUT" in printed
    assert "✔ restore the SUT" in printed
