"""What is recorded of each test of a run; workers write one JSON line a test, the report reads them.

Times are Unix times of the host. Everything is text or a number, so that a line can be read by
other programs, too.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(slots=True)
class Phase:
    """One phase of a test: setup, call or teardown."""

    name: str
    start_s: float
    elapsed_s: float
    outcome: str


@dataclass(slots=True)
class Lease:
    """What a test leased of which deployment, and how long it waited for that."""

    deployment: str
    topology: str
    tenants: list[str]
    whole: bool
    asked_s: float
    had_s: float

    @property
    def waited_s(self) -> float:
        """Seconds from asking to having."""
        return self.had_s - self.asked_s


@dataclass(slots=True)
class Moment:
    """Something that happened: a step of the testbed's, a question of a scenario's."""

    time_s: float
    elapsed_s: float
    kind: str
    text: str
    agrees: bool | None = None


@dataclass(slots=True)
class Packet:
    """One frame in words."""

    time_s: float
    sender: str
    receiver: str
    summary: str
    length: int


@dataclass(slots=True)
class MatrixCell:
    """Frames of one tenant's conversations at one tenant's router."""

    sender: str
    receiver: str
    protocol: str
    direction: str
    frames: int
    ok: bool


@dataclass(slots=True)
class TestRecord:
    """All that is known of one test."""

    __test__ = False  # pytest would collect the name

    nodeid: str
    worker: str
    fixtures: list[str] = field(default_factory=list)
    phases: list[Phase] = field(default_factory=list)
    lease: Lease | None = None
    moments: list[Moment] = field(default_factory=list)
    cells: list[MatrixCell] = field(default_factory=list)
    packets: list[Packet] = field(default_factory=list)
    headline: str = ""
    failure: str = ""
    artefacts: str = ""
    bundle: str = ""

    @property
    def outcome(self) -> str:
        """The worst of the phases: error, failed, skipped, xfailed or passed."""
        found = [phase.outcome for phase in self.phases]
        order = ("error", "failed", "xpassed", "xfailed", "skipped", "passed")
        return next((outcome for outcome in order if outcome in found), "unfinished")

    @property
    def start_s(self) -> float:
        """When its first phase began."""
        return min((phase.start_s for phase in self.phases), default=0.0)

    @property
    def elapsed_s(self) -> float:
        """How long its phases took together."""
        return sum(phase.elapsed_s for phase in self.phases)


def append(path: Path, record: TestRecord) -> None:
    """Add `record` to a file of lines; a kill leaves at most a last line that is not whole."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(handle, "a") as file:
        file.write(json.dumps(asdict(record)) + "\n")


def read(paths: Iterable[Path]) -> Iterator[TestRecord]:
    """Yield the records of several files of lines, without a last line that is not whole."""
    for path in paths:
        for line in path.read_text().splitlines(keepends=True):
            if line.endswith("\n"):
                yield _record(json.loads(line))


def _record(fields: dict[str, Any]) -> TestRecord:
    lease = fields.pop("lease")
    return TestRecord(
        phases=[Phase(**item) for item in fields.pop("phases")],
        lease=Lease(**lease) if lease else None,
        moments=[Moment(**item) for item in fields.pop("moments")],
        cells=[MatrixCell(**item) for item in fields.pop("cells")],
        packets=[Packet(**item) for item in fields.pop("packets")],
        **fields,
    )
