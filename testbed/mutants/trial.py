"""Runs scenarios against what a lab has installed, and says which noticed."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from testbed.drivers import process
from testbed.drivers.process import Finished
from testbed.report.record import TestRecord, read

ROOT = Path(__file__).parents[2]
# What scenarios see of tenants. Conformance and negative controls are other proofs of the same.
SUITES = ("scenarios/routing", "scenarios/isolation", "scenarios/authentication")
_LEFT_OUT = ("scenarios/isolation/test_negative_controls.py",)
_LONGEST_S = 1800
_LONGEST_TEST_S = 300
_PASSED = 0
_NONE: Mapping[str, str] = MappingProxyType({})
_WHOLE_LINES = "1000"  # pytest cuts off what it says of a failure at the terminal's width
_FAILED = re.compile(r"^FAILED scenarios/(.+?) - (.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Seen:
    """A scenario that failed in its own questions: what it said, and whether it read the wire."""

    test: str
    said: str
    on_the_wire: bool


@dataclass(frozen=True, slots=True)
class Trial:
    """How a run of scenarios went: `seen` is the first that noticed, `trouble` what went wrong."""

    tests: int
    elapsed_s: float
    seen: Seen | None = None
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Scenarios:
    """Runs pytest on the deployments recorded in `state`; artefacts go below `artefacts`."""

    state: Path
    artefacts: Path
    workers: int

    def run_hinted(self, name: str, hint: Sequence[str]) -> Trial:
        """Run the scenarios that should notice, in their order, up to the first that does."""
        return self._run(f"{name}-hinted", [f"scenarios/{test}" for test in hint], workers=0)

    def run_rest(self, name: str, hint: Sequence[str] = ()) -> Trial:
        """Run all others, up to the first that fails."""
        left_out = [f"--deselect=scenarios/{test}" for test in hint]
        return self._run(name, ["--long", *SUITES, *left_out], workers=self.workers)

    def run_copy(self, name: str, hint: Sequence[str], tree: Path) -> Trial:
        """Run scenarios on private hosts, of a copy of the repository: with the testbed that is in there.

        They are about no deployment of ours, so that the plugin keeps no records: pytest says what failed.
        """
        tests = [f"scenarios/{test}" for test in hint]
        env = {"PYTHONPATH": str(tree), "COLUMNS": _WHOLE_LINES}
        finished, elapsed_s = self._pytest(f"{name}-hinted", ["-rf", "-n", "0", *tests], tree, env)
        if finished.returncode == _PASSED:
            return Trial(len(tests), elapsed_s)
        failed = _FAILED.search(finished.stdout)
        if failed is None:
            return Trial(0, elapsed_s, trouble=_trouble(finished))
        return Trial(len(tests), elapsed_s, Seen(failed[1], failed[2], on_the_wire=False))

    def _run(self, name: str, arguments: Sequence[str], *, workers: int) -> Trial:
        # fmt: off
        options = [
            "-m", "not configuration", "-n", str(workers), "--no-artifacts", "--as-is", "--no-judgement",
            "-o", f"timeout={_LONGEST_TEST_S}", *(f"--ignore={path}" for path in _LEFT_OUT),
        ]
        # fmt: on
        finished, elapsed_s = self._pytest(name, [*options, *arguments])
        records = list(read(sorted((self.artefacts / name).glob("*/records/*.jsonl"))))
        seen = next(filter(None, map(_seen, records)), None)
        trouble = ""
        if seen is None and finished.returncode != _PASSED:
            trouble = _trouble(finished)
        return Trial(len(records), elapsed_s, seen, trouble)

    def _pytest(
        self, name: str, arguments: Sequence[str], tree: Path = ROOT, env: Mapping[str, str] = _NONE
    ) -> tuple[Finished, float]:
        """Run pytest in `tree`, artefacts below `name`; return how it ended and how long it took, in s."""
        start_s = time.monotonic()
        folder = str(self.artefacts / name)
        usual = ("-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--artifacts", folder)
        finished = process.run(
            [sys.executable, *usual, *arguments],
            timeout_s=_LONGEST_S,
            env={"TESTBED_STATE": str(self.state), **env},
            cwd=tree,
            check=False,
        )
        return finished, time.monotonic() - start_s


def _trouble(finished: Finished) -> str:
    tail = (finished.stdout + finished.stderr).strip().splitlines()[-15:]
    return "\n".join([f"pytest exited {finished.returncode}", *tail])


def _seen(record: TestRecord) -> Seen | None:
    if not any(phase.name == "call" and phase.outcome == "failed" for phase in record.phases):
        return None
    return Seen(
        record.nodeid.removeprefix("scenarios/"), record.headline, "wire" in record.fixtures
    )


def default_workers() -> int:
    """Return how many workers: two a processor, as `make scenarios` has them."""
    return 2 * (os.cpu_count() or 1)
