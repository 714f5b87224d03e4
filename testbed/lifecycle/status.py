"""What a deployment is like right now: asked of Docker, the kernel and the SUT, never remembered."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import docker

from testbed.drivers import containers, dockerd, images, ipam, links, networks
from testbed.drivers.containers import Present
from testbed.errors import TestbedError
from testbed.lifecycle import daemon, drift, lease
from testbed.lifecycle.deployment import Deployment, recorded_topology
from testbed.lifecycle.drift import Drift
from testbed.lifecycle.lease import Claim
from testbed.lifecycle.store import Store
from testbed.lifecycle.tenants import ask, recipe_of
from testbed.plan.resources import ContainerPlan, FibId, TenantPlan
from testbed.sut.protocol import Capability, Sut

_SHOW_LIMIT_S, _SHOW_FIB_LIMIT_S = 60.0, 0.02  # an emulated guest beside busy ones


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """One container of a tenant; `problem` is empty when it is healthy."""

    role: str
    address: str
    problem: str


@dataclass(frozen=True, slots=True)
class TenantStatus:
    """One tenant; it is healthy when it has no problem and none of its services has.

    `idle`: its services start when it is leased, and have not.
    """

    name: str
    fib: FibId
    server_addresses: tuple[str, ...]
    services: tuple[ServiceStatus, ...]
    problem: str
    idle: bool = False

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong with the tenant."""
        return not self.problem and not any(service.problem for service in self.services)


