"""Removes a deployment: enumerate what carries its id, remove it in reverse order, report all.

Each step stands alone: an error in one does not keep the others from their work, and all errors
come out together. The record goes last, and only when nothing failed, so that the next `down` can
go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from testbed.drivers import containers, dockerd, ipam, links, namespace, process
from testbed.errors import TestbedError
from testbed.events import Events
from testbed.lifecycle.store import Record, Store
from testbed.plan.names import ipam_driver
from testbed.plan.resources import DeploymentId


def remove_deployment(store: Store, record: Record, events: Events) -> None:
    """Remove everything of `record`, whatever state it is in, and then the record itself.

    Raises:
        ExceptionGroup: with the error of each step that failed.
    """
    deployment = record.id
    with store.locked(record, events):
        errors = _attempt_all(
            events,
            (
                ("stop processes", lambda: _stop_processes(deployment)),
                ("remove containers and networks", lambda: _clear_docker(deployment, store.root)),
                ("stop IPAM driver", lambda: _stop_ipam(deployment)),
                ("remove routers", lambda: _remove_routers(deployment)),
                ("remove links", lambda: links.await_links_gone(deployment)),
            ),
        )
        if errors:
            raise ExceptionGroup(f"deployment {record.name!r} could not be removed whole", errors)
        store.forget(deployment)


def stop_shared(store: Store, events: Events) -> None:
    """Stop a Docker daemon that we started, once no deployment and no container needs it."""
    if not store.all() and dockerd.is_ours():
        with events.step("stop dockerd"):
            dockerd.stop_ours()


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


def _ipam_owner(deployment: DeploymentId) -> str:
    return f"{deployment}/ipam"


def _stop_processes(deployment: DeploymentId) -> None:
    """Stop the VM and the guest channel; Docker still needs the IPAM driver."""
    keep = set(process.owned(_ipam_owner(deployment)))
    _stop_all(set(process.owned(f"{deployment}/")) - keep)


def _stop_ipam(deployment: DeploymentId) -> None:
    _stop_all(set(process.owned(_ipam_owner(deployment))))
    ipam.socket_of(ipam_driver(deployment)).unlink(missing_ok=True)


def _stop_all(pids: set[int]) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(process.stop, pids))


def _clear_docker(deployment: DeploymentId, root: Path) -> None:
    """Remove containers and networks; starts the daemon and the IPAM driver if it must."""
    client = dockerd.connect()
    if client is None:
        if not dockerd.may_hold_state():
            return
        client = dockerd.ensure(Events(), root / "dockerd.log")
    containers.remove_containers(client, deployment)
    if containers.count_networks(client, deployment):
        ipam.ensure_running(ipam_driver(deployment), _ipam_owner(deployment), root / deployment)
        containers.remove_networks(client, deployment)


def _remove_routers(deployment: DeploymentId) -> None:
    namespace.delete_all(links.namespaces_of(deployment))
