"""The pytest side: deployments shared by all workers, leases on their tenants, options, markers.

The first worker that needs a deployment brings it up (or confirms and repairs the running one);
one that this run started is removed when the run ends, one that ran before is left alone. Cleaning
is the controller's: xdist ends its workers after 10 s.
"""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.drivers import dockerd
from testbed.events import Event, Events, Phase
from testbed.lifecycle import session
from testbed.lifecycle.lease import lease_deployment, lease_tenants
from testbed.lifecycle.store import Store, state_root
from testbed.plan.resources import Plan, Role, TenantPlan
from testbed.probe.capture import Capture
from testbed.running import Running, Tenant

RUN_VARIABLE = "TESTBED_RUN"
TOPOLOGIES = Path(__file__).parents[1] / "topologies"
DEFAULT_TOPOLOGY = "proposal"
_RUNNING = pytest.StashKey[dict[str, Running]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the testbed's options."""
    group = parser.getgroup("testbed")
    group.addoption(
        "--topology",
        default=DEFAULT_TOPOLOGY,
        help="topology of scenarios that name none: a file, or a name under topologies/",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Explain the markers, and name the run so that all workers know which one they serve."""
    for line in (
        "topology(name): the topology the scenario runs on, a name under topologies/",
        (
            "tenants(*names) or tenants(n, services=[...]): lease these tenants, or any n that have "
            "the services; the fixture `tenants` hands them out in order"
        ),
        "exclusive: nobody else uses the deployment meanwhile; for scenarios that change the SUT",
    ):
        config.addinivalue_line("markers", line)
    if not _is_worker(config):
        os.environ[RUN_VARIABLE] = f"{uuid.uuid4().hex[:12]} {os.getpid()}"


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the deployments that this run started, after the last worker has ended."""
    if not _is_worker(config) and RUN_VARIABLE in os.environ:
        session.remove_started(_store(), _run(), _events(config))


@pytest.fixture
def deployment(request: pytest.FixtureRequest) -> Running:
    """The running deployment of the scenario's topology (marker `topology`, else --topology)."""
    marker = request.node.get_closest_marker("topology")
    name = marker.args[0] if marker else request.config.getoption("--topology")
    return _running(str(name), request.config)


@pytest.fixture
def tenants(request: pytest.FixtureRequest, deployment: Running) -> Iterator[tuple[Tenant, ...]]:
    """Leased tenants as the marker `tenants` asks (one with any services unless it is given)."""
    marker = request.node.get_closest_marker("tenants")
    groups = _candidates(deployment.plan, *(marker.args if marker else (1,)), **_kwargs(marker))
    folder = deployment.deployment.folder
    if request.node.get_closest_marker("exclusive"):
        with lease_deployment(folder):
            yield tuple(deployment.tenant(name) for name in groups[0])
        return
    with lease_tenants(folder, groups) as names:
        yield tuple(deployment.tenant(name) for name in names)


@pytest.fixture
def tenant(tenants: tuple[Tenant, ...]) -> Tenant:
    """The first of the leased tenants."""
    return tenants[0]


@pytest.fixture
def wire(deployment: Running, tenants: tuple[Tenant, ...]) -> Iterator[Capture]:
    """A capture of the shared segment, from after the lease to the scenario's end."""
    del tenants  # leased first: frames of the tenants' former holders are not ours
    with deployment.capture() as running:
        yield running


def _kwargs(marker: pytest.Mark | None) -> dict[str, list[str]]:
    return dict(marker.kwargs) if marker else {}


def _candidates(
    plan: Plan, *wanted: str | int, services: list[str] | None = None
) -> list[tuple[str, ...]]:
    """Return the groups of tenants that satisfy a marker, best first."""
    if not wanted or isinstance(wanted[0], str):
        names = tuple(str(name) for name in wanted) or tuple(t.name for t in plan.tenants)
        return [names]
    fitting = [tenant.name for tenant in plan.tenants if _has(tenant, services or [])]
    count = int(wanted[0])
    if len(fitting) < count:
        message = (
            f"topology {plan.topology!r} has {len(fitting)} tenants with {services}, not {count}"
        )
        raise pytest.UsageError(message)
    # Neighbours in a ring: as many groups as tenants, and every tenant is first in one.
    ring = fitting + fitting
    return [tuple(ring[start : start + count]) for start in range(len(fitting))]


def _has(tenant: TenantPlan, services: list[str]) -> bool:
    roles = {container.role for container in tenant.containers}
    return all(Role(service) in roles for service in services)


def _running(topology: str, config: pytest.Config) -> Running:
    """Return the running deployment, looked up once a process: each look takes a second."""
    known = config.stash.setdefault(_RUNNING, {})
    if topology not in known:
        path = _topology(topology)
        found = session.deployment_for(_store(), path, _run(), _events(config))
        client = dockerd.connect()
        if client is None:
            raise pytest.UsageError("the Docker daemon has gone away")
        known[topology] = Running(client, found)
    return known[topology]


def _store() -> Store:
    return Store(state_root())


def _topology(name: str) -> Path:
    path = Path(name)
    return path if path.suffix else TOPOLOGIES / f"{name}.yaml"


def _run() -> str:
    return os.environ[RUN_VARIABLE]


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


def _events(config: pytest.Config) -> Events:
    """Show steps on the terminal, around pytest's capture: starting a VM takes a while."""
    capturing = config.pluginmanager.getplugin("capturemanager")

    def show(event: Event) -> None:
        if event.phase not in {Phase.END, Phase.FAIL}:
            return
        subject = f"{event.step}: {event.tenant}" if event.tenant else event.step
        line = f"testbed: {subject} {event.phase} {event.elapsed_s:.1f} s {event.detail}".rstrip()
        if capturing is None:
            sys.stderr.write(f"{line}\n")
            return
        with capturing.global_and_fixture_disabled():
            sys.stderr.write(f"{line}\n")

    return Events([show])
