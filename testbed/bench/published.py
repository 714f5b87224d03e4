"""docs/bench: what a run measured, and the run before it: data for machines, a page and pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testbed.bench import report
from testbed.bench.compare import Run
from testbed.errors import InputError, Problem

DOCS = Path(__file__).parents[2] / "docs" / "bench"

PARTS: Mapping[str, tuple[str, ...]] = {
    "wiring": ("wiring",),
    "whole": ("whole",),
    "peers": ("peer",),
    "starts": ("starts", "container"),
    "additions": ("adding",),
    "footprint": ("footprint", "names"),
    "operations": ("operation", "program"),
    "designs": ("variant",),
    "scaling": ("scaling",),
    "suite": ("suite",),
}
"""What is measured, in this order, with the keys by which each part's measurements are known."""


@dataclass(frozen=True, slots=True)
class Published:
    """A run, and the one before it that its page compares it with."""

    run: Run
    former: Run | None = None

    @classmethod
    def read(cls, folder: Path = DOCS) -> Published | None:
        """Return what was written last; None without, or if it is no results of ours."""
        try:
            said = json.loads((folder / "results.json").read_text())
            return cls(_run(said), _run(said["former"]) if "former" in said else None)
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    @classmethod
    def to_renew(cls, scope: str, folder: Path = DOCS) -> Published:
        """Return what is there, if parts of a run of this scope can go into it.

        Raises:
            InputError: when they cannot: nothing is there, or rounds and sizes are of another scope.
        """
        found = cls.read(folder)
        if found and found.run.about["scope"] == scope:
            return found
        there = f"is of a {found.run.about['scope']} run" if found else "has no run"
        what = f"{there}: parts of a {scope} one cannot go into it"
        hint = "set QUICK or LONG as it was for that run, or measure without ONLY"
        raise InputError([Problem(str(folder), what, hint)])

    def followed_by(self, run: Run) -> Published:
        """Return a later run, to be compared with this one."""
        return Published(run, self.run)

    def renewed(self, parts: Sequence[str], again: Run) -> Published:
        """Return this with `parts` as they were measured `again`, and a note of when that was."""
        about = self.run.about
        keys = {key for part in parts for key in PARTS[part]}
        kept = [m for m in self.run.measured if not keys & m.keys() and m.get("part") not in parts]
        notes = {**about.get("renewed", {}), **dict.fromkeys(parts, again.about)}
        return Published(Run({**about, "renewed": notes}, [*kept, *again.measured]), self.former)

    def write(self, folder: Path = DOCS) -> str:
        """Write all of it into `folder`; return the page."""
        folder.mkdir(parents=True, exist_ok=True)
        data = _data(self.run) | ({"former": _data(self.former)} if self.former else {})
        (folder / "results.json").write_text(f"{json.dumps(data, indent=1)}\n")
        page = report.page(self.run.about, self.run.measured, self.former)
        (folder / "README.md").write_text(page)
        for name, picture in report.pictures(self.run.measured):
            (folder / name).write_text(picture)
        return page


def _run(said: Mapping[str, Any]) -> Run:
    return Run(said["about"], said["measurements"])


def _data(run: Run) -> dict[str, Any]:
    return {"about": run.about, "measurements": run.measured}
