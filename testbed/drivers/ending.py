"""Ends a command that runs where our signals do not reach: in a container, or in the SUT.

Neither `docker exec` nor ssh passes a signal on unless there is a terminal (moby/moby#9098; RFC 4254,
6.9 has a request for it, which OpenSSH's client never sends): they leave, and what they had started
runs on. So the command and all its children carry a mark in their environment, by which they are
found: a container's from the host, the SUT's by a script there. Who may be killed by SIGKILL meanwhile
leaves that to another process (`watched`).
"""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from testbed.deadline import Deadline, wait_for
from testbed.drivers import process
from testbed.errors import WaitTimeoutError

End = Callable[[str, signal.Signals], None]
"""Ends what carries a mark, by a signal."""

_NAME = "TESTBED_EXEC"
_APPEAR_S = 1.0
"""How long a command may take to begin after its starter has left; only waited for if none is seen."""
_GRACE_S = 2.0
_REMOTE_LIMIT_S = 15
_ENDED = b"."
"""What a process tells its watcher at the end of what was to be watched."""
# The mark comes by stdin, so that no process but the command's has it where ps looks. ps(1) with these
# options is the same on Linux and FreeBSD.
_SCRIPT = """
found() {{
    ps axeww -o pid= -o command= | while read -r pid rest; do
        case $rest in *'{mark}'*) echo "$pid" ;; esac
    done
}}
n=0
until pids=$(found); [ -n "$pids" ] || [ $n -ge 10 ]; do n=$((n + 1)); sleep 0.1; done
[ -z "$pids" ] || kill -s {signal} $pids 2>/dev/null
n=0
while pids=$(found); [ -n "$pids" ] && [ $n -lt 20 ]; do n=$((n + 1)); sleep 0.1; done
[ -z "$pids" ] || kill -s KILL $pids 2>/dev/null
exit 0
"""


def new_mark() -> str:
    """Return NAME=VALUE for the environment of a command and nobody else."""
    return f"{_NAME}={secrets.token_hex(8)}"


def end_here(mark: str, number: signal.Signals) -> None:
    """End what carries `mark` on this host, its containers included: `number`, then SIGKILL.

    Blocks until it has ended, 3 s at most. A command that is only about to begin is waited for.
    """
    try:
        wait_for(lambda: _carrying(mark), Deadline.after(_APPEAR_S), what="the command")
    except WaitTimeoutError:
        return  # it has ended by itself
    _signal(mark, number)
    try:
        wait_for(lambda: not _carrying(mark), Deadline.after(_GRACE_S), what="its end")
    except WaitTimeoutError:
        _signal(mark, signal.SIGKILL)


def end_by_shell(shell: Sequence[str], mark: str, number: signal.Signals) -> None:
    """End what carries `mark` where the command `shell` opens a POSIX shell that reads its input.

    Raises:
        ResourceError: when there is no such shell to be had, or it takes over 15 s.
    """
    script = _SCRIPT.format(mark=mark, signal=number.name.removeprefix("SIG"))
    process.run(shell, stdin=script, timeout_s=_REMOTE_LIMIT_S)


@contextmanager
def watched(end: Callable[[], None]) -> Iterator[None]:
    """Let a process of its own call `end` should we die while the block lasts, of whatever.

    It learns of it from the kernel, which closes our end of a pipe. For processes without threads.
    """
    told, ours = os.pipe()
    watcher = os.fork()
    if watcher == 0:
        os.close(ours)
        _watch(told, end)
    os.setpgid(watcher, watcher)  # a job that is killed whole is killed without it
    os.close(told)
    try:
        yield
    finally:
        os.write(ours, _ENDED)
        os.close(ours)
        os.waitpid(watcher, 0)


def _watch(told: int, end: Callable[[], None]) -> NoReturn:
    """Wait for the end of our parent, and hold nothing meanwhile that others wait for: its output."""
    null = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(null, stream)
    try:
        if os.read(told, len(_ENDED)) != _ENDED:
            end()
    finally:
        os._exit(0)  # what the parent would do at its end is not ours to do


def _carrying(mark: str) -> list[int]:
    return [pid for pid in process.all_pids() if _carries(pid, mark)]


def _carries(pid: int, mark: str) -> bool:
    try:
        return mark.encode() in (Path("/proc") / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:  # it has ended, or is another user's: then it is none of ours
        return False


def _signal(mark: str, number: signal.Signals) -> None:
    for pid in _carrying(mark):
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            if _carries(pid, mark):  # the pid was not given anew since
                signal.pidfd_send_signal(handle, number)
        except ProcessLookupError:
            continue
        finally:
            os.close(handle)
