"""Deployments of their own in which mutants live, one after another, without a restart of the VM.

What a mutant changes is put into the running SUT: everything of the extensions is taken off
(`fibctl detach`), the files that differ are exchanged, the FIBs configured and the daemon started
again. So nothing of the mutant before is left, neither in the kernel nor in the daemon.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from testbed.drivers import hostlock
from testbed.errors import GuestError
from testbed.events import Events
from testbed.lifecycle import daemon
from testbed.lifecycle.deployment import Deployment
from testbed.lifecycle.down import remove_deployment, stop_shared
from testbed.lifecycle.store import Store
from testbed.lifecycle.up import bring_up
from testbed.plan.fibstate import fib_state
from testbed.sut.channel import GuestFile
from testbed.sut.extension import COMMAND

Files = Mapping[str, GuestFile]


@dataclass
class Lab:
    """The deployments of some topologies, recorded under `store`; `clean` is the code as it is."""

    store: Store
    clean: Files
    deployments: list[Deployment] = field(default_factory=list)
    _changed: set[str] = field(default_factory=set)

    def open(self, topologies: list[Path], events: Events) -> None:
        """Bring up the deployments, new ones: what a killed run left may hold a mutant."""
        self.close(events)
        for topology in topologies:
            self.deployments.append(bring_up(self.store, topology, events))

    def close(self, events: Events) -> None:
        """Remove all that is recorded here."""
        found = self.store.all()
        for record in found:
            remove_deployment(self.store, record, events)
        if found:
            stop_shared(self.store, events)
        self.deployments.clear()
        self._changed.clear()

    def install(self, files: Files, defects: tuple[str, ...] = ()) -> None:
        """Make every SUT run `files`, with `defects` of the daemon.

        Raises:
            TestbedError: when the mutant cannot be loaded or configured.
        """
        differing = {path for path in files if files[path] != self.clean[path]}
        wanted = {path: self.clean[path] for path in self._changed}
        wanted |= {path: files[path] for path in differing}
        self._changed |= differing
        self._everywhere(lambda deployment: _exchange(deployment, self.clean, wanted, defects))
        self._changed = differing

    def _everywhere(self, action: Callable[[Deployment], None]) -> None:
        with ThreadPoolExecutor(len(self.deployments)) as pool:
            for _ in pool.map(action, self.deployments):
                pass


def _exchange(
    deployment: Deployment, clean: Files, wanted: Files, defects: tuple[str, ...]
) -> None:
    plan, sut = deployment.plan, deployment.sut()
    detach = [COMMAND, "detach", plan.sut.interface]
    try:
        sut.channel.run(detach)
    except GuestError:  # the mutant before cannot even do that
        _put(deployment, clean)
        sut.channel.run(detach)
    _put(deployment, wanted)
    sut.apply(fib_state(plan))
    daemon.restart(plan, sut, *defects)


def _put(deployment: Deployment, files: Files) -> None:
    """Write `files` into the guest, without what Python had made of the former ones."""
    if not files:
        return
    compiled = [
        str(path.parent / "__pycache__" / f"{path.stem}.*.pyc")
        for path in map(PurePosixPath, files)
        if path.suffix == ".py"
    ]
    channel = deployment.sut().channel
    channel.run(["sh", "-c", f"rm -f {' '.join(compiled)}"])
    channel.put(files)


def lane_store(root: Path, lane: int) -> Store:
    """Return where the deployments of a lane are recorded: apart from what people bring up."""
    return Store(root / "mutants" / str(lane))


def close_all(root: Path, events: Events) -> None:
    """Remove what killed runs have left."""
    for path in sorted((root / "mutants").glob("[0-9]*")):
        store = Store(path)
        Lab(store, {}).close(events)
        hostlock.tidy(path)
        _remove_if_empty(path)
    _remove_if_empty(root / "mutants")


def _remove_if_empty(folder: Path) -> None:
    """Leave the log of a Docker daemon that others use now: whoever stops it removes that."""
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
