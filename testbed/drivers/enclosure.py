"""A private host in namespaces: for what would disturb others, and for counting everything.

Mounts, processes, network, /run and Docker's data are its own; the file system, the caches and the
kernel are the host's. Nobody else is in there, so that an inventory of it is exact, a Docker daemon
may be killed, and when it ends the kernel takes everything along. Run as a process,
`python -m testbed.drivers.enclosure FOLDER GROUP` is its init: it mounts, then reaps.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Self

from testbed.deadline import Deadline, NotYet, wait_for
from testbed.drivers import process, traces
from testbed.drivers.process import Finished, Talking
from testbed.errors import ResourceError

STATE = Path("/run/state")
"""Where its deployments are recorded: outside the default place, which the host may use."""

_READY = "ready"
_START_LIMIT_S = 30
_RUN_SIZE = "size=16g"  # nothing of it is taken before it is written
_NAMESPACES = ("--mount", "--pid", "--net", "--ipc", "--uts")
_DOCKER = Path("/var/lib/docker")
_DOCKER_SETTINGS = Path("/etc/docker")
_CGROUPS = Path("/sys/fs/cgroup")
_GROUP = "testbed-host"


class Enclosure:
    """The private host whose Docker data are in `folder`; use as a context manager."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._init: Talking | None = None
        self._pid = 0
        self._group = _control_group(folder)

    def __enter__(self) -> Self:
        """Start its init; what Docker kept of a former one is still there."""
        (self._folder / "docker").mkdir(mode=0o711, parents=True, exist_ok=True)
        (self._folder / _READY).unlink(missing_ok=True)
        _remove_control_groups(_dead())
        # fmt: off
        argv = [
            "unshare", *_NAMESPACES, "--fork", "--kill-child=KILL", "--mount-proc",
            sys.executable, "-m", "testbed.drivers.enclosure", str(self._folder), self._group,
        ]
        # fmt: on
        self._init = Talking(argv, {})
        wait_for(self._is_ready, Deadline.after(_START_LIMIT_S), what="the private host")
        return self

    def __exit__(self, *_: object) -> None:
        """End it with every process in it."""
        if self._init is not None:
            self._init.kill()
        _remove_control_groups([self._group])

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        timeout_s: float = 120,
        check: bool = True,
    ) -> Finished:
        """Run `argv` inside; like `process.run`."""
        command = self._entering(argv)
        variables = {**self._variables(), **(env or {})}
        return process.run(command, env=variables, timeout_s=timeout_s, check=check)

    def start(self, argv: Sequence[str], *, env: Mapping[str, str] | None = None) -> Talking:
        """Start `argv` inside; `inside` tells its pid."""
        return Talking(self._entering(argv), {**self._variables(), **(env or {})})

    def inside(self, command: Talking) -> int:
        """Return the pid, as seen from outside, of what `start` has started."""

        def entered() -> int:
            found = process.children(command.pid)
            if not found:
                raise NotYet("only nsenter")
            return found[0]

        return wait_for(entered, Deadline.after(10), what="the command's start")

    def _entering(self, argv: Sequence[str]) -> list[str]:
        # Who runs in the background of a script ignores SIGINT, and so would all that it starts.
        usual = ("env", "--default-signal=INT")
        return ["nsenter", f"--target={self._pid}", *_NAMESPACES, "--", *usual, *argv]

    @staticmethod
    def _variables() -> dict[str, str]:
        return {"TESTBED_STATE": str(STATE), "HOME": "/run/home", "TMPDIR": "/run/tmp"}

    def _is_ready(self) -> bool:
        if self._init is None or not Path(f"/proc/{self._init.pid}").exists():
            raise ResourceError("the private host ended at once")
        for pid in process.children(self._init.pid):
            self._pid = pid
        if not (self._folder / _READY).exists():
            raise NotYet("its init is not ready")
        return bool(self._pid)


