"""Renders a run's records as one HTML file that needs nothing else: no server, no network."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from testbed.report.picture import Picture, TenantView, TopologyView
from testbed.report.record import MatrixCell, TestRecord, read

RECORDS, REPORT = "records", "index.html"
_BAD = ("failed", "error", "xpassed", "unfinished")


def render(folder: Path, *, seed: int) -> Path:
    """Write the report of the run in `folder`, and return its path."""
    records = sorted(read(sorted((folder / RECORDS).glob("*.jsonl"))), key=lambda r: r.start_s)
    views = [_view(path) for path in sorted((folder / RECORDS).glob("*.topology.json"))]
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("testbed.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["seconds"] = _seconds
    environment.filters["clock"] = lambda moment: time.strftime("%H:%M:%S", time.localtime(moment))
    # Tenants by the thousand differ at the end of their names.
    environment.filters["end"] = lambda name: name if len(name) <= 14 else f"…{name[-12:]}"
    versions = _versions(folder, records)
    text = environment.get_template("report.html.j2").render(
        title=folder.name,
        place=_place(folder),
        seed=seed,
        records=records,
        bad=[record for record in records if record.outcome in _BAD],
        totals=Counter(record.outcome for record in records),
        span=_Span.of(records),
        lanes=_lanes(records),
        matrices=_matrices(records),
        pictures=[Picture(view) for view in views],
        versions=versions,
    )
    path = folder / REPORT
    path.touch(mode=0o600)
    path.write_text(text)
    return path


def _place(folder: Path) -> Path:
    """Return `folder` as commands that the report shows name it: from where the run was started."""
    here = Path.cwd()
    return folder.relative_to(here) if folder.is_relative_to(here) else folder


def _seconds(value: float) -> str:
    if value < 0.0995:
        return f"{value * 1000:.0f} ms"
    return f"{value:.1f} s" if value < 100 else f"{value / 60:.1f} min"


def _view(path: Path) -> TopologyView:
    fields = json.loads(path.read_text())
    fields["tenants"] = [TenantView(**tenant) for tenant in fields["tenants"]]
    return TopologyView(**fields)


def _versions(folder: Path, records: Sequence[TestRecord]) -> dict[str, str]:
    """Return the versions that the first failure wrote down, if any did."""
    for record in records:
        path = folder / record.artefacts / "versions.json"
        if record.artefacts and path.exists():
            found: dict[str, str] = json.loads(path.read_text())
            return found
    return {}


@dataclass(frozen=True, slots=True)
class _Span:
    """The time that a picture shows; places in it are per cent of its width."""

    start_s: float
    end_s: float

    @classmethod
    def of(cls, records: Sequence[TestRecord]) -> _Span:
        """Return the time from the first test's begin to the last one's end."""
        known = [record for record in records if record.start_s]
        start = min((record.start_s for record in known), default=0.0)
        end = max((record.start_s + record.elapsed_s for record in known), default=1.0)
        return cls(start, max(end, start + 0.001))

    @property
    def elapsed_s(self) -> float:
        """Its length."""
        return self.end_s - self.start_s

    def place(self, moment_s: float) -> float:
        """Return where a moment is, in per cent."""
        return round(100 * (moment_s - self.start_s) / self.elapsed_s, 3)

    def width(self, elapsed_s: float) -> float:
        """Return how wide a duration is, in per cent."""
        return round(100 * elapsed_s / self.elapsed_s, 3)

    def ticks(self) -> list[tuple[float, str]]:
        """Return about six round places with their labels."""
        step = next(
            (
                s
                for s in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300)
                if self.elapsed_s / s <= 7
            ),
            600,
        )
        count = int(self.elapsed_s / step)
        return [(self.width(n * step), f"{n * step:g} s") for n in range(count + 1)]


def _lanes(records: Sequence[TestRecord]) -> dict[str, list[TestRecord]]:
    lanes: dict[str, list[TestRecord]] = {}
    for record in records:
        if record.start_s:
            lanes.setdefault(record.worker, []).append(record)
    return dict(sorted(lanes.items()))


@dataclass(frozen=True, slots=True)
class _Square:
    """One square of a heat map."""

    frames: int
    ok: bool
    is_own: bool
    title: str

    @property
    def kind(self) -> str:
        """Its colour: proven on the diagonal, silent beside it, or wrong."""
        if not self.ok:
            return "lacks" if self.is_own else "leak"
        return "own" if self.is_own else "silent"


@dataclass(frozen=True, slots=True)
class _Matrix:
    """One heat map: conversations of one kind, senders down, routers across."""

    topology: str
    direction: str
    protocol: str
    tenants: list[str]
    rows: list[tuple[str, list[_Square | None]]]

    @property
    def ok(self) -> bool:
        """Whether nothing in it is wrong."""
        return all(square.ok for _, row in self.rows for square in row if square)


def _matrices(records: Sequence[TestRecord]) -> list[_Matrix]:
    """Return a heat map for each topology, direction and protocol that scenarios recorded."""
    grouped: dict[tuple[str, str, str], dict[tuple[str, str], list[MatrixCell]]] = {}
    for record in records:
        topology = record.lease.topology if record.lease else ""
        for cell in record.cells:
            cells = grouped.setdefault((topology, cell.direction, cell.protocol), {})
            cells.setdefault((cell.sender, cell.receiver), []).append(cell)
    return [_matrix(kind, cells) for kind, cells in sorted(grouped.items())]


def _matrix(kind: tuple[str, str, str], cells: dict[tuple[str, str], list[MatrixCell]]) -> _Matrix:
    topology, direction, protocol = kind
    tenants = list(dict.fromkeys(receiver for _, receiver in cells))
    senders = list(dict.fromkeys(sender for sender, _ in cells))

    def square(sender: str, receiver: str) -> _Square | None:
        found = cells.get((sender, receiver))
        if not found:
            return None
        frames = sum(cell.frames for cell in found)
        ok = all(cell.ok for cell in found)
        title = f"{direction} {protocol} of {sender}: {frames} frames at the router of {receiver}"
        return _Square(frames, ok, sender == receiver, title)

    rows = [(sender, [square(sender, receiver) for receiver in tenants]) for sender in senders]
    return _Matrix(topology, direction, protocol, tenants, rows)
