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
    first.take(Event(Phase.END, "wire", "bravo", elapsed_s=125.0))
    first.keep()
    second = Pace(tmp_path, "up")
    assert second.of_step("wire", 2.4) == "2 s of about 2:05 min"
    assert second.of_all() == "about 1 s left"
    assert Pace(tmp_path, "down").of_step("wire", 2.4) == "2 s"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Stand in for the clock; its only element is the time in seconds."""
    now = [1000.0]
    monkeypatch.setattr("testbed.cli.pace.time.monotonic", lambda: now[0])
    return now


def run(pace: Pace, clock: list[float], *steps: tuple[str, float]) -> list[str]:
    """Let steps end after their seconds; return what was told to be left after each."""
    told = []
    for step, took_s in steps:
        clock[0] += took_s
        pace.take(Event(Phase.END, step, "", elapsed_s=took_s))
        told.append(pace.of_all())
    pace.keep()
    return told


def test_what_is_left_is_of_a_run_with_the_same_steps(tmp_path: Path, clock: list[float]) -> None:
    new = (("boot", 20.0), ("apply", 10.0), ("check", 5.0))
    again = (("look", 1.0), ("check", 5.0))
    assert run(Pace(tmp_path, "up"), clock, *new) == ["", "", ""]
    assert run(Pace(tmp_path, "up"), clock, *again)[0] == "about 34 s left"
    assert run(Pace(tmp_path, "up"), clock, *again)[0] == "about 5 s left"
    assert run(Pace(tmp_path, "up"), clock, *new)[:2] == ["about 15 s left", "about 5 s left"]


def test_late_is_told(tmp_path: Path, clock: list[float]) -> None:
    run(Pace(tmp_path, "up"), clock, ("boot", 20.0))
    pace = Pace(tmp_path, "up")
    clock[0] += 22.0
    assert pace.of_all() == "about 1 s left"
    clock[0] += 2.0
    assert pace.of_all() == "longer than last time"


def test_more_steps_than_lines_leave_room_for_the_rest(tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), width=60, height=10)
    board = _Board(console, Pace(tmp_path, "up"))
    for number in range(30):
        board.show(Event(Phase.BEGIN, "start services", f"t{number}"))
    console.print(board)
    printed = console.file.getvalue()  # type: ignore[attr-defined]  # a StringIO
    assert "and 24 more" in printed
    assert len(printed.splitlines()) < 10


@pytest.mark.parametrize("text", ["", "[]", '{"up": 7}', '{"up": {"took": {"wire": "x"}}}', "\x00"])
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
