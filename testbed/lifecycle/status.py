"""What a deployment is like right now: asked of Docker, the kernel and the SUT, never remembered."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import docker

from testbed.drivers import containers, dockerd, ipam, links
from testbed.errors import TestbedError
from testbed.lifecycle import daemon, lease
from testbed.lifecycle.deployment import Deployment
from testbed.lifecycle.tenants import ask
from testbed.plan.resources import ContainerPlan, FibId, TenantPlan


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
    """One part that all tenants share: the SUT, its daemon, the IPAM driver."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Status:
    """A whole deployment."""

    id: str
    name: str
    parts: tuple[PartStatus, ...]
    tenants: tuple[TenantStatus, ...]
    leases: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether everything is as the plan wants it."""
        return all(part.ok for part in self.parts) and all(tenant.ok for tenant in self.tenants)


def examine(deployment: Deployment) -> Status:
    """Ask every part of the deployment how it is; takes a few seconds at most."""
    client = dockerd.connect()
    with ThreadPoolExecutor(4) as pool:
        parts = pool.submit(_parts, deployment, client)
        unwired = {tenant.name for tenant in _unwired(deployment)}
        states = _states(client, deployment)

        def one(tenant: TenantPlan) -> TenantStatus:
            is_idle = deployment.plan.starts_on_lease and not any(
                container.name in states for container in tenant.containers
            )
            return _tenant(
                client, tenant, states, is_wired=tenant.name not in unwired, is_idle=is_idle
            )

        tenants = tuple(pool.map(one, deployment.plan.tenants))
        record = deployment.record
        held = lease.holders(deployment.folder)
        return Status(record.id, record.name, parts.result(), tenants, held)


def _unwired(deployment: Deployment) -> Sequence[TenantPlan]:
    return links.incomplete_tenants(deployment.plan, deployment.uplink)


def _states(client: docker.DockerClient | None, deployment: Deployment) -> dict[str, str]:
    return {} if client is None else containers.states(client, deployment.plan.deployment)


def _tenant(
    client: docker.DockerClient | None,
    tenant: TenantPlan,
    states: dict[str, str],
    *,
    is_wired: bool,
    is_idle: bool,
) -> TenantStatus:
    services = tuple(
        ServiceStatus(
            container.role,
            str(container.addresses[0].ip),
            ""
            if is_idle
            else _service_problem(client, tenant, container, states.get(container.name, "missing")),
        )
        for container in tenant.containers
    )
    addresses = tuple(str(address.ip) for address in tenant.server_addresses)
    problem = "" if is_wired else "its link or router is missing"
    return TenantStatus(tenant.name, tenant.fib, addresses, services, problem, is_idle)


def _service_problem(
    client: docker.DockerClient | None, tenant: TenantPlan, container: ContainerPlan, state: str
) -> str:
    if client is None or state != "running":
        return state
    try:
        return ask(client, tenant, container)
    except TestbedError as error:
        return error.message


def _parts(deployment: Deployment, client: docker.DockerClient | None) -> tuple[PartStatus, ...]:
    has_ipam = ipam.is_serving(deployment.plan.ipam_driver)
    parts = [
        PartStatus("dockerd", client is not None, "answers" if client else "not running"),
        PartStatus("ipam", has_ipam, "serves" if has_ipam else "not running"),
    ]
    sut = deployment.sut()
    health = sut.health()
    parts.append(PartStatus("sut", health.ok, health.detail))
    if health.ok:
        problem = daemon.problem(sut, deployment.plan)
        parts.append(PartStatus("daemon", not problem, problem or "serves"))
    return tuple(parts)
