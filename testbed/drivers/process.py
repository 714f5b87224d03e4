"""Runs and owns host processes: the only module of the testbed that imports `subprocess`.

A process that outlives its command carries its owner in its environment, `TESTBED_OWNED=ID/ROLE`,
so that cleaning asks the kernel (/proc) and no pid file that can lie.
"""

from __future__ import annotations

import ctypes
import os
import select
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from testbed.deadline import Deadline
from testbed.errors import ResourceError

OWNED = "TESTBED_OWNED"
_STDERR_TAIL = 2000
_A_WHILE_S = 5.0
# By setpriv(1), since a preexec_fn is not safe in a process with threads. The signal comes only if
# we die after it was asked for: a command whose parent is another by then must not begin.
_DIE_WITH_US = (
    *("setpriv", "--pdeathsig", "KILL", "--"),
    *("sh", "-c", '[ "$PPID" = "$0" ] || exit; exec "$@"'),
)
_IN_ITS_OWN_TREE = ("unshare", "--pid", "--fork", "--kill-child=KILL", "--mount-proc", "--")


@dataclass(frozen=True, slots=True)
class Finished:
    """A command that has ended."""

    argv: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str


def _require_program(name: str) -> None:
    if shutil.which(name) is None:
        raise ResourceError(f"cannot run {name!r}: not found")


