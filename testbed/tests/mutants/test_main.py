"""`python -m testbed.mutants --down`, as `make testbed-down` calls it on any host."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.lifecycle import store
from testbed.mutants import __main__ as mutants


@pytest.mark.parametrize("is_there", [False, True])
def test_down_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_there: bool
) -> None:
    root = tmp_path / "state"
    monkeypatch.setattr(mutants, "state_root", lambda: root)
    monkeypatch.setattr(store, "DEFAULT_STATE", root)
    if is_there:
        (root / "mutants" / "1").mkdir(parents=True)
    assert mutants.main(["--down"]) == 0
    assert not root.exists()
