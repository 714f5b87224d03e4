"""Removes a deployment: enumerate what carries its id, remove it in reverse order, report all.

Each step stands alone: an error in one does not keep the others from their work, and all errors
come out together. The record goes last, and only when nothing failed, so that the next `down` can
go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import docker

from testbed.drivers import containers, dockerd, hostlock, ipam, links, namespace, networks, process
from testbed.errors import TestbedError
from testbed.events import Events
from testbed.lifecycle import claim
from testbed.lifecycle.deployment import open_deployment, recorded_topology
from testbed.lifecycle.history import recorded
from testbed.lifecycle.plugins import ensure_driver, ensure_drivers, ipam_owner
from testbed.lifecycle.store import Record, RemovedError, Store
from testbed.plan.identity import DeploymentId
from testbed.plan.names import ipam_driver

_PASSES = 3


def remove_deployment(
    store: Store, record: Record, events: Events, *, leave_sut: bool = False
) -> None:
    """Remove everything of `record`, whatever state it is in, and then the record itself.

    One that another process has just removed is fine. `leave_sut` leaves a machine of the user's as
    it is.

    Raises:
        ExceptionGroup: with the error of each step that failed.
    """
    deployment = record.id
    tenants = _tenants(store, record)
    try:
        with store.locked(record, events), recorded(store.folder(deployment), events):
            errors = [] if leave_sut else _release_machine(store, record, events)
            errors += _attempt_all(
                events,
                (
                    ("stop processes", lambda: _stop_processes(deployment)),
                    (
                        "remove containers and networks",
                        lambda: _clear_docker(store, record, events),
                    ),
                    ("stop IPAM driver", lambda: _stop_ipam(deployment)),
                    ("remove routers", lambda: _remove_routers(deployment, tenants)),
                    ("remove links", lambda: _remove_links(deployment, tenants)),
                    ("look again", lambda: _look_again(deployment)),
                ),
            )
            if errors:
                message = f"deployment {record.name!r} could not be removed whole"
                raise ExceptionGroup(message, errors)
            store.forget(deployment)
    except RemovedError:
        events.note("removed", f"another command has just removed {record.name!r}")


def stop_shared(store: Store, events: Events) -> None:
    """Undo what deployments share, once none is left: a Docker daemon of ours, a mount, a folder.

    Nothing happens while there is a deployment or another process makes one, wherever that is
    recorded: one that has no container wants the daemon at its next lease.
    """
    found = store.look()
    if found.records or found.unusable:
        return
    with hostlock.held_if_free(hostlock.IN_USE) as is_free:
        if is_free and not links.are_anybodys():
            if dockerd.is_ours():
                with events.step("stop dockerd"):
                    dockerd.stop_ours()
            dockerd.remove_traces()
            if not dockerd.is_ours():  # somebody else may have ended it, and left its log
                (store.root / "dockerd.log").unlink(missing_ok=True)
            namespace.remove_mount()
            hostlock.tidy(hostlock.SHARED)
    store.close()


def _release_machine(store: Store, record: Record, events: Events) -> list[Exception]:
    """Take what is on a machine of the user's off, while it can still be reached."""
    if not claim.is_taken(store.folder(record.id)):
        return []
    try:
        deployment = open_deployment(store, record)
    except TestbedError as error:
        problem = f"which machine deployment {record.name!r} is on cannot be read: {error.message}"
        hint = f"leave that machine as it is: testbed down {record.id} --leave-sut"
        return [TestbedError(problem, hint=hint)]
    try:
        claim.release(deployment, events)
    except TestbedError as error:
        return [error]
    return []


def _tenants(store: Store, record: Record) -> dict[str, int] | None:
    """Return the recorded tenants' names and numbers, None when the record cannot be read."""
    try:
        topology = recorded_topology(store, record)
    except (TestbedError, OSError):  # of another version of ours, or removed meanwhile
        return None
    return {name: index for index, name, _ in topology.numbered()}


def _attempt_all(
    events: Events, steps: Iterable[tuple[str, Callable[[], None]]]
) -> list[Exception]:
    errors: list[Exception] = []
    for name, action in steps:
        try:
            with events.step(name):
                action()
        except (TestbedError, OSError) as error:
            errors.append(error)
    return errors


def _stop_processes(deployment: DeploymentId) -> None:
    """Stop the VM and the guest channel; Docker still needs the IPAM driver."""
    keep = set(process.owned(ipam_owner(deployment)))
    _stop_all(set(process.owned(f"{deployment}/")) - keep)


def _stop_ipam(deployment: DeploymentId) -> None:
    _stop_all(set(process.owned(ipam_owner(deployment))))
    ipam.remove_sockets(ipam_driver(deployment))


def _stop_all(pids: set[int]) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(process.stop, pids))


def _clear_docker(store: Store, record: Record, events: Events) -> None:
    """Remove containers and networks; starts the daemon and the IPAM driver if it must."""
    deployment, root = record.id, store.root
    client = dockerd.connect()
    if client is None:
        if not dockerd.may_hold_state():
            return
        ensure_drivers(store, record)
        client = dockerd.ensure(events, root / "dockerd.log")
    _remove_all(client, deployment, root)


def _remove_all(client: docker.DockerClient, deployment: DeploymentId, root: Path) -> None:
    containers.remove_containers(client, deployment)
    if networks.names(client, deployment):
        ensure_driver(deployment, root)
        networks.remove(client, deployment)


def _remove_routers(deployment: DeploymentId, tenants: dict[str, int] | None) -> None:
    namespace.delete_all(links.namespaces_of(deployment, tenants))


def _remove_links(deployment: DeploymentId, tenants: dict[str, int] | None) -> None:
    links.await_links_gone(deployment, None if tenants is None else frozenset(tenants.values()))


def _look_again(deployment: DeploymentId) -> None:
    """Look for what Docker finished meanwhile: it goes on with requests of a killed `up`.

    No network of ours is left for a container to start on, and no link for a network.
    """
    client = dockerd.connect()
    for _ in range(_PASSES if client is not None else 0):
        found = containers.remove_containers(client, deployment)
        if not found and not networks.names(client, deployment):
            return
        networks.remove(client, deployment)
