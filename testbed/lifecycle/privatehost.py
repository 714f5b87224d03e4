"""A private host with the tenants' images, for scenarios about `testbed` itself.

It has no Docker daemon until somebody starts one, nor any network: what is to be built is built
outside first. Several may run at once; their Docker data are kept, since loading images takes ten
seconds, unless a scenario failed or was killed.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from testbed.deadline import Deadline, wait_for
from testbed.drivers import dockerd, images, process, store
from testbed.drivers.cache import File, Folder
from testbed.drivers.enclosure import Enclosure
from testbed.drivers.process import Finished, Talking
from testbed.errors import ResourceError
from testbed.events import Event, Events
from testbed.lifecycle.history import event_in
from testbed.lifecycle.inventory import Inventory
from testbed.lifecycle.store import cache_root

_AT_MOST = 16
_BUILD_LIMIT_S = 900
_COMMAND_LIMIT_S = 240
_HARNESS = "TESTBED_HARNESS"
_TESTBED = (sys.executable, "-m", "testbed.cli.main")


@dataclass
class Command:
    """`testbed` at work: its steps as they come, and means to end it at any moment."""

    _talking: Talking
    _pid: int
    said: list[str] = field(default_factory=list)
    _was_killed: bool = False

    def events(self) -> Iterator[Event]:
        """Yield the steps that it tells, until it ends; `said` keeps its other words."""
        for line in self._talking.lines():
            event = event_in(line)
            if event is not None:
                yield event
            else:
                self.said.append(line)

    def kill(self, number: signal.Signals, *, group: bool) -> None:
        """Send it a signal, alone or with all of its process group. Ended already is fine."""
        self._was_killed = True
        try:
            if group:
                os.killpg(os.getpgid(self._pid), number)
            else:
                os.kill(self._pid, number)
        except ProcessLookupError:
            return

    def wait(self) -> int:
        """Wait for the end and return the exit code, negative when a signal ended it."""
        if not self._was_killed:  # what outlives it may hold its output open
            for _ in self.events():
                pass
        code = self._talking.wait(timeout_s=_COMMAND_LIMIT_S)
        # A signal to the group may have ended only what stands between it and us.
        wait_for(self._has_ended, Deadline.after(_COMMAND_LIMIT_S), what="the command's end")
        return code

    def _has_ended(self) -> bool:
        return process.started_at(self._pid) == 0


@dataclass
class PrivateHost:
    """A host that nobody else uses."""

    _inside: Enclosure

    @property
    def cache(self) -> Path:
        """Where built images are kept; the host outside has them there too."""
        return cache_root()

    def run(self, *argv: str, env: Mapping[str, str] | None = None, check: bool = True) -> Finished:
        """Run a command on it, with `env` added to the environment."""
        return self._inside.run(argv, env=env, timeout_s=_COMMAND_LIMIT_S, check=check)

    def testbed(self, *arguments: str, env: Mapping[str, str] | None = None) -> Finished:
        """Run `testbed` on it to its end, however it ends."""
        return self.run(*_TESTBED, *arguments, env=env, check=False)

    def begin(self, *arguments: str, env: Mapping[str, str] | None = None) -> Command:
        """Start `testbed` on it, to be killed later; `--progress json` tells `events()`."""
        return self.begin_command(*_TESTBED, *arguments, env=env)

    def begin_command(self, *argv: str, env: Mapping[str, str] | None = None) -> Command:
        """Start any command on it, to be killed later."""
        talking = self._inside.start(argv, env={_HARNESS: "1", **(env or {})})
        return Command(talking, self._inside.inside(talking))

    def inventory(self) -> Inventory:
        """Count everything there is."""
        argv = (sys.executable, "-m", "testbed.lifecycle.inventory")
        return Inventory.read(self.run(*argv).stdout)

    def survivors(self) -> tuple[str, ...]:
        """Return what commands begun here have left running that nobody owns."""
        script = (
            "from testbed.drivers import process\n"
            "for pid in process.all_pids():\n"
            f"    if process.has_variable(pid, {_HARNESS!r}) and not process.mark(pid):\n"
            "        print(*process.command_line(pid))\n"
        )
        found = self.run(sys.executable, "-c", script).stdout.splitlines()
        return tuple(line for line in found if line.strip())

    def pids(self, mark: str) -> tuple[int, ...]:
        """Return the pids, on it, of processes whose owner mark ends with `mark`, oldest first."""
        script = (
            "from testbed.drivers import process\n"
            f"pids = [p for p in process.all_pids() if process.mark(p).endswith({mark!r})]\n"
            "print(*sorted(pids, key=process.started_at))\n"
        )
        return tuple(map(int, self.run(sys.executable, "-c", script).stdout.split()))

    def start_foreign_dockerd(self) -> None:
        """Start a Docker daemon as somebody else would."""
        log = "/run/foreign-dockerd.log"
        words = " ".join(dockerd.ARGV)
        self.run("setsid", "--fork", "sh", "-c", f"exec {words} >{log} 2>&1")
        self._await_dockerd()

    def _await_dockerd(self) -> None:
        def answers() -> bool:
            return self.run("docker", "version", check=False).returncode == 0

        wait_for(answers, Deadline.after(60), what="dockerd of the private host answers")

    def stop_foreign_dockerd(self) -> None:
        """Stop it again, and wait for its end."""
        self.run("pkill", "--exact", "dockerd")

        def gone() -> bool:
            return self.run("pgrep", "--exact", "dockerd", check=False).returncode != 0

        wait_for(gone, Deadline.after(60), what="the end of the private host's dockerd")


@contextmanager
def private_host() -> Iterator[PrivateHost]:
    """Hand out a private host that has the images which `up` needs.

    Raises:
        ResourceError: when there is no Docker daemon outside, to build or fetch the images from.
    """
    client = dockerd.ensure(Events(), cache_root() / File.DOCKERD_LOG)
    tags = sorted(images.ensure_images(client, cache_root(), Events()).values())
    with ExitStack() as stack:
        folder = _free_folder(stack)
        marker = folder / "images"
        if not marker.exists() or marker.read_text() != repr(tags):
            _load(folder, tags)
        marker.unlink(missing_ok=True)  # until we know that nothing is left in there
        with Enclosure(folder) as inside:
            host = PrivateHost(inside)
            yield host
            if host.run("pgrep", "--exact", "dockerd", check=False).returncode != 0:
                marker.write_text(repr(tags))


def _free_folder(stack: ExitStack) -> Path:
    for number in range(_AT_MOST):
        folder = cache_root() / Folder.PRIVATE_HOSTS / str(number)
        try:
            stack.enter_context(store.locked(folder, limit_s=0))
        except ResourceError:
            continue
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder
    raise ResourceError(f"{_AT_MOST} private hosts are in use already")


def _load(folder: Path, tags: Sequence[str]) -> None:
    """Give Docker of the private host a fresh set of the images."""
    shutil.rmtree(folder / "docker", ignore_errors=True)
    archive = folder / "images.tar"
    process.run(["docker", "save", "-o", str(archive), *tags], timeout_s=_BUILD_LIMIT_S)
    with Enclosure(folder) as inside:
        host = PrivateHost(inside)
        host.start_foreign_dockerd()
        inside.run(["docker", "load", "--quiet", "-i", str(archive)], timeout_s=_BUILD_LIMIT_S)
        host.stop_foreign_dockerd()
    archive.unlink()
