"""The pytest side: deployments shared by all workers, leases on their tenants, what failures leave.

The first worker that needs a deployment brings it up (or confirms and repairs the running one);
one that this run started is removed when the run ends, one that ran before is left alone. Cleaning
and the report are the controller's: xdist ends its workers after 10 s.
"""

from __future__ import annotations

import random
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from testbed.drivers import process
from testbed.errors import InputError, TestbedError
from testbed.lifecycle import ledger
from testbed.lifecycle.bundle import read_bundle
from testbed.lifecycle.lease import mark_changed
from testbed.lifecycle.session import controller_of
from testbed.pytest_plugin import failure, selection
from testbed.pytest_plugin.fixtures import (
    LEASED,
    RUN,
    Leased,
    _lease,
    deployment,
    matrix,
    seed,
    tenant,
    tenants,
    wire,
)
from testbed.pytest_plugin.judgement import Expected, judge
from testbed.pytest_plugin.run import RECORDS, Run, Shared, told_to_worker
from testbed.pytest_plugin.wishes import MARKERS
from testbed.report.prune import DEFAULT_KEPT, prune_runs
from testbed.report.record import Phase, TestRecord
from testbed.report.render import render

__all__ = ["_lease", "deployment", "matrix", "seed", "tenant", "tenants", "wire"]

