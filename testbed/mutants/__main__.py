"""Shows that scenarios notice defects: the code as it is passes, each mutant is caught.

    python -m testbed.mutants          ONLY=NAME,...: these alone; LANES=N: as many at a time
    python -m testbed.mutants --down   removes what a killed run has left

Prints a table, writes artifacts/mutants/ and, as it goes, the rows of docs/mutants.md. Exit codes:
0 every mutant was caught, 1 one survived or could not be tried, 2 unknown name.
"""

from __future__ import annotations

import os
import queue
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

from testbed.drivers import hostlock
from testbed.errors import TestbedError
from testbed.events import Event, Events, Phase
from testbed.lifecycle.store import Store, state_root
from testbed.mutants.catalogue import MUTANTS
from testbed.mutants.lab import Files, Lab, close_all, lane_store
from testbed.mutants.mutant import Mutant, copy_tree
from testbed.mutants.table import Result, as_json, as_text
from testbed.mutants.trial import ROOT, Scenarios, Trial, default_workers
from testbed.sut.extension import Extension

_SOURCE = Path(str(files("testbed") / "fib"))
_TOPOLOGIES = ("proposal", "twins")
_OF_CONFORMANCE = "bare"
_TABLE = ROOT / "docs" / "mutants.md"
_ARTEFACTS = ROOT / "artifacts" / "mutants"
_INTRODUCTION = """# Mutants

Deliberate defects in the FIB extensions, their configuration and the daemon, and the scenario that
noticed each: on the wire (frames were captured), by what a socket did, or in the conformance suite. The
last ones are defects of the testbed itself, noticed on a private host.
Made by `make mutants`, which first shows that the code as it is passes; with ONLY it makes the rows of
those mutants anew. [scenarios.md](scenarios.md#mutants-do-the-scenarios-notice) says how it works.

"""


@dataclass
class Factory:
    """Builds the code of mutants in `folder`, each once, ahead of its trial."""

    folder: Path
    pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))
    built: dict[str, Future[Files]] = field(default_factory=dict)

    def order(self, mutants: Sequence[Mutant]) -> Files:
        """Build the code as it is and return it; go on with `mutants` in the background."""
        clean = self._extension("clean", Mutant("clean", "", ()))
        objects = clean.build(Events())
        for mutant in mutants:
            if not mutant.is_of_testbed:
                self.built[mutant.name] = self.pool.submit(self._make, mutant, objects)
        return clean.files(objects)

    def copy(self, mutant: Mutant) -> Path:
        """Return a copy of the repository with a mutant of the testbed itself."""
        return copy_tree(ROOT, self.folder / mutant.name, mutant.patches)

    def _make(self, mutant: Mutant, clean_objects: Path) -> Files:
        extension = self._extension(mutant.name, mutant)
        return extension.files(extension.build(Events()) if mutant.is_compiled else clean_objects)

    def _extension(self, name: str, mutant: Mutant) -> Extension:
        tree = copy_tree(_SOURCE, self.folder / name / "fib", mutant.patches)
        return Extension(tree, self.folder / name)


def main(arguments: Sequence[str]) -> int:
    """Do as the arguments and the environment say; return the exit code."""
    root, events = state_root(), Events([_show])
    wanted = [name for name in os.environ.get("ONLY", "").split(",") if name]
    unknown = set(wanted) - {mutant.name for mutant in MUTANTS}
    if unknown:
        known = ", ".join(mutant.name for mutant in MUTANTS)
        _say(f"there is no mutant {min(unknown)!r}; there are: {known}")
        return 2
    chosen = [mutant for mutant in MUTANTS if not wanted or mutant.name in wanted]
    if "--down" in arguments and not (root / "mutants").exists():
        return 0
    (root / "mutants").mkdir(parents=True, exist_ok=True, mode=0o700)
    with ExitStack() as at_end:
        at_end.callback(Store(root).close)
        at_end.enter_context(hostlock.held(root / ".mutants.lock", limit_s=1))
        close_all(root, events)
        if "--down" in arguments:
            return 0
        at_end.callback(close_all, root, events)
        results = _try_all(root, chosen, events, is_part=bool(wanted))
    _ARTEFACTS.mkdir(parents=True, exist_ok=True)
    (_ARTEFACTS / "mutants.json").write_text(as_json(results))
    _say(as_text(chosen, results))
    return 0 if results and all(result.is_caught for result in results) else 1


