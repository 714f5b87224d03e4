from __future__ import annotations

from pathlib import Path

import pytest

from testbed.drivers import traces


@pytest.fixture(autouse=True)
def note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "shared" / "made"
    monkeypatch.setattr(traces, "SHARED", path.parent)
    monkeypatch.setattr(traces, "_NOTE", path)
    return path


def test_only_what_was_missing_is_removed(tmp_path: Path, note: Path) -> None:
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    theirs.mkdir()
    traces.note_missing([theirs, ours])
    (ours / "inside").mkdir(parents=True)
    traces.undo([theirs, ours])
    assert theirs.is_dir()
    assert not ours.exists()
    assert not note.exists()


def test_noting_again_what_we_have_made_changes_nothing(tmp_path: Path) -> None:
    ours = tmp_path / "ours"
    traces.note_missing([ours])
    ours.mkdir()
    traces.note_missing([ours])
    assert traces.noted() == (ours,)


def test_other_notes_are_kept(tmp_path: Path, note: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    traces.note_missing([one, two])
    one.touch()
    two.touch()
    traces.undo([one])
    assert not one.exists()
    assert two.exists()
    assert note.read_text() == f"{two}\n"