def _control_group(folder: Path) -> str:
    """Return the name for our Docker's control group: it tells who we are, and which host of ours."""
    digest = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()
    return f"{_GROUP}-{os.getpid()}-{process.started_at(os.getpid())}-{digest[:12]}"


def _dead() -> set[str]:
    """Return the control groups of private hosts whose owners were killed."""
    found = set()
    for top in traces.control_groups_like(f"{_GROUP}-*"):
        owner = re.fullmatch(rf"{_GROUP}-(\d+)-(\d+)-\w+", top.name)
        if owner and process.started_at(int(owner[1])) != int(owner[2]):
            found.add(top.name)
    return found


def _remove_control_groups(names: Iterable[str]) -> None:
    """Remove what containers left that were killed with their host; their processes may yet end."""
    tops = [top for name in names for top in traces.control_groups(name)]

    def removed() -> bool:
        for top in tops:
            for path in sorted(top.glob("**/"), reverse=True):
                try:
                    path.rmdir()
                except FileNotFoundError:
                    continue  # others remove it, too
                except OSError as error:
                    raise NotYet(str(error)) from error
        return True

    for top in tops:
        for state in top.glob("**/freezer.state"):
            _thaw(state)
    wait_for(removed, Deadline.after(10), what="the control groups' end")


def _thaw(state: Path) -> None:
    """Let the processes of a group run that runc had frozen to kill them when it was killed itself.

    Frozen by the first version of control groups, they do not even end by SIGKILL.
    """
    if state.read_text().strip() != "THAWED":
        state.write_text("THAWED")


def furnish(folder: Path, group: str) -> None:
    """Mount what is private, from inside the new namespaces; Docker is to use the control group."""
    mount = ["mount", "--no-mtab"]
    process.run([*mount, "--make-rprivate", "/"])
    _leave_mounts_below(Path("/run"))
    _leave_mounts_below(_DOCKER)
    control_groups = _CGROUPS.is_dir() and any(_CGROUPS.iterdir())
    process.run([*mount, "-t", "tmpfs", "-o", f"mode=755,{_RUN_SIZE}", "run", "/run"])
    for name in ("lock", "home", "tmp", "cgroup", STATE.name):
        Path("/run", name).mkdir()
    # Its own view of /sys/class/net; the control groups are the host's.
    process.run([*mount, "--rbind", str(_CGROUPS), "/run/cgroup"])
    process.run([*mount, "-t", "sysfs", "sysfs", "/sys"])
    if control_groups:
        process.run([*mount, "--rbind", "/run/cgroup", str(_CGROUPS)])
    process.run(["umount", "--lazy", "/run/cgroup"])
    Path("/run/cgroup").rmdir()
    _DOCKER.mkdir(mode=0o711, exist_ok=True)
    process.run([*mount, "--bind", str(folder / "docker"), str(_DOCKER)])
    # Docker's control groups stand apart from those of the host's containers.
    _DOCKER_SETTINGS.mkdir(exist_ok=True)
    process.run([*mount, "-t", "tmpfs", "settings", str(_DOCKER_SETTINGS)])
    settings = {"cgroup-parent": f"/{group}"}
    (_DOCKER_SETTINGS / "daemon.json").write_text(json.dumps(settings))
    process.run(["ip", "link", "set", "lo", "up"])
    (folder / _READY).touch()


def _leave_mounts_below(top: Path) -> None:
    """Unmount the host's mounts below `top` here: hidden ones would still be in the list.

    There they come and go, and one whose mount point is unlinked there vanishes here too.
    """
    left = None
    while points := [point for point in traces.mount_points() if top in Path(point).parents]:
        if left is not None and len(points) >= left:
            return  # hidden below a mount on `top` itself, out of everybody's reach
        left = len(points)
        for point in reversed(points):  # the last mounted first
            traces.unmount(Path(point))


def _reap() -> None:
    """Be the init: whoever loses its parent is reaped here."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        try:
            os.wait()
        except ChildProcessError:
            signal.sigwait({signal.SIGCHLD})


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    furnish(Path(sys.argv[1]), sys.argv[2])
    _reap()
