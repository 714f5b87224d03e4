"""Standard streams that are closed, full, or read by somebody who has seen enough."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from testbed.drivers import process
from testbed.lifecycle.store import Store

ROOT = Path(__file__).parents[3]
TESTBED = f"{sys.executable} -m testbed.cli.main"


def run(state: Path, script: str) -> process.Finished:
    """Run bash's `script` in the clone, `testbed` being the command."""
    settings = {"TESTBED_STATE": str(state)}
    script = f'testbed() {{ {TESTBED} "$@"; }}; {script}'
    return process.run(["bash", "-c", script], env=settings, cwd=ROOT, check=False)


@pytest.mark.parametrize("closed", ["<&-", ">&-", "<&- >&- 2>&-"])
def test_closed_stream_is_no_error(tmp_path: Path, closed: str) -> None:
    done = run(tmp_path, f"testbed plan {closed}")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("closed", ["<&-", ">&-"])
def test_command_inside_finds_no_stream_closed(tmp_path: Path, closed: str) -> None:
    # Without a deployment it ends with an error of ours, not with a traceback.
    Store(tmp_path).create("proposal", ROOT / "topologies/proposal.yaml")
    done = run(tmp_path, f"testbed exec nobody:client -- true {closed}")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("verb", "reader"),
    [("--help", "true"), ("plan", "true"), ("events", "true"), ("plan -f json", "head -c 1")],
)
def test_reader_who_has_seen_enough_is_no_error(tmp_path: Path, verb: str, reader: str) -> None:
    Store(tmp_path).create("proposal", ROOT / "topologies/proposal.yaml")
    done = run(tmp_path, f"testbed {verb} | {reader}; echo ${{PIPESTATUS[0]}} >&2")
    assert done.stderr == "0\n"


@pytest.mark.parametrize("verb", ["--help", "plan"])
def test_full_disk_is_told(tmp_path: Path, verb: str) -> None:
    Store(tmp_path).create("proposal", ROOT / "topologies/proposal.yaml")
    done = run(tmp_path, f"testbed {verb} >/dev/full")
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == "error: cannot write: No space left on device"
    assert len(done.stderr.splitlines()) == 2


def test_ctrl_c_while_modules_are_imported_is_no_traceback(tmp_path: Path) -> None:
    slow = "print('begun', flush=True); import time; time.sleep(60)"
    (tmp_path / "typer.py").write_text(slow)
    settings = {**os.environ, "PYTHONPATH": str(tmp_path), "TESTBED_STATE": str(tmp_path / "state")}
    argv = [sys.executable, "-m", "testbed.cli.main", "status"]
    with subprocess.Popen(
        argv, cwd=ROOT, env=settings, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"begun\n"
        child.send_signal(signal.SIGINT)
        assert (child.wait(timeout=20), child.communicate()[1]) == (130, b"")
