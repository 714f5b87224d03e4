"""The FIB extensions as the SUT needs them: built on the host, shipped, loaded before the snapshot.

What they do is testbed/fib's own matter; here they are a tree to hash, a Makefile to run and files
to put in place.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from testbed.drivers import store
from testbed.drivers.cache import Family
from testbed.drivers.process import run
from testbed.events import Events
from testbed.sut.channel import Channel, GuestFile

_KEPT = 4
_BUILD_LIMIT_S = 300.0
_LOAD_LIMIT_S = 120.0

GUEST_ROOT = "/opt/fib"
COMMAND = "/usr/local/bin/fibctl"
STATE, PINS = "/run/fib", "/sys/fs/bpf/fib"
# The kernel walks its list of rules at each change: under TCG on two busy cores a FIB of 10,000 took
# 0.1 s, one of 1,000 a third of that.
_APPLY_LIMIT_S, _APPLY_FIB_LIMIT_S = 60.0, 0.25
_STAMP = f"{GUEST_ROOT}/version"

# Refuses addresses of FIBs that are added by hand; a snapshot keeps it running.
_WATCH = [
    *("start-stop-daemon", "--start", "--oknodo", "--background", "--make-pidfile"),
    *("--pidfile", "/run/fib/watch.pid", "--output", "/run/fib/watch.log"),
    *("--startas", COMMAND, "--", "watch"),
]

# No FIB at all: applying it attaches the programs and sets the kernel up, which a snapshot keeps.
_EMPTY_STATE = {
    "version": 1,
    "interface": "",
    "default_fib": 0,
    "strict_mac": True,
    "unassigned": [],
    "fibs": [],
}


@dataclass(frozen=True, slots=True)
class Extension:
    """The extensions in the source tree `source` (testbed/fib), built in `cache`."""

    source: Path
    cache: Path

    @property
    def key(self) -> str:
        """What tells this code from any other."""
        return store.key_of([platform.machine(), *store.tree_parts(self.source)])

    @property
    def _family(self) -> Path:
        return self.cache / Family.FIB

    def build(self, events: Events) -> Path:
        """Return the directory of the built objects and loader.

        Raises:
            ResourceError: when the build fails, with what the compiler said.
        """
        directory = self._family / self.key
        if not directory.is_dir():
            store.prune(self._family, keep=_KEPT - 1)
        return store.obtain(directory, partial(self._compile, events), limit_s=_BUILD_LIMIT_S)

    def _compile(self, events: Events, directory: Path) -> None:
        with events.step("compile the FIB extensions"):
            argv = ["make", "--silent", "-C", str(self.source / "bpf"), f"OUT={directory}"]
            run(argv, timeout_s=_BUILD_LIMIT_S)

    def files(self, built: Path) -> Mapping[str, GuestFile]:
        """Return what to ship, by its path in the guest."""
        shipped = {COMMAND: GuestFile((self.source / "fibctl").read_bytes(), 0o755)}
        for path in sorted(self.source.rglob("*.py")):
            name = path.relative_to(self.source)
            shipped[f"{GUEST_ROOT}/fib/{name}"] = GuestFile(path.read_bytes())
        for path in sorted(path for path in built.iterdir() if path.name != store.BUILD_ID):
            mode = 0o755 if path.stat().st_mode & 0o100 else 0o644
            shipped[f"{GUEST_ROOT}/bpf/{path.name}"] = GuestFile(path.read_bytes(), mode)
        return shipped

    def install(self, channel: Channel, built: Path) -> None:
        """Ship everything into the guest; programs that are attached stay as they are."""
        channel.put({**self.files(built), _STAMP: GuestFile(self.key.encode())})
        # Compiled once here, not again by each process after each restore.
        compiling = ["python3", "-m", "compileall", "-q", f"{GUEST_ROOT}/fib"]
        channel.run(compiling, timeout_s=_LOAD_LIMIT_S)

    def ensure_installed(self, channel: Channel, built: Path) -> None:
        """Ship everything unless it is there already."""
        if channel.run(["cat", _STAMP], check=False).stdout != self.key:
            self.install(channel, built)

    def apply(self, channel: Channel, fib_state_json: str) -> None:
        """Give the SUT the state of all FIBs; how long that may take follows from their number.

        Raises:
            GuestError: with what fibctl found wrong.
        """
        limit_s = _APPLY_LIMIT_S + _APPLY_FIB_LIMIT_S * len(json.loads(fib_state_json)["fibs"])
        channel.run([COMMAND, "apply"], stdin=fib_state_json, timeout_s=limit_s)

    def load(self, channel: Channel, interface: str) -> None:
        """Attach the programs to `interface`, with no FIB yet, and start what watches addresses."""
        empty = json.dumps({**_EMPTY_STATE, "interface": interface})
        channel.run([COMMAND, "apply"], stdin=empty, timeout_s=_LOAD_LIMIT_S)
        channel.run(_WATCH, timeout_s=_LOAD_LIMIT_S)
