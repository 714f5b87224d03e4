from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from testbed.deadline import Deadline, wait_for
from testbed.drivers import ending, process
from testbed.errors import ResourceError

BEGUN = b"begun\n"


@contextmanager
def at_work(mark: str, script: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run `script` in a session of its own, as what a container or the SUT runs is."""
    argv = ["env", *([mark] if mark else []), "sh", "-c", script]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, start_new_session=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == BEGUN
        try:
            yield child
        finally:
            child.kill()


@pytest.mark.parametrize(
    "end", [ending.end_here, partial(ending.end_by_shell, ["sh", "-s"])], ids=["here", "by shell"]
)
@pytest.mark.parametrize(
    ("script", "by"),
    [
        ("echo begun; exec sleep 60", signal.SIGTERM),
        ("trap '' TERM; echo begun; sleep 60; sleep 60", signal.SIGKILL),
    ],
    ids=["willing", "deaf"],
)
def test_what_carries_the_mark_is_ended_and_nothing_else(
    end: ending.End, script: str, by: signal.Signals
) -> None:
    mark = ending.new_mark()
    with (
        at_work(mark, script) as child,
        at_work(ending.new_mark(), "echo begun; exec sleep 60") as another,
        at_work("", f"echo begun; : {mark.partition('=')[0]}; exec sleep 60") as unmarked,
    ):
        end(mark, signal.SIGTERM)
        assert child.wait(timeout=5) == -by
        assert (another.poll(), unmarked.poll()) == (None, None)


def test_children_that_have_left_their_parent_are_found() -> None:
    mark = ending.new_mark()
    script = "setsid sh -c 'echo begun; exec sleep 60' & exit"
    with at_work(mark, script) as child:
        child.wait(timeout=5)
        assert child.stdout is not None
        ending.end_here(mark, signal.SIGINT)
        assert child.stdout.read() == b"", "somebody still holds its output"


ATTENDED = """
import sys
from testbed.drivers import process
sys.exit(process.attend(["sh", "-c", "echo begun; exec sleep 60"], end=lambda n: print("ended by", n.name)))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_attending_ends_both_sides_and_tells_the_signal(number: signal.Signals) -> None:
    argv = [sys.executable, "-uc", ATTENDED]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, start_new_session=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == BEGUN
        os.kill(child.pid, number)
        assert child.stdout.read().decode() == f"ended by {number.name}\n"
        assert child.wait() == 128 + number


def never(_number: signal.Signals) -> None:
    raise AssertionError


def test_attending_ends_what_its_check_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def give_up() -> None:
        raise ResourceError("it hangs")

    assert process.attend(["true"], end=never, check=give_up) == 0, "it is not asked at once"
    monkeypatch.setattr(process, "_A_WHILE_S", 0.1)
    with pytest.raises(ResourceError, match="it hangs"):
        process.attend(["sleep", "60"], end=never, check=give_up)


def test_attending_passes_exit_codes_on() -> None:
    assert process.attend(["sh", "-c", "exit 7"], end=never) == 7
    assert process.attend(["sh", "-c", "kill -9 $$"], end=never) == 128 + 9


WATCHED = """
import sys
from pathlib import Path
from testbed.drivers import ending
with ending.watched(lambda: Path(sys.argv[1]).write_text("ended")):
    print("begun")
    sys.stdin.read()
print("left")
"""


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGTERM])
def test_watcher_ends_what_a_killed_process_has_left(by: signal.Signals, tmp_path: Path) -> None:
    argv = [sys.executable, "-uc", WATCHED, str(tmp_path / "told")]
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == BEGUN
        os.killpg(child.pid, by)  # a job that is killed whole: the watcher is no part of it
        assert child.stdout.read() == b"", "the watcher holds the output"

        def ended() -> bool:
            return (tmp_path / "told").exists()

        wait_for(ended, Deadline.after(5), what="the watcher has ended it")


def test_watcher_of_a_process_that_ends_by_itself_ends_nothing(tmp_path: Path) -> None:
    done = process.run([sys.executable, "-uc", WATCHED, str(tmp_path / "told")], stdin="")
    assert done.stdout == "begun\nleft\n"  # it has waited for its watcher by then
    assert not (tmp_path / "told").exists()
