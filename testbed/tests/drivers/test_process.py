from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path

import pytest

from testbed.deadline import Deadline, wait_for
from testbed.drivers import process
from testbed.errors import ResourceError

OWNER = f"selftest-{os.getpid()}/sleeper"


def test_output_of_a_finished_command() -> None:
    finished = process.run(["sh", "-c", "cat; echo problem >&2; exit 3"], stdin="in", check=False)
    assert (finished.returncode, finished.stdout, finished.stderr) == (3, "in", "problem\n")


def test_failure_quotes_command_and_its_words() -> None:
    with pytest.raises(ResourceError, match="`sh -c echo no >&2; exit 4` exited 4: no"):
        process.run(["sh", "-c", "echo no >&2; exit 4"])


def test_missing_command_is_named() -> None:
    with pytest.raises(ResourceError, match="cannot run 'no-such-command': not found"):
        process.run(["no-such-command"])


def test_slow_command_is_ended() -> None:
    with pytest.raises(ResourceError, match=r"`sleep 30` took over 0.2 s"):
        process.run(["sleep", "30"], timeout_s=0.2)


def test_command_dies_with_us() -> None:
    """A child of a process that is killed must not go on: nobody would clean it up."""
    script = (
        "from testbed.drivers import process\n"
        "process.run(['sh', '-c', 'echo $$; exec sleep 60'], timeout_s=60)\n"
    )
    marker = f"selftest-{os.getpid()}/parent"
    log = Path(os.devnull)
    parent = process.spawn([sys.executable, "-c", script], owner=marker, log=log)
    children = Path(f"/proc/{parent}/task/{parent}/children")
    child = int(wait_for(children.read_text, Deadline.after(10), what="the child").split()[0])
    process.stop(parent)
    wait_for(lambda: not is_alive(child), Deadline.after(5), what="the child's end")


def pids_of(owner: str) -> list[int]:
    return list(process.owned(owner))


def test_owned_processes_are_found_and_only_those(tmp_path: Path) -> None:
    mine = process.spawn(["sleep", "60"], owner=OWNER, log=tmp_path / "log")
    other = process.spawn(["sleep", "60"], owner=f"{OWNER}-other", log=tmp_path / "log")
    try:
        deployment = OWNER.partition("/")[0]
        for owner, pid in ((OWNER, mine), (f"{OWNER}-other", other)):
            # exec closes our pipe to the child, which spawn awaits, before the environment is new.
            wait_for(partial(pids_of, owner), Deadline.after(5), what="exec")
            assert pids_of(owner) == [pid]
        assert set(process.owned(f"{deployment}/")) == {mine, other}
    finally:
        process.stop(mine)
        process.stop(other)
    assert list(process.owned(OWNER)) == []


def test_process_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    stubborn = ["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done"]
    pid = process.spawn(stubborn, owner=OWNER, log=log)
    wait_for(lambda: "ready" in log.read_text(), Deadline.after(5), what="the trap")
    process.stop(pid, grace_s=0.2)
    assert not is_alive(pid)


def test_stopping_what_has_ended_is_no_error() -> None:
    process.stop(2**22 - 1)


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_process_without_a_mark_is_never_stopped() -> None:
    """A pid that was recycled since somebody looked belongs to nobody of ours."""
    foreign = os.posix_spawnp("sleep", ["sleep", "60"], {"PATH": os.environ["PATH"]})
    try:
        process.stop(foreign, grace_s=0)
        assert is_alive(foreign)
    finally:
        os.kill(foreign, 9)
        os.waitpid(foreign, 0)


def test_start_tells_a_process_from_a_later_one_with_its_pid() -> None:
    assert process.started_at(os.getpid()) > 0
    assert process.started_at(2**22 - 1) == 0