@dataclass(frozen=True, slots=True)
class PartStatus:
    """One part that all tenants share: the SUT, its FIBs, its daemon, the IPAM driver."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Status:
    """A whole deployment. `gaps` are FIB extensions that a SUT of the user's cannot have."""

    id: str
    name: str
    parts: tuple[PartStatus, ...]
    tenants: tuple[TenantStatus, ...]
    leases: tuple[Claim, ...]
    drift: tuple[Drift, ...]
    gaps: tuple[Capability, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether everything is healthy."""
        return all(part.ok for part in self.parts) and all(tenant.ok for tenant in self.tenants)


@dataclass(frozen=True, slots=True)
class _OfSut:
    """What was seen of the SUT."""

    parts: tuple[PartStatus, ...]
    drift: tuple[Drift, ...] = ()
    gaps: tuple[Capability, ...] = ()


def examine(deployment: Deployment) -> Status:
    """Ask every part of the deployment how it is; takes a few seconds, up to 30 where a part hangs."""
    with ThreadPoolExecutor(4) as pool:
        of_sut = pool.submit(_examine_sut, deployment)
        client = dockerd.connect()
        unwired = {t.name for t in links.incomplete_tenants(deployment.plan, deployment.uplink)}
        there = {} if client is None else containers.present(client, deployment.plan.deployment)

        def one(tenant: TenantPlan) -> TenantStatus:
            has_none = not any(container.name in there for container in tenant.containers)
            is_idle = deployment.plan.starts_on_lease and client is not None and has_none
            return _tenant(
                client, tenant, there, is_wired=tenant.name not in unwired, is_idle=is_idle
            )

        tenants = tuple(pool.map(one, deployment.plan.tenants))
        found = (
            *_drift_of_records(deployment),
            *_drift_of_resources(client, deployment, there, unwired),
            *of_sut.result().drift,
        )
        return Status(
            id=deployment.record.id,
            name=deployment.record.name,
            parts=(*_parts(deployment, client), *of_sut.result().parts),
            tenants=tenants,
            leases=lease.claims(deployment.folder),
            drift=found,
            gaps=of_sut.result().gaps,
        )


def _tenant(
    client: docker.DockerClient | None,
    tenant: TenantPlan,
    there: Mapping[str, Present],
    *,
    is_wired: bool,
    is_idle: bool,
) -> TenantStatus:
    def problem_of(container: ContainerPlan) -> str:
        if client is None:
            return dockerd.NOT_KNOWN
        found = there.get(container.name)
        return _service_problem(client, tenant, container, found.state if found else "missing")

    services = tuple(
        ServiceStatus(
            container.role,
            str(container.addresses[0].ip),
            "" if is_idle else problem_of(container),
        )
        for container in tenant.containers
    )
    addresses = tuple(str(address.ip) for address in tenant.server_addresses)
    problem = "" if is_wired else "its link or router is missing"
    return TenantStatus(tenant.name, tenant.fib, addresses, services, problem, is_idle)


def _service_problem(
    client: docker.DockerClient, tenant: TenantPlan, container: ContainerPlan, state: str
) -> str:
    if state != "running":
        return state
    try:
        return ask(client, tenant, container)
    except TestbedError as error:
        return error.message


def _parts(deployment: Deployment, client: docker.DockerClient | None) -> tuple[PartStatus, ...]:
    has_ipam = ipam.is_serving(deployment.plan.ipam_driver)
    return (
        PartStatus("dockerd", client is not None, "answers" if client else "does not answer"),
        PartStatus("ipam", has_ipam, "serves" if has_ipam else "not running"),
    )


def _examine_sut(deployment: Deployment) -> _OfSut:
    sut = deployment.sut()
    health = sut.health()
    part = PartStatus("sut", health.ok, health.detail)
    if not health.ok:
        return _OfSut((part,))
    gaps = deployment.gaps()
    if gaps:
        lacks = PartStatus("fibs", ok=True, detail="not applied: the SUT lacks what they need")
        return _OfSut((part, lacks), gaps=gaps)
    found = _drift_of_fibs(deployment, sut)
    count = len(deployment.plan.sut.fibs)
    detail = f"{len(found)} differences from the plan" if found else f"{count:,} as planned"
    problem = daemon.problem(sut, deployment.plan)
    return _OfSut(
        (
            part,
            PartStatus("fibs", not found, detail),
            PartStatus("daemon", not problem, problem or "serves"),
        ),
        found,
    )


def _drift_of_fibs(deployment: Deployment, sut: Sut) -> tuple[Drift, ...]:
    limit_s = _SHOW_LIMIT_S + _SHOW_FIB_LIMIT_S * len(deployment.plan.sut.fibs)
    argv = ["fibctl", "show", "--format", "json"]
    answer = sut.channel.run(argv, check=False, timeout_s=limit_s)
    if answer.returncode != 0:
        return (Drift("sut", answer.stderr.strip() or "fibctl failed", "testbed up"),)
    return tuple(drift.of_fibs(deployment.plan, json.loads(answer.stdout)))


def _drift_of_records(deployment: Deployment) -> Iterable[Drift]:
    store = Store(deployment.folder.parent)
    yield from drift.of_topology(deployment.record, recorded_topology(store, deployment.record))
    marked = lease.changed(deployment.folder)
    for name in sorted(marked.tenants) + (["sut"] if marked.whole else []):
        found = "a killed or failed scenario may have changed it"
        yield Drift(name, found, "nothing to do: it is restored at its next lease")


def _drift_of_resources(
    client: docker.DockerClient | None,
    deployment: Deployment,
    there: Mapping[str, Present],
    unwired: set[str],
) -> Iterable[Drift]:
    plan = deployment.plan
    spaces = [tenant.router.netns for tenant in plan.tenants]
    yield from drift.of_names("namespaces", spaces, links.namespaces_of(plan.deployment))
    hosted = [deployment.uplink, *(tenant.network.parent for tenant in plan.tenants)]
    yield from drift.of_names("links", hosted, links.links_of(plan.deployment))
    if client is None:
        return
    yield from drift.of_names("containers", [c.name for _, c in plan.containers()], there)
    planned = [tenant.network.name for tenant in plan.tenants]
    yield from drift.of_names("networks", planned, networks.names(client, plan.deployment))
    tags = images.current_tags(client)
    recipes = {
        container.name: recipe_of(
            deployment, tenant, container, tags, links.link_number(tenant)
        ).digest()
        for tenant, container in plan.containers()
        if container.name in there and tenant.name not in unwired
    }
    yield from drift.of_recipes(recipes, {name: found.recipe for name, found in there.items()})
