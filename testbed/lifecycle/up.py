"""Brings a topology up: records its id, then makes whatever of its plan is missing.

Every step looks first and is repeated harmlessly, so the same code starts, repairs and confirms a
deployment; Ctrl-C and SIGKILL need no handler. Two branches run side by side: the SUT with its FIBs
and its daemon, and the tenants' images, links and services. They meet at the daemon's keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker

from testbed.drivers import containers, dockerd, hostlock, images, links, networks
from testbed.errors import PreflightError, TestbedError
from testbed.events import Events
from testbed.lifecycle import capacity, claim, daemon, lease, preflight
from testbed.lifecycle.deployment import Deployment, open_deployment, recorded_topology
from testbed.lifecycle.down import remove_deployment
from testbed.lifecycle.history import recorded
from testbed.lifecycle.plugins import ensure_drivers
from testbed.lifecycle.store import Record, RemovedError, Store, cache_root
from testbed.lifecycle.tenants import ensure_tenant
from testbed.model.fields import require_name
from testbed.model.load import load_topology
from testbed.model.topology import Topology
from testbed.plan.fibstate import fib_state
from testbed.plan.resources import Role, TenantPlan, VmPlan
from testbed.sut.protocol import Sut

_TENANTS_AT_ONCE = 4
_STOP_LIMIT_S = 120


@dataclass(frozen=True, slots=True)
class _Wanted:
    name: str
    topology: Topology
    path: Path
    marks: Mapping[str, str]


def bring_up(
    store: Store,
    topology_file: Path,
    events: Events,
    *,
    name: str = "",
    marks: Mapping[str, str] | None = None,
) -> Deployment:
    """Bring the topology up under `name` (the topology's own unless given), or repair it.

    A deployment of that name whose topology was another is removed first. `marks` are files for
    the folder of a deployment that is new. On a machine of the user's that lacks what an extension
    needs (`Deployment.gaps`), everything but FIBs and daemon is brought up.

    Raises:
        InputError: when the file is wrong, or the name; nothing was made then.
        PreflightError: when the host lacks something; nothing was made then.
        TestbedError: when a step failed; what was made is repaired by the next call.
    """
    topology = load_topology(topology_file)
    if name:
        require_name(name, where="--name")
    wanted = _Wanted(name or topology.name, topology, topology_file, marks or {})
    store.require_ours()
    preflight.require(store.root, cache_root())
    store.sweep()
    for one in store.look().unusable:
        events.note("left alone", str(one))
    with hostlock.held(hostlock.IN_USE, shared=True, limit_s=_STOP_LIMIT_S):
        while True:
            record = _record(store, wanted, events)
            try:
                with store.locked(record, events):
                    deployment = open_deployment(store, record)
                    with recorded(deployment.folder, events):
                        has_fibs = _refuse_what_cannot_be(store, deployment, events)
                        _converge(deployment, events, has_fibs=has_fibs)
            except RemovedError:
                continue  # by a `down` that was there first
            return deployment


def repair(store: Store, deployment: Deployment, events: Events) -> None:
    """Bring whatever a deployment lacks, and give its SUT the state of the plan again.

    Raises:
        TestbedError: when a step failed.
    """
    with (
        hostlock.held(hostlock.IN_USE, shared=True, limit_s=_STOP_LIMIT_S),
        store.locked(deployment.record, events),
        recorded(deployment.folder, events),
    ):
        _converge(deployment, events, has_fibs=claim.reach(deployment, events))


def _refuse_what_cannot_be(store: Store, deployment: Deployment, events: Events) -> bool:
    """Refuse what does not fit or cannot be reached, before anything is made; return what `claim.reach` does."""
    identity = deployment.record.id
    is_new = not links.namespaces_of(identity) and not claim.is_taken(deployment.folder)
    try:
        if is_new:  # what runs already has shown that it fits
            _check_budget(deployment, events)
            claim.refuse_shared_uplink(store, deployment)
        return claim.reach(deployment, events)
    except PreflightError:
        if is_new:  # nothing of it was made
            deployment.sut().stop()
            store.forget(identity)
        raise


def _record(store: Store, wanted: _Wanted, events: Events) -> Record:
    name = wanted.name
    while True:
        with store.naming():
            found = store.find(name)
            if found is None:
                return store.create(name, wanted.path, wanted.marks)
        if _runs(store, found, wanted.topology):
            return found
        holders = lease.holders(store.folder(found.id))
        if holders:
            raise TestbedError(
                f"deployment {name!r} runs another topology and is in use by {', '.join(holders)}",
                hint="wait for them, or give this one another name: testbed up --name OTHER",
            )
        events.note("replace", f"deployment {name!r} ran another topology")
        remove_deployment(store, found, events)


def _runs(store: Store, record: Record, topology: Topology) -> bool:
    try:
        return recorded_topology(store, record) == topology
    except TestbedError:  # removed meanwhile, or recorded by another version of ours
        return False


def _converge(deployment: Deployment, events: Events, *, has_fibs: bool) -> None:
    plan, sut = deployment.plan, deployment.sut()
    if isinstance(plan.sut.machine, VmPlan):
        tap = plan.sut.machine.tap
        links.ensure_tap(tap)
        if sut.is_running() and not links.has_carrier(tap):
            events.note("the tap was removed", "the SUT is plugged into the new one")
            sut.stop()
    with ThreadPoolExecutor(3, thread_name_prefix="up") as pool:
        client = pool.submit(dockerd.ensure, events, deployment.folder.parent / "dockerd.log")
        built = pool.submit(_images, client, events)
        machine = pool.submit(_start_sut, deployment, sut, events, has_fibs=has_fibs)
        rewired = _wire(deployment, events)
        services = pool.submit(_start_services, deployment, client, built, rewired, events)
        _first_error(client, built, machine, services)
    if has_fibs:
        daemon.give_keys(client.result(), deployment, services.result())


def _check_budget(deployment: Deployment, events: Events) -> None:
    """Refuse what does not fit.

    Raises:
        PreflightError: with what is lacking, in numbers.
    """
    lines = capacity.budget(deployment.plan)
    for line in lines:
        if line.unit or not line.fits:
            events.note("budget", str(line))
    capacity.require(lines)


def _images(client: Future[docker.DockerClient], events: Events) -> dict[Role, str]:
    return images.ensure_images(client.result(), cache_root(), events)


def _start_sut(deployment: Deployment, sut: Sut, events: Events, *, has_fibs: bool) -> None:
    if not deployment.remote:
        sut.start(events)
    if not has_fibs:
        events.note("FIBs are not configured", "the SUT lacks what the extensions need")
        return
    with events.step("configure FIBs"):
        sut.apply(fib_state(deployment.plan))
    with events.step("start the daemon"):
        daemon.ensure(deployment.plan, sut)


def _wire(deployment: Deployment, events: Events) -> tuple[TenantPlan, ...]:
    """Make missing routers; return their tenants, whose containers lost their link with it."""
    plan, uplink = deployment.plan, deployment.uplink
    missing = links.incomplete_tenants(plan, uplink)
    if not missing:
        events.note("routers run", f"{len(plan.tenants)} tenants")
        return ()
    with events.step(f"wire {len(missing)} tenants"):
        links.make_tenants(plan, missing, uplink)
    return missing


def _start_services(
    deployment: Deployment,
    client: Future[docker.DockerClient],
    built: Future[dict[Role, str]],
    rewired: tuple[TenantPlan, ...],
    events: Events,
) -> tuple[TenantPlan, ...]:
    """Start the services, or repair those that run where they start on lease; return whose."""
    plan = deployment.plan
    ensure_drivers(Store(deployment.folder.parent), deployment.record)
    docker_client = client.result()
    present = containers.tenants_with_any(docker_client, plan.deployment)
    for tenant in rewired:
        if tenant.name in present:
            containers.remove_containers(docker_client, plan.deployment, tenant=tenant.name)
            networks.remove(docker_client, plan.deployment, tenant=tenant.name)
    wanted = plan.tenants
    if plan.starts_on_lease:
        gone = {tenant.name for tenant in rewired}
        wanted = tuple(t for t in plan.tenants if t.name in present - gone)
        events.note("services", f"start when their tenant is first leased; {len(wanted)} run")
    tags = built.result()

    def ensure(tenant: TenantPlan) -> None:
        with events.step("start services", tenant=tenant.name):
            ensure_tenant(docker_client, deployment, tenant, tags, events)

    with ThreadPoolExecutor(_TENANTS_AT_ONCE, thread_name_prefix="tenant") as pool:
        _first_error(*[pool.submit(ensure, tenant) for tenant in wanted])
    return wanted


def _first_error(*futures: Future[Any]) -> None:
    """Wait for all; raise what failed: one error alone, several as a group."""
    errors = [error for future in futures if (error := future.exception()) is not None]
    distinct = list(dict.fromkeys(errors))  # a branch that waited for another has its error too
    if len(distinct) == 1:
        raise distinct[0]
    if distinct:
        raise BaseExceptionGroup("several steps failed", distinct)
