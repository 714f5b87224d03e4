"""Fixtures: the deployment, leased tenants, captures, the seed, the leak matrix."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

import pytest

from testbed.drivers import namespace
from testbed.errors import InputError, PreflightError
from testbed.lifecycle.lease import lease_deployment, lease_tenants
from testbed.lifecycle.restore import restore_changed
from testbed.lifecycle.warm import ensure_warm
from testbed.plan.resources import TenantPlan
from testbed.probe.capture import Capture
from testbed.probe.recorder import Recorder
from testbed.pytest_plugin.run import Run
from testbed.pytest_plugin.wishes import Groups, Wish
from testbed.report.matrix import Matrix
from testbed.report.record import Lease, Moment
from testbed.running import Running, Tenant

RUN = pytest.StashKey[Run]()
LEASED = pytest.StashKey["Leased"]()
_MOST_LANS = 8  # whose own networks are recorded, too


@dataclass(slots=True)
class Leased:
    """What a test holds, and the recorders of its frames; they outlive the lease."""

    running: Running
    tenants: tuple[Tenant, ...]
    had_s: float
    wire: Recorder
    lans: dict[str, Recorder] = field(default_factory=dict)
    closing: ExitStack = field(default_factory=ExitStack)

    def moments(self) -> list[Moment]:
        """Return what was asked so far."""
        return [
            Moment(
                asked.time_s,
                asked.elapsed_s,
                "question",
                f"{asked.tenant}: {asked.question}: {asked.answer}"
                + (f" (expected: {asked.expected})" if asked.expected else ""),
                asked.agrees,
            )
            for asked in self.running.journal.asked
        ]


@pytest.fixture
def _lease(request: pytest.FixtureRequest) -> Iterator[Leased]:
    """The lease that the markers ask for, with recorders of its frames."""
    run = request.config.stash[RUN]
    item: pytest.Item = request.node
    with _told_without_traceback():
        wish = Wish.of(item, str(request.config.getoption("--topology")))
        found = run.running(wish.topology)
        groups = _groups(run, wish, item, found)
    folder = found.deployment.folder
    purpose = f"{item.nodeid} {run.worker}"
    asked_s = time.time()
    with ExitStack() as stack:
        if wish.whole:
            names = groups[0]
            stack.enter_context(lease_deployment(folder, names, purpose=purpose))
        else:
            names = stack.enter_context(lease_tenants(folder, groups, purpose=purpose))
        had_s = time.time()
        restore_changed(found.docker, run.store, found.deployment, names, run.events())
        if wish.starts_services:
            ensure_warm(found.docker, found.deployment, names, run.events(), alone=wish.whole)
        journal = type(found.journal)()
        running = replace(found, journal=journal)
        if run.current is not None:
            plan = running.plan
            run.current.lease = Lease(
                *(plan.deployment, plan.topology, list(names)),
                *(wish.whole, asked_s, had_s),
            )
        tenants = tuple(running.tenant(name) for name in names)
        leased = Leased(running, tenants, had_s, _record_wire(running, tenants))
        item.stash[LEASED] = leased
        leased.closing.callback(leased.wire.close)
        _record_lans(leased)
        yield leased


@contextmanager
def _told_without_traceback() -> Iterator[None]:
    """Let what somebody else than we must mend be told as the commands tell it."""
    try:
        yield
    except (InputError, PreflightError) as error:
        hint = "" if isinstance(error, InputError) else f"\n    {error.hint}"
        pytest.fail(f"{error.message}{hint}", pytrace=False)
    except pytest.UsageError as error:
        pytest.fail(str(error), pytrace=False)


def _groups(run: Run, wish: Wish, item: pytest.Item, found: Running) -> Groups:
    """Return what the scenario may lease: in a replay, what it had."""
    if run.replayed is not None and run.replayed.test == item.nodeid:
        return (run.replayed.tenants,)
    return wish.groups(found.plan)


def _record_wire(running: Running, tenants: tuple[Tenant, ...]) -> Recorder:
    return Recorder(running.deployment.uplink, [tenant.plan for tenant in tenants])


def _record_lans(leased: Leased) -> None:
    for tenant in leased.tenants[:_MOST_LANS]:
        recorder = _inside(tenant.plan)
        leased.lans[tenant.name] = recorder
        leased.closing.callback(recorder.close)


def _inside(tenant: TenantPlan) -> Recorder:
    # A socket stays in the network namespace that it was made in.
    return namespace.run_inside(tenant.router.netns, partial(Recorder, tenant.router.lan.name))


@pytest.fixture
def deployment(_lease: Leased) -> Running:
    """The running deployment of the scenario's topology (marker `topology`, else --topology).

    Nobody holds it for himself meanwhile, unless it is this scenario (marker `exclusive`).
    """
    return _lease.running


@pytest.fixture
def tenants(_lease: Leased) -> tuple[Tenant, ...]:
    """The leased tenants, as the marker `tenants` asks: nobody else uses them meanwhile."""
    return _lease.tenants


@pytest.fixture
def tenant(tenants: tuple[Tenant, ...]) -> Tenant:
    """The first of the leased tenants."""
    return tenants[0]


@pytest.fixture
def wire(deployment: Running) -> Iterator[Capture]:
    """A capture of all frames between routers and SUT, from after the lease to the end."""
    with deployment.capture() as running:
        yield running


@pytest.fixture
def matrix(request: pytest.FixtureRequest) -> Matrix:
    """The leak matrix of the report: `matrix.record(judge(...))` adds a scenario's cells."""
    run = request.config.stash[RUN]
    collected = Matrix()
    if run.current is not None:
        run.current.cells = collected.cells
    return collected


@pytest.fixture(scope="session")
def seed(pytestconfig: pytest.Config) -> int:
    """The run's seed, for scenarios that draw at random: printed, kept in bundles, see --seed."""
    return pytestconfig.stash[RUN].shared.seed