def _try_all(
    root: Path, mutants: Sequence[Mutant], events: Events, *, is_part: bool
) -> list[Result]:
    lanes = min(len(mutants), int(os.environ.get("LANES", "1")))
    artefacts = _ARTEFACTS / time.strftime("%Y%m%d-%H%M%S")
    waiting: queue.SimpleQueue[Mutant] = queue.SimpleQueue()
    for mutant in mutants:
        waiting.put(mutant)
    results = _Results(len(mutants))
    topologies = [*_TOPOLOGIES] if any(not mutant.is_of_testbed for mutant in mutants) else []
    if any(mutant.needs_conformance for mutant in mutants):
        topologies.append(_OF_CONFORMANCE)
    with tempfile.TemporaryDirectory(prefix="testbed-mutants-") as folder:
        factory = Factory(Path(folder))
        try:
            clean = factory.order(mutants)
            jobs = [
                _Lane(lane, root, topologies, clean, factory, artefacts, waiting, results)
                for lane in range(1, lanes + 1)
            ]
            with ThreadPoolExecutor(lanes, thread_name_prefix="lane") as pool:
                for job in [
                    pool.submit(lane.work, mutants, events, is_part=is_part) for lane in jobs
                ]:
                    job.result()
        finally:
            factory.pool.shutdown(cancel_futures=True)
    return [results.found[mutant.name] for mutant in mutants if mutant.name in results.found]


@dataclass
class _Results:
    """What became of the mutants so far; what one lane has found is written down at once."""

    expected: int
    found: dict[str, Result] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, result: Result) -> None:
        with self._lock:
            self.found[result.mutant.name] = result
            former = _TABLE.read_text() if _TABLE.exists() else ""
            _TABLE.write_text(_INTRODUCTION + as_text(MUTANTS, [result], former))
            said = f": {result.seen.said}" if result.seen else f" {result.trouble}"
            count = f"{len(self.found)} of {self.expected}"
            name, took = result.mutant.name, f"{result.elapsed_s:.0f} s"
            _say(f"{count}: {name}: {result.verdict} ({took}){said}")


@dataclass
class _Lane:
    """Deployments of its own, in which mutants are tried one after another."""

    number: int
    root: Path
    topologies: Sequence[str]
    clean: Files
    factory: Factory
    artefacts: Path
    waiting: queue.SimpleQueue[Mutant]
    results: _Results

    def work(self, mutants: Sequence[Mutant], events: Events, *, is_part: bool) -> None:
        """Show that the code as it is passes, then try mutants while there are any.

        Raises:
            TestbedError: when a scenario fails on the code as it is: nothing would be shown.
        """
        store = lane_store(self.root, self.number)
        lab = Lab(store, self.clean)
        lab.open([ROOT / "topologies" / f"{name}.yaml" for name in self.topologies], events)
        scenarios = Scenarios(store.root, self.artefacts / str(self.number), default_workers())
        if self.number == 1 or is_part:
            self._show_unmutated(scenarios, mutants, is_part=is_part)
        while not self.waiting.empty():
            try:
                mutant = self.waiting.get_nowait()
            except queue.Empty:
                break
            self.results.add(self._try(lab, scenarios, mutant))

    def _show_unmutated(
        self, scenarios: Scenarios, mutants: Sequence[Mutant], *, is_part: bool
    ) -> None:
        of_sut = _hints(mutant for mutant in mutants if not mutant.is_of_testbed)
        on_hosts = _hints(mutant for mutant in mutants if mutant.is_of_testbed)
        trials = []
        if of_sut and is_part:
            trials.append(scenarios.run_hinted("unmutated", of_sut))
        elif of_sut:
            trials.append(scenarios.run_rest("unmutated"))
        if on_hosts:
            trials.append(scenarios.run_copy("unmutated", on_hosts, ROOT))
        for trial in trials:
            if trial.seen or trial.trouble or not trial.tests:
                what = f"{trial.seen.test}: {trial.seen.said}" if trial.seen else trial.trouble
                raise TestbedError(f"without any mutant a scenario fails: {what or 'none was run'}")
            _say(f"unmutated: {trial.tests} scenarios passed in {trial.elapsed_s:.0f} s")

    def _try(self, lab: Lab, scenarios: Scenarios, mutant: Mutant) -> Result:
        start_s = time.monotonic()
        if mutant.is_of_testbed:
            trial = scenarios.run_copy(mutant.name, mutant.hint, self.factory.copy(mutant))
            return Result(mutant, trial.elapsed_s, trial.seen, trial.trouble)
        try:
            lab.install(self.factory.built[mutant.name].result(), mutant.defects)
        except TestbedError as error:
            trial = Trial(0, 0.0, trouble=str(error))
        else:
            trial = Trial(0, 0.0)
            if mutant.hint:
                trial = scenarios.run_hinted(mutant.name, mutant.hint)
            if not trial.seen and not trial.trouble:
                trial = scenarios.run_rest(mutant.name, mutant.hint)
        return Result(mutant, time.monotonic() - start_s, trial.seen, trial.trouble)


def _hints(mutants: Iterable[Mutant]) -> list[str]:
    return sorted({test for mutant in mutants for test in mutant.hint})


def _show(event: Event) -> None:
    if event.phase is not Phase.BEGIN and event.elapsed_s > 1:
        _say(f"  {event.step} {event.tenant} {event.elapsed_s:.1f} s")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except TestbedError as error:
        sys.stderr.write(f"mutants: {error.message}\n")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
