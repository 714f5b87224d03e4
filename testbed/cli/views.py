"""What `--format json` prints: the shapes, and their versions.

A version changes when a field goes away or changes its meaning; new fields do not change it. The
JSON schemas in docs/reference are generated from these classes (`testbed.cli.reference`), and tests
hold real output against them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from testbed.events import Event
from testbed.lifecycle.check import Verdict
from testbed.lifecycle.drift import Drift
from testbed.lifecycle.lease import Claim
from testbed.lifecycle.preflight import Finding
from testbed.lifecycle.status import PartStatus, ServiceStatus, Status
from testbed.lifecycle.store import Record
from testbed.plan.resources import FibId, Plan, SutPlan, TenantPlan
from testbed.sut.protocol import Capability


@dataclass(frozen=True, slots=True)
class TenantView:
    """One tenant; `ok` is false when it or one of its services has a `problem`.

    `idle`: its services start when it is leased, and have not.
    """

    name: str
    fib: FibId
    ok: bool
    idle: bool
    problem: str
    server_addresses: tuple[str, ...]
    services: tuple[ServiceStatus, ...]


@dataclass(frozen=True, slots=True)
class DeploymentView:
    """One deployment: its health, where it is not as planned, who holds and who waits for what."""

    id: str
    name: str
    ok: bool
    source: str
    created_s: float
    parts: tuple[PartStatus, ...]
    tenants: tuple[TenantView, ...]
    leases: tuple[Claim, ...]
    drift: tuple[Drift, ...]
    gaps: tuple[Capability, ...]


@dataclass(frozen=True, slots=True)
class StatusView:
    """`testbed status --format json`. `ok`: all deployments can be shown, and are healthy."""

    schema: Literal["testbed.status/1"]
    ok: bool
    deployments: tuple[DeploymentView, ...]


@dataclass(frozen=True, slots=True)
class UpView:
    """`testbed up --format json`: the deployment, and who could log in end to end."""

    schema: Literal["testbed.up/1"]
    ok: bool
    deployment: DeploymentView
    logins: tuple[Verdict, ...]


@dataclass(frozen=True, slots=True)
class DoctorView:
    """`testbed doctor --format json`. `ok`: nothing is unfit that is more than advice."""

    schema: Literal["testbed.doctor/1"]
    ok: bool
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class PlanView(Plan):
    """`testbed plan --format json`: everything that `up` would make; passwords are `***`."""

    schema: Literal["testbed.plan/1"]


@dataclass(frozen=True, slots=True)
class EventView(Event):
    """One line of `testbed events --format json` and of `--progress json`: who did what.

    `phase` is `end` (done), `fail` or `note`; `--progress json` also has `begin`.
    """

    schema: Literal["testbed.event/1"] = "testbed.event/1"
    pid: int = 0
    by: str = ""


@dataclass(frozen=True, slots=True)
class ContainerView:
    """A container that is planned, and what Docker has of it ("missing", "running", ...)."""

    role: str
    name: str
    state: str
    image: str


@dataclass(frozen=True, slots=True)
class InspectView:
    """`testbed inspect TARGET --format json`: one tenant's plan or the SUT's, and what is there."""

    schema: Literal["testbed.inspect/1"]
    deployment: str
    target: str
    tenant: TenantPlan | None
    sut: SutPlan | None
    containers: tuple[ContainerView, ...]
    health: str
    commands: tuple[str, ...]


def deployment_view(record: Record, status: Status) -> DeploymentView:
    """Return what is printed of one deployment."""
    return DeploymentView(
        id=status.id,
        name=status.name,
        ok=status.ok,
        source=record.source,
        created_s=record.created_s,
        parts=status.parts,
        tenants=tuple(
            TenantView(
                name=tenant.name,
                fib=tenant.fib,
                ok=tenant.ok,
                idle=tenant.idle,
                problem=tenant.problem,
                server_addresses=tenant.server_addresses,
                services=tenant.services,
            )
            for tenant in status.tenants
        ),
        leases=status.leases,
        drift=status.drift,
        gaps=status.gaps,
    )


def data_of(view: Any) -> dict[str, Any]:
    """Return a view as JSON-ready data."""
    return asdict(view)
