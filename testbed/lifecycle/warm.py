"""Services on the first lease: made when a tenant is first wanted, kept warm, stopped when long idle.

Whose services run is asked of Docker; when each was last wanted is the time of a file of the
deployment. How many are kept follows from the machine's memory (`capacity`). A tenant is cooled
only under a lease on it, so that nobody uses it meanwhile.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import docker

from testbed.drivers import containers, images, links, networks
from testbed.errors import WaitTimeoutError
from testbed.events import Events
from testbed.lifecycle import capacity, daemon
from testbed.lifecycle.deployment import Deployment
from testbed.lifecycle.lease import lease_tenants
from testbed.lifecycle.store import cache_root
from testbed.lifecycle.tenants import ensure_tenant
from testbed.plan.resources import ContainerPlan, Role, TenantPlan

_FOLDER = "wanted"
_AT_ONCE = 4


def ensure_warm(
    client: docker.DockerClient,
    deployment: Deployment,
    names: Sequence[str],
    events: Events,
    *,
    alone: bool = False,
    roles: Collection[Role] = (),
) -> tuple[str, ...]:
    """Let the services of the tenants called `names` run; return whose had to be started.

    The caller holds a lease on them; `alone`: on the whole deployment. Where services start with
    `up`, they run already. With `roles` only those are asked for.
    """
    plan = deployment.plan
    if not plan.starts_on_lease:
        return ()
    for name in names:
        _touch(deployment, name)
    running = _running(client, deployment)
    cold = [
        tenant
        for tenant in map(plan.tenant, names)
        if any(container.name not in running for container in _asked(tenant, roles))
    ]
    if not cold:
        return ()
    wanted = sum(len(_asked(tenant, roles)) for tenant in cold)
    excess = len(running) + wanted - capacity.warm_limit(plan, len(running))
    if excess > 0:
        idle = _idle(deployment, running, set(names))
        with events.step(f"stop services, {excess} containers too many"):
            _cool(client, deployment, idle, excess, alone=alone)
    _start(client, deployment, cold, roles, events)
    return tuple(tenant.name for tenant in cold)


def stop_services(
    client: docker.DockerClient, deployment: Deployment, tenants: Sequence[TenantPlan]
) -> None:
    """Stop the services of `tenants`, on which the caller holds a lease."""
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="cool") as pool:
        for _ in pool.map(lambda tenant: _stop(client, deployment, tenant), tenants):
            pass


def warm_tenants(
    client: docker.DockerClient, deployment: Deployment, *roles: Role
) -> frozenset[str]:
    """Return the names of the tenants that have any container running, or any of `roles`."""
    running = _running(client, deployment)
    return frozenset(
        tenant.name
        for tenant, container in deployment.plan.containers()
        if container.name in running and (not roles or container.role in roles)
    )


def _asked(tenant: TenantPlan, roles: Collection[Role]) -> tuple[ContainerPlan, ...]:
    return tuple(c for c in tenant.containers if not roles or c.role in roles)


def _running(client: docker.DockerClient, deployment: Deployment) -> frozenset[str]:
    states = containers.states(client, deployment.plan.deployment)
    return frozenset(name for name, state in states.items() if state == "running")


def _start(
    client: docker.DockerClient,
    deployment: Deployment,
    cold: Sequence[TenantPlan],
    roles: Collection[Role],
    events: Events,
) -> None:
    tags = images.ensure_images(client, cache_root(), Events())

    def start(tenant: TenantPlan) -> None:
        links.unhost_client(tenant)  # a scenario that was killed may have played it
        ensure_tenant(client, deployment, tenant, tags, Events(), roles=roles)

    with events.step(f"start services of {_counted(cold)}"):
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="warm") as pool:
            for _ in pool.map(start, cold):
                pass
        if not deployment.gaps() and (
            not roles or {Role.LDAP, Role.KDC}.intersection(role.kind for role in roles)
        ):
            daemon.give_keys(client, deployment, cold)


def _idle(
    deployment: Deployment, running: frozenset[str], spared: Collection[str]
) -> list[TenantPlan]:
    """Return the tenants whose services run, longest unwanted first."""
    idle = [
        tenant
        for tenant in deployment.plan.tenants
        if tenant.name not in spared and any(c.name in running for c in tenant.containers)
    ]
    return sorted(idle, key=lambda tenant: _last_wanted(deployment, tenant.name))


def _cool(
    client: docker.DockerClient,
    deployment: Deployment,
    idle: Sequence[TenantPlan],
    excess: int,
    *,
    alone: bool,
) -> None:
    """Stop the services of `idle` tenants that nobody leases until `excess` containers have gone.

    Where all are leased, fewer go: the machine's reserve bears it for a while.
    """
    for tenant in idle:
        if excess <= 0:
            return
        if alone:
            excess -= _stop(client, deployment, tenant)
            continue
        try:
            with lease_tenants(
                deployment.folder, [[tenant.name]], purpose="stop services", limit_s=0
            ):
                excess -= _stop(client, deployment, tenant)
        except WaitTimeoutError:
            continue  # somebody uses it


def _stop(client: docker.DockerClient, deployment: Deployment, tenant: TenantPlan) -> int:
    identity = deployment.plan.deployment
    gone = containers.remove_containers(client, identity, tenant=tenant.name)
    networks.remove(client, identity, tenant=tenant.name)
    return gone


def _touch(deployment: Deployment, name: str) -> None:
    folder = deployment.folder / _FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    (folder / name).touch()


def _last_wanted(deployment: Deployment, name: str) -> float:
    path: Path = deployment.folder / _FOLDER / name
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _counted(tenants: Sequence[TenantPlan]) -> str:
    return tenants[0].name if len(tenants) == 1 else f"{len(tenants)} tenants"
