from __future__ import annotations

import os
from pathlib import Path

import pytest

from testbed.report.prune import prune_runs


def run(folder: Path, number: int, *, has_report: bool = True) -> Path:
    path = folder / f"20260101-00000{number}-abcd"
    (path / "records").mkdir(parents=True)
    if has_report:
        (path / "index.html").touch()
    return path


def test_last_runs_stay(tmp_path: Path) -> None:
    runs = [run(tmp_path, number) for number in range(5)]
    assert prune_runs(tmp_path, 2) == 3
    assert [path.exists() for path in runs] == [False, False, False, True, True]
    assert prune_runs(tmp_path, 2) == 0


def test_nothing_goes_when_all_are_to_stay(tmp_path: Path) -> None:
    run(tmp_path, 1)
    assert prune_runs(tmp_path, 0) == 0


def test_a_run_at_work_stays_and_a_killed_one_goes_after_a_day(tmp_path: Path) -> None:
    at_work, killed = (run(tmp_path, number, has_report=False) for number in (1, 2))
    os.utime(killed, (0, 0))
    run(tmp_path, 3)
    assert prune_runs(tmp_path, 1) == 1
    assert at_work.exists()
    assert not killed.exists()


@pytest.mark.parametrize("name", ["20260101-000000-abcd-mine", "notes", "20260101-000000-abcd"])
def test_what_is_no_run_of_ours_stays(tmp_path: Path, name: str) -> None:
    foreign = tmp_path / name
    foreign.mkdir()  # without records
    run(tmp_path, 1)
    target = tmp_path / "elsewhere"
    run(target, 1)
    (tmp_path / "20250101-000000-abcd").symlink_to(target / "20260101-000001-abcd")
    assert prune_runs(tmp_path, 1) == 0
    assert foreign.exists()
    assert (target / "20260101-000001-abcd").exists()
