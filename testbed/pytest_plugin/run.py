"""One run of pytest: what all its processes share, and what one process knows of it."""

from __future__ import annotations

import json
import secrets
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pytest

from testbed.drivers import dockerd
from testbed.events import Event, Events, Phase
from testbed.lifecycle import session
from testbed.lifecycle.bundle import Bundle
from testbed.lifecycle.private import make_private, write_private
from testbed.lifecycle.store import Store, state_root
from testbed.probe.scapy_loading import load_scapy
from testbed.pytest_plugin.counters import Counters
from testbed.report.picture import view_of
from testbed.report.record import Moment, TestRecord, append
from testbed.running import Running

TOPOLOGIES = Path(__file__).parents[2] / "topologies"
RECORDS = "records"


@dataclass(frozen=True, slots=True)
class Shared:
    """What the controller tells its workers: the run's name, its folder, its seed."""

    name: str
    folder: str
    seed: int

    @classmethod
    def new(cls, artefacts: Path, seed: int | None) -> Shared:
        """Name a run; makes nothing yet."""
        token = secrets.token_hex(6)
        stamp = time.strftime("%Y%m%d-%H%M%S")
        chosen = secrets.randbelow(1 << 32) if seed is None else seed
        return cls(session.run_id(token), str(artefacts / f"{stamp}-{token[:4]}"), chosen)


@dataclass(slots=True)
class Run:
    """The run as one process sees it."""

    shared: Shared
    worker: str
    config: pytest.Config
    replayed: Bundle | None = None
    current: TestRecord | None = None
    known: dict[str, Running] = field(default_factory=dict)
    counters: Counters = field(default_factory=Counters)

    @property
    def folder(self) -> Path:
        """Where everything of the run goes; made when there is something."""
        return Path(self.shared.folder)

    @property
    def is_worker(self) -> bool:
        """Whether another process controls the run."""
        return hasattr(self.config, "workerinput")

    @property
    def store(self) -> Store:
        """The deployments of this host."""
        return Store(state_root())

    def running(self, topology: str) -> Running:
        """Return the running deployment of `topology`, brought up or verified once a process.

        In a replay, the bundle's topology stands for every other.
        """
        if self.replayed is not None:
            topology = "the bundle's"
        if topology not in self.known:
            make_private(self.folder / RECORDS)  # tells the controller that there may be something
            # No change of the clone that it may lie in: a bundle tells those.
            write_private(self.folder / ".gitignore", "*\n")
            path = self._topology_file(topology)
            load_scapy()  # before a scenario does it where there are thousands of links
            as_is = bool(self.config.getoption("--as-is"))
            found = session.deployment_for(
                self.store, path, self.shared.name, self.events(), as_is=as_is
            )
            client = dockerd.connect()
            if client is None:
                raise pytest.UsageError("the Docker daemon has gone away")
            self.known[topology] = Running(client, found)
            self._keep_view(self.known[topology])
        return self.known[topology]

    def _topology_file(self, topology: str) -> Path:
        if self.replayed is not None:
            path = make_private(self.folder) / "replayed.yaml"
            if not path.exists():
                write_private(path, self.replayed.topology)
            return path
        path = Path(topology)
        return path if path.suffix else TOPOLOGIES / f"{topology}.yaml"

    def _keep_view(self, running: Running) -> None:
        """Write down what the report's picture shows; all workers write the same."""
        view = view_of(running.plan)
        path = make_private(self.folder / RECORDS) / f"{view.deployment}.topology.json"
        write_private(path, json.dumps(asdict(view)))

    def keep(self, record: TestRecord) -> None:
        """Add the record of a test that has ended."""
        append(make_private(self.folder / RECORDS) / f"{self.worker}.jsonl", record)

    def events(self) -> Events:
        """Return events that the terminal shows, around pytest's capture, and the record keeps."""
        return Events([self._show, self._write_down])

    def _write_down(self, event: Event) -> None:
        if self.current is not None and event.phase is not Phase.BEGIN:
            words = (event.step, event.tenant, event.detail)
            text = ": ".join(word for word in words if word)
            agrees = False if event.phase is Phase.FAIL else None
            start_s = event.time_s - event.elapsed_s
            moment = Moment(start_s, event.elapsed_s, "step", text, agrees)
            self.current.moments.append(moment)

    def _show(self, event: Event) -> None:
        if event.phase not in {Phase.END, Phase.FAIL}:
            return
        subject = f"{event.step}: {event.tenant}" if event.tenant else event.step
        line = f"testbed: {subject} {event.phase} {event.elapsed_s:.1f} s {event.detail}".rstrip()
        capturing = self.config.pluginmanager.getplugin("capturemanager")
        if capturing is None:
            sys.stderr.write(f"{line}\n")
            return
        with capturing.global_and_fixture_disabled():
            sys.stderr.write(f"{line}\n")


def told_to_worker(shared: Shared) -> dict[str, Any]:
    """Return `shared` as xdist can carry it."""
    return asdict(shared)
