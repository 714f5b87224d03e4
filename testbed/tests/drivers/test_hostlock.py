from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from testbed.drivers import hostlock
from testbed.errors import WaitTimeoutError

HOLD = """
import sys, time
from pathlib import Path
from testbed.drivers import hostlock
with hostlock.held(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_lock_vanishes_with_its_last_holder(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    with hostlock.held(path, shared=True):
        with hostlock.held(path, shared=True):
            assert path.exists()
        assert path.exists()
    assert not path.exists()
    assert tmp_path.exists(), "a folder of somebody's own stays"


def test_lock_excludes_others(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    with hostlock.held(path, shared=True):
        with pytest.raises(WaitTimeoutError), hostlock.held(path, limit_s=0.05):
            pass
        with hostlock.held_if_free(path) as is_free:
            assert not is_free
    with hostlock.held_if_free(path) as is_free:
        assert is_free


def test_file_that_was_replaced_is_not_taken_for_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    with hostlock.held(path):
        path.unlink()
        with hostlock.held(path, limit_s=1):
            held = path.stat().st_ino
        assert not path.exists() or path.stat().st_ino != held


def test_lock_of_a_killed_holder_is_free_and_tidied(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, env=dict(os.environ)
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        hostlock.tidy(tmp_path)
        assert path.exists(), "it is in use"
        holder.kill()
    hostlock.tidy(tmp_path)
    assert not path.exists()
