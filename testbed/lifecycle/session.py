"""Deployments for the length of a test run: shared by its processes, removed when it started them.

A mark in the deployment's folder names the run that started it, as RUN PID. If that process was
killed, the next run that finds the mark takes the deployment over and removes it at its end.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from testbed.drivers import namespace
from testbed.drivers import store as built
from testbed.errors import WaitTimeoutError
from testbed.events import Events
from testbed.lifecycle.deployment import Deployment, open_deployment, recorded_topology
from testbed.lifecycle.down import remove_deployment, stop_shared
from testbed.lifecycle.lease import changed, lease_deployment, mark_restored
from testbed.lifecycle.store import Record, Store
from testbed.lifecycle.up import bring_up
from testbed.model.load import load_topology

_LIMIT_S = 900.0
_STARTED, _VERIFIED = "started-by", "verified-by"


def deployment_for(store: Store, topology: Path, run: str, events: Events) -> Deployment:
    """Return the deployment of `topology`, brought up or verified once for this `run`.

    `run` is "NAME PID" with the pid of the process that will call `remove_started`.
    """
    name = load_topology(topology).name
    # One process of the run looks; the others wait and take its word.
    with built.locked(store.root / f"session-{name}", limit_s=_LIMIT_S):
        return _verified(store, topology, name, run, events)


def _verified(store: Store, topology: Path, name: str, run: str, events: Events) -> Deployment:
    record = store.find(name)
    if record is not None and _read(store, record, _VERIFIED) == run:
        return open_deployment(store, record)
    was_there = record is not None
    deployment = _ready(store, topology, record, events)
    record = deployment.record
    with store.locked(record, events):
        if not was_there or _is_abandoned(_read(store, record, _STARTED)):
            _write(store, record, _STARTED, run)
        _write(store, record, _VERIFIED, run)
    return deployment


def _ready(store: Store, topology: Path, record: Record | None, events: Events) -> Deployment:
    """Bring the topology up, or confirm and repair what runs, unless somebody is using it.

    A scenario of another run may have stopped a service or a router on purpose: that is not ours to
    repair, nor to wait for.
    """
    if record is None or recorded_topology(store, record) != load_topology(topology):
        return bring_up(store, topology, events)
    folder = store.folder(record.id)
    with ExitStack() as stack:
        try:
            stack.enter_context(lease_deployment(folder, purpose="check before a run", limit_s=0.5))
        except WaitTimeoutError:
            events.note("used as it is", f"others use {record.name!r}: testbed status")
            return open_deployment(store, record)
        found = changed(folder)
        deployment = open_deployment(store, record)
        for name in found.tenants:
            # Without its router, all of a tenant is made anew.
            namespace.delete(deployment.plan.tenant(name).router.netns)
        deployment = bring_up(store, topology, events)
        mark_restored(folder, found)
    return deployment


def remove_started(store: Store, run: str, events: Events) -> None:
    """Remove every deployment that `run` started or took over."""
    started = [record for record in store.all() if _read(store, record, _STARTED) == run]
    for record in started:
        remove_deployment(store, record, events)
    if started:
        stop_shared(store, events)


def keep_started(store: Store, run: str) -> None:
    """Leave the deployments that `run` started as if they had been there before."""
    for record in store.all():
        if _read(store, record, _STARTED) == run:
            (store.folder(record.id) / _STARTED).unlink()


def _is_abandoned(mark: str) -> bool:
    pid = mark.rpartition(" ")[2]
    return bool(mark) and not (Path("/proc") / pid).exists()


def _read(store: Store, record: Record, name: str) -> str:
    try:
        return (store.folder(record.id) / name).read_text()
    except FileNotFoundError:
        return ""


def _write(store: Store, record: Record, name: str, run: str) -> None:
    (store.folder(record.id) / name).write_text(run)
