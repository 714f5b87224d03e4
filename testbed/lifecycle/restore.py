"""Restores what a killed process, or one that failed to clean up, may have left changed.

A tenant is made anew: its router, its network, its containers, their data. That takes a few seconds
and leaves nothing to chance. What all share is given the plan's state again and checked, as `up`
does it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import docker

from testbed.drivers import containers, images, links, namespace, networks
from testbed.drivers import store as built
from testbed.events import Events
from testbed.lifecycle import daemon
from testbed.lifecycle.deployment import Deployment
from testbed.lifecycle.lease import Changed, changed, mark_restored
from testbed.lifecycle.store import Store, cache_root
from testbed.lifecycle.tenants import ensure_tenant
from testbed.lifecycle.up import repair
from testbed.plan.resources import TenantPlan

_LIMIT_S = 600.0


def restore_changed(
    client: docker.DockerClient,
    store: Store,
    deployment: Deployment,
    names: Sequence[str],
    events: Events,
) -> Changed:
    """Restore what is marked as changed of the tenants `names`, which the caller has leased.

    What all share is restored by whoever comes first; the others wait for that.

    Raises:
        TestbedError: when it cannot be restored; it stays marked.
    """
    if not changed(deployment.folder):
        return Changed(frozenset(), whole=False)
    with built.locked(deployment.folder / "restore", limit_s=_LIMIT_S):
        found = changed(deployment.folder)
        # With all, since repairing looks at every tenant: who leased them waits for this lock.
        mine = found if found.whole else Changed(found.tenants & set(names), whole=False)
        if mine.whole:
            with events.step("restore what all tenants share"):
                remove_routers(deployment, mine.tenants)
                repair(store, deployment, events)
                set_clock(deployment)
        else:
            for name in sorted(mine.tenants):
                with events.step("make anew after a change", tenant=name):
                    _make_anew(client, deployment, deployment.plan.tenant(name))
        mark_restored(deployment.folder, mine)
    return mine


def remove_routers(deployment: Deployment, tenants: Collection[str]) -> None:
    """Remove the routers of `tenants`: without its router, `up` makes all of a tenant anew."""
    for name in tenants:
        namespace.delete(deployment.plan.tenant(name).router.netns)


def set_clock(deployment: Deployment) -> None:
    """Set the SUT's clock, which no state of the plan tells; a user's own machine keeps its time."""
    if not deployment.remote:
        deployment.sut().set_clock()


def _make_anew(client: docker.DockerClient, deployment: Deployment, tenant: TenantPlan) -> None:
    plan = deployment.plan
    had = tenant.name in containers.tenants_with_any(client, plan.deployment)
    containers.remove_containers(client, plan.deployment, tenant=tenant.name)
    networks.remove(client, plan.deployment, tenant=tenant.name)
    namespace.delete(tenant.router.netns)
    links.make_tenants(plan, (tenant,), deployment.uplink)
    if had or not plan.starts_on_lease:
        tags = images.ensure_images(client, cache_root(), Events())
        ensure_tenant(client, deployment, tenant, tags, Events())
        if not deployment.gaps():
            daemon.give_keys(client, deployment, (tenant,))