DEFAULT_TOPOLOGY = "proposal"
_SHARED = "testbed_run"
_REPORT = pytest.StashKey[str]()
_PRUNED = pytest.StashKey[int]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the testbed's options."""
    group = parser.getgroup("testbed", "testbed: scenarios on running deployments")
    group.addoption(
        "--topology",
        default=DEFAULT_TOPOLOGY,
        help="topology of scenarios that name none: a file, or a name under topologies/",
    )
    group.addoption(
        "--artifacts",
        default="artifacts",
        metavar="DIR",
        help="where the report and what failures leave go: DIR/RUN/ and DIR/RUN/TEST/",
    )
    group.addoption(
        "--no-artifacts",
        action="store_true",
        help="keep nothing of failures but their text: for runs that expect many, as of mutants",
    )
    group.addoption(
        "--long",
        action="store_true",
        help="also run scenarios that take long, and all cases of those of which some are drawn; "
        "without it only when a test is named by FILE::TEST",
    )
    group.addoption(
        "--no-judgement",
        action="store_true",
        help="do not fail scenarios for dropped frames and frames at wrong routers (see `expects`)",
    )
    group.addoption(
        "--as-is",
        action="store_true",
        help="use a deployment that runs without looking first whether it is whole",
    )
    group.addoption(
        "--keep",
        action="store_true",
        help="leave deployments that this run started up (`testbed down` removes them)",
    )
    group.addoption(
        "--pause-on-failure",
        action="store_true",
        help="stop at a failed scenario, leases held, until Enter is pressed (not with -n)",
    )
    group.addoption(
        "--shell-on-failure",
        action="store_true",
        help="open a shell at a failed scenario, leases held, until it ends (not with -n)",
    )
    group.addoption(
        "--seed", type=int, default=None, help="seed of whatever is drawn at random in this run"
    )
    group.addoption(
        "--keep-runs",
        type=int,
        default=DEFAULT_KEPT,
        metavar="N",
        help="keep the artefacts of the last N runs, 0: of all (default: %(default)s)",
    )
    group.addoption("--shuffle", action="store_true", help="run tests in random order, by the seed")
    group.addoption(
        "--replay",
        default=None,
        metavar="BUNDLE",
        help="run on the topology and with the seed of a failure's bundle (see `testbed replay`)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Explain the markers, and name the run so that all workers know which one they serve."""
    for line in MARKERS:
        config.addinivalue_line("markers", line)
    replayed = _bundle(config)
    told: dict[str, Any] | None = getattr(config, "workerinput", {}).get(_SHARED)
    if told is not None:
        shared, worker = Shared(**told), str(getattr(config, "workerinput")["workerid"])  # noqa: B009 - xdist adds it, mypy knows nothing of it
        # A controller that is killed takes its workers along, and so their leases.
        process.die_with(controller_of(shared.name))
    else:
        folder = config.rootpath / str(config.getoption("--artifacts"))
        seed_given = replayed.seed if replayed else config.getoption("--seed")
        shared, worker = Shared.new(folder, seed_given), "main"
    config.stash[RUN] = Run(shared, worker, config, replayed)
    _forbid_people_with_workers(config)


def _bundle(config: pytest.Config) -> Any:
    path = config.getoption("--replay")
    try:
        return read_bundle(Path(path)) if path else None
    except InputError as error:
        raise pytest.UsageError(str(error)) from error


def _forbid_people_with_workers(config: pytest.Config) -> None:
    wants = [o for o in ("--pause-on-failure", "--shell-on-failure") if config.getoption(o)]
    if wants and config.getoption("numprocesses", default=None):
        raise pytest.UsageError(f"{wants[0]} needs a terminal, which workers do not have: use -n 0")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker of xdist which run it serves."""
    node.workerinput[_SHARED] = told_to_worker(node.config.stash[RUN].shared)


def pytest_report_header(config: pytest.Config) -> str:
    """Show the seed: a run that drew badly can be repeated."""
    return f"testbed: --seed {config.stash[RUN].shared.seed}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what takes long, unless asked for; shuffle, if asked: by the seed, all workers alike."""
    seed = config.stash[RUN].shared.seed
    left_out = [] if selection.asks_for_all(config) else selection.left_out(items, seed)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        kept = set(items).difference(left_out)
        items[:] = [item for item in items if item in kept]
    if config.getoption("--shuffle"):
        random.Random(seed).shuffle(items)  # noqa: S311 - no secret


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Record each test that is about a deployment, from before its lease to after its end."""
    if "_lease" not in getattr(item, "fixturenames", ()):
        return (yield)
    run = item.config.stash[RUN]
    run.current = TestRecord(item.nodeid, run.worker, sorted(getattr(item, "fixturenames", ())))
    try:
        return (yield)
    finally:
        _finish(run, item)


def _finish(run: Run, item: pytest.Item) -> None:
    record, run.current = run.current, None
    leased = item.stash.get(LEASED, None)
    if record is None:
        return
    if leased is not None:
        leased.closing.close()
        if not record.artefacts:
            record.moments += leased.moments()
    run.keep(record)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Run a scenario; when it has passed, judge what was dropped and sent meanwhile."""
    leased = item.stash.get(LEASED, None)
    run = item.config.stash[RUN]
    if leased is None or item.config.getoption("--no-judgement"):
        return (yield)
    running, expects = leased.running, Expected.of(item)
    run.counters.begin(running)
    try:
        with ledger.announced(running.deployment.folder, expects.drops):
            result = yield
    except BaseException:
        run.counters.forget(running)
        raise
    judge(run.counters, leased, expects)
    return result


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Write down how each phase went; at the first that failed, keep what there is to see."""
    del call
    report = yield
    run = item.config.stash[RUN]
    record = run.current
    if record is None:
        return report
    record.phases.append(Phase(report.when or "", report.start, report.duration, _word(report)))
    if report.failed:
        leased = item.stash.get(LEASED, None)
        _failed(run, record, report, leased, item)
    return report


def _failed(
    run: Run,
    record: TestRecord,
    report: pytest.TestReport,
    leased: Leased | None,
    item: pytest.Item,
) -> None:
    is_first = not record.failure
    if is_first:
        record.headline, record.failure = _headline(report), report.longreprtext
    if leased is not None and report.when == "teardown" and record.lease is not None:
        # What should have changed things back has not: the next holder is to restore them.
        folder = leased.running.deployment.folder
        mark_changed(folder, record.lease.tenants, whole=record.lease.whole)
    if leased is None or not is_first or item.config.getoption("--no-artifacts"):
        return
    try:
        report.sections.append(("testbed", failure.keep_artefacts(run, record, leased, item)))
    except (TestbedError, OSError) as error:  # the failure itself must come out, come what may
        report.sections.append(("testbed", f"no artefacts: {error}"))
    failure.wait_for_people(item.config, record, leased)


def _word(report: pytest.TestReport) -> str:
    if hasattr(report, "wasxfail"):
        return "xfailed" if report.skipped else "xpassed"
    if report.failed and report.when != "call":
        return "error"
    return report.outcome


def _headline(report: pytest.TestReport) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    text = crash.message if crash is not None else report.longreprtext
    return str(text).strip().partition("\n")[0][:300]


@pytest.hookimpl(optionalhook=True)
def pytest_handlecrashitem(crashitem: str, report: pytest.TestReport) -> None:
    """Record a test whose worker was killed: it could not do so itself."""
    node = getattr(report, "node", None)
    if node is None or not crashitem.startswith("scenarios/"):
        return
    run = node.config.stash[RUN]
    record = TestRecord(crashitem, run.worker, headline="its worker was killed")
    record.phases.append(Phase("call", 0.0, 0.0, "error"))
    run.keep(record)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Make the report of what all workers recorded, after the last has ended."""
    run = session.config.stash[RUN]
    if not run.is_worker and (run.folder / RECORDS).is_dir():
        session.config.stash[_REPORT] = str(render(run.folder, seed=run.shared.seed))
        keep = int(session.config.getoption("--keep-runs"))
        session.config.stash[_PRUNED] = prune_runs(run.folder.parent, keep)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Tell where the report is."""
    path = config.stash.get(_REPORT, None)
    if path:
        terminalreporter.write_line(f"testbed: report {path}")
    pruned = config.stash.get(_PRUNED, 0)
    if pruned:
        runs = f"{pruned} old run{'s' if pruned > 1 else ''}"
        kept = config.getoption("--keep-runs")
        terminalreporter.write_line(f"testbed: removed {runs}, kept {kept} (--keep-runs)")


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the deployments that this run started, after the last worker has ended."""
    run = config.stash.get(RUN, None)
    if run is not None and not run.is_worker and (run.folder / RECORDS).is_dir():
        failure.end_of_deployments(run, run.events(), keep=bool(config.getoption("--keep")))