def run(
    argv: Sequence[str],
    *,
    stdin: str | bytes | None = None,
    timeout_s: float = 60,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    check: bool = True,
    whole_tree: bool = False,
) -> Finished:
    """Run `argv` (never through a shell) and return what it printed.

    `env` is added to our own environment. The command dies with us, even by SIGKILL; with
    `whole_tree` so does all that it started (a PID namespace of its own: for image builders).

    Raises:
        ResourceError: when it cannot be started, takes longer than `timeout_s` (it is killed), or
            exits other than 0 while `check` holds.
    """
    _require_program(argv[0])
    try:
        done = subprocess.run(
            [*_DIE_WITH_US, str(os.getpid()), *(_IN_ITS_OWN_TREE if whole_tree else ()), *argv],
            input=stdin.encode() if isinstance(stdin, str) else stdin or b"",
            capture_output=True,
            timeout=timeout_s,
            check=False,
            env={**_plain_environment(), **(env or {})},
            cwd=cwd,
        )
    except OSError as error:
        raise ResourceError(f"cannot run {argv[0]!r}: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise ResourceError(f"`{_shown(argv)}` took over {timeout_s:g} s") from error
    stdout = done.stdout.decode(errors="replace")
    stderr = done.stderr.decode(errors="replace")
    finished = Finished(tuple(argv), done.returncode, stdout, stderr)
    if check and done.returncode != 0:
        raise ResourceError(
            f"`{_shown(argv)}` exited {done.returncode}: {(stderr or stdout).strip()[-_STDERR_TAIL:]}"
        )
    return finished


def interact(
    argv: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> int:
    """Run `argv` on our own terminal, for a person, and return its exit code.

    Ctrl-C is the command's while it runs. It dies with us.

    Raises:
        ResourceError: when it cannot be started.
    """
    _require_program(argv[0])
    # A handler, since children inherit what is ignored: theirs is the default again.
    ours = signal.signal(signal.SIGINT, lambda _number, _frame: None)
    try:
        whole = {**_plain_environment(), **(env or {})}
        command = [*_DIE_WITH_US, str(os.getpid()), *argv]
        with subprocess.Popen(command, env=whole, cwd=cwd) as child:
            return child.wait()
    except OSError as error:
        raise ResourceError(f"cannot run {argv[0]!r}: {error.strerror}") from error
    finally:
        signal.signal(signal.SIGINT, ours)


def attend(
    argv: Sequence[str],
    *,
    end: Callable[[signal.Signals], None],
    check: Callable[[], None] = lambda: None,
) -> int:
    """Run `argv` on our own streams and return its exit code, 128 and the signal's number if one ended it.

    It dies with us. When we are told to end by SIGINT, SIGTERM or SIGHUP, it is ended first, and
    `end` called with that signal to end what it had started elsewhere; then the exit code is that
    signal's. Who signals once more meets our handlers of before.

    `check` is called once if it takes over 5 s, and raises when there is nothing to wait for.

    Raises:
        ResourceError: when it cannot be started.
        TestbedError: what `check` raised; the command is ended then.
    """
    told: list[signal.Signals] = []
    started: list[subprocess.Popen[bytes]] = []

    def leave(number: int, _frame: FrameType | None) -> None:
        told.append(signal.Signals(number))
        for child in started:
            child.terminate()

    # Before it starts: a signal that comes early is ours already.
    ours = {n: signal.signal(n, leave) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        with subprocess.Popen([*_DIE_WITH_US, str(os.getpid()), *argv]) as child:
            started.append(child)
            if told:
                child.terminate()
            code = _wait(child, check)
    except OSError as error:
        raise ResourceError(f"cannot run {argv[0]!r}: {error.strerror}") from error
    finally:
        for number, handler in ours.items():
            signal.signal(number, handler)
    if told:
        end(told[0])
        return 128 + told[0]
    return code if code >= 0 else 128 - code


def _wait(child: subprocess.Popen[bytes], check: Callable[[], None]) -> int:
    handle = os.pidfd_open(child.pid)
    try:
        if not _has_ended(handle, Deadline.after(_A_WHILE_S)):
            check()
    except BaseException:
        child.terminate()
        raise
    finally:
        os.close(handle)
    return child.wait()


class Talking:
    """A command at work, alone in its session and process group: it dies with us.

    Its output comes line by line; it may be ended at any moment, alone or with its group.
    """

    def __init__(self, argv: Sequence[str], env: Mapping[str, str]) -> None:
        self.argv = tuple(argv)
        self._process = subprocess.Popen(
            [*_DIE_WITH_US, str(os.getpid()), *argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**_plain_environment(), **env},
        )

    @property
    def pid(self) -> int:
        """The command's pid."""
        return self._process.pid

    def lines(self) -> Iterator[str]:
        """Yield what the command prints, both streams as one, until it ends."""
        if self._process.stdout is None:
            raise ValueError("the command's output was closed")
        for line in self._process.stdout:
            yield line.decode(errors="replace")

    def wait(self, *, timeout_s: float) -> int:
        """Wait for the end and return the exit code, negative when a signal ended the command."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            raise ResourceError(f"`{_shown(self.argv)}` took over {timeout_s:g} s") from error

    def kill(self) -> None:
        """Kill it and wait for its end. Ended already is fine."""
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


def all_pids() -> tuple[int, ...]:
    """Return every process there is in our PID namespace."""
    return tuple(int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())


def command_line(pid: int) -> tuple[str, ...]:
    """Return the arguments of process `pid`; none for a kernel thread or one that has ended."""
    try:
        text = (Path("/proc") / str(pid) / "cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return ()
    return tuple(part.decode(errors="replace") for part in text.split(b"\0")[:-1])


def parent(pid: int) -> int:
    """Return the parent of process `pid`, 0 when it has none here or has ended."""
    try:
        status = (Path("/proc") / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(status.rpartition(")")[2].split()[1])


def children(pid: int) -> tuple[int, ...]:
    """Return the processes that `pid` has started and that have not been reaped."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += map(int, task.read_text().split())
        except (FileNotFoundError, ProcessLookupError):
            continue
    return tuple(found)


def _plain_environment() -> dict[str, str]:
    """Our environment without an owner mark: a child is owned only when said so."""
    return {name: value for name, value in os.environ.items() if name != OWNED}


def _shown(argv: Sequence[str]) -> str:
    return " ".join(argv)


def spawn(
    argv: Sequence[str],
    *,
    owner: str,
    log: Path,
    pass_fds: Sequence[int] = (),
    stdin: int = subprocess.DEVNULL,
) -> int:
    """Start a daemon that outlives us, in its own session, and return its pid.

    `owner` is DEPLOYMENT/ROLE. Output is appended to `log`.
    """
    with log.open("ab") as output:
        try:
            process = subprocess.Popen(
                list(argv),
                stdin=stdin,
                stdout=output,
                stderr=output,
                start_new_session=True,
                pass_fds=list(pass_fds),
                env={**_plain_environment(), OWNED: owner},
                cwd="/",
            )
        except OSError as error:
            raise ResourceError(f"cannot run {argv[0]!r}: {error.strerror}") from error
    # The child is init's once we exit; until then a finished one is reaped by `is_running`.
    return process.pid


def die_with(parent: int) -> None:
    """Let the kernel kill us when `parent`, the process that started us, ends; at once if it has.

    The signal comes when the *thread* ends that started us (prctl(2), PR_SET_PDEATHSIG).
    """
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def owned(owner: str) -> Iterator[int]:
    """Yield the pids of all processes that carry `owner` (DEPLOYMENT/ROLE or DEPLOYMENT/).

    Only processes of our own user and PID namespace: another user's mark proves nothing, and what
    runs inside a container belongs to whoever runs the testbed there.
    """
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and _carries(entry, owner) and _is_among_us(entry):
            yield int(entry.name)


def mark(pid: int) -> str:
    """Return the owner mark of process `pid`, empty when it has none or has ended."""
    prefix = f"{OWNED}=".encode()
    for variable in _environment(Path("/proc") / str(pid)):
        if variable.startswith(prefix):
            return variable.removeprefix(prefix).decode(errors="replace")
    return ""


def has_variable(pid: int, name: str) -> bool:
    """Whether process `pid` has the environment variable `name`."""
    prefix = f"{name}=".encode()
    variables = _environment(Path("/proc") / str(pid))
    return any(variable.startswith(prefix) for variable in variables)


def started_at(pid: int) -> int:
    """Return when process `pid` started, in clock ticks since boot; 0 when it has ended.

    Together with the pid it tells a process from a later one with the same pid (proc(5), stat).
    """
    try:
        fields = (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return 0 if fields[0] in "ZX" else int(fields[19])


def _carries(entry: Path, owner: str) -> bool:
    wanted = f"{OWNED}={owner}".encode()
    is_prefix = owner.endswith("/")
    return any(
        variable == wanted or (is_prefix and variable.startswith(wanted))
        for variable in _environment(entry)
    )


def _environment(entry: Path) -> list[bytes]:
    try:
        return (entry / "environ").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return []


def _is_among_us(entry: Path) -> bool:
    try:
        space = (entry / "ns/pid").stat().st_ino
        is_here = space == Path("/proc/self/ns/pid").stat().st_ino
        return is_here and entry.stat().st_uid == os.geteuid()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False


def stop(pid: int, *, grace_s: float = 5) -> None:
    """End process `pid` of ours: SIGTERM, then SIGKILL after `grace_s`. Gone already is fine.

    Signals through a pidfd, and only a process that carries an owner mark: a pid that was recycled
    since somebody looked is not hit.
    """
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if not mark(pid):
            _reap(pid)
            return
        for number, limit_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 10.0)):
            try:
                signal.pidfd_send_signal(handle, number)
            except ProcessLookupError:
                return
            if _has_ended(handle, Deadline.after(limit_s)):
                _reap(pid)
                return
    finally:
        os.close(handle)
    raise ResourceError(f"process {pid} does not end, not even by SIGKILL")


def _has_ended(handle: int, deadline: Deadline) -> bool:
    readable, _, _ = select.select([handle], [], [], deadline.left_s)
    return bool(readable)


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return  # not our child: init reaps it
