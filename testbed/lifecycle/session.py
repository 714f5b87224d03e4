"""Deployments for the length of a test run: shared by its processes, removed when it started them.

A mark in the deployment's folder, there before the first resource, names the run that started it, as
RUN PID START. If that process was killed, the next run that finds the mark takes the deployment over
and removes it at its end.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path

from testbed.drivers import hostlock, process
from testbed.errors import WaitTimeoutError
from testbed.events import Events
from testbed.lifecycle import lease
from testbed.lifecycle.deployment import Deployment, open_deployment, recorded_topology
from testbed.lifecycle.down import remove_deployment, stop_shared
from testbed.lifecycle.lease import changed, lease_deployment, mark_restored
from testbed.lifecycle.restore import remove_routers, set_clock
from testbed.lifecycle.store import Record, Store
from testbed.lifecycle.up import bring_up
from testbed.model.load import load_topology

_LIMIT_S = 900.0
_STARTED, _VERIFIED = "started-by", "verified-by"


def run_id(name: str) -> str:
    """Return what names this run, with the process that will call `remove_started`: us."""
    return f"{name} {os.getpid()} {process.started_at(os.getpid())}"


def controller_of(run: str) -> int:
    """Return the pid of the process that will call `remove_started` for `run`."""
    return int(run.split()[1])


def deployment_for(
    store: Store, topology: Path, run: str, events: Events, *, as_is: bool = False
) -> Deployment:
    """Return the deployment of `topology`, brought up or verified once for this `run` (`run_id`).

    With `as_is` one that is recorded is not looked at.
    """
    name = load_topology(topology).name
    record = store.find(name) if as_is else None
    if record is not None:
        return open_deployment(store, record)
    # One process of the run looks; the others wait and take its word.
    with hostlock.held(store.session_lock(name), limit_s=_LIMIT_S):
        return _verified(store, topology, name, run, events)


def _verified(store: Store, topology: Path, name: str, run: str, events: Events) -> Deployment:
    record = store.find(name)
    if record is not None and _read(store, record, _VERIFIED) == run:
        return open_deployment(store, record)
    deployment = _ready(store, topology, record, run, events)
    record = deployment.record
    with store.locked(record, events):
        if _is_abandoned(_read(store, record, _STARTED)):
            _write(store, record, _STARTED, run)
        _write(store, record, _VERIFIED, run)
    return deployment


def _ready(
    store: Store, topology: Path, record: Record | None, run: str, events: Events
) -> Deployment:
    """Bring the topology up, or confirm and repair what runs, unless somebody is using it.

    A scenario of another run may have stopped a service or a router on purpose: that is not ours to
    repair, nor to wait for.
    """
    if record is None or recorded_topology(store, record) != load_topology(topology):
        return bring_up(store, topology, events, marks={_STARTED: run})
    folder = store.folder(record.id)
    with ExitStack() as stack:
        try:
            stack.enter_context(lease_deployment(folder, purpose="check before a run", limit_s=0.5))
        except WaitTimeoutError:
            events.note("used as it is", f"others use {record.name!r}: testbed status")
            return open_deployment(store, record)
        found = changed(folder)
        deployment = open_deployment(store, record)
        remove_routers(deployment, found.tenants)
        deployment = bring_up(store, topology, events, marks={_STARTED: run})
        if found.whole:
            set_clock(deployment)
        mark_restored(folder, found)
    return deployment


def remove_started(store: Store, run: str, events: Events) -> None:
    """Remove every deployment that `run`, or a run that was killed, started; none that is in use."""
    chosen = [record for record in store.all() if _is_for(store, record, run)]
    for record in chosen:
        remove_deployment(store, record, events)
    if chosen:
        stop_shared(store, events)


def keep_started(store: Store, run: str) -> None:
    """Leave the deployments that `run` started as if they had been there before."""
    for record in store.all():
        if _read(store, record, _STARTED) == run:
            (store.folder(record.id) / _STARTED).unlink()


def _is_for(store: Store, record: Record, run: str) -> bool:
    mark = _read(store, record, _STARTED)
    if mark == run:
        return True
    return _is_abandoned(mark) and not lease.holders(store.folder(record.id))


def _is_abandoned(mark: str) -> bool:
    """Whether the run of `mark` was killed: another process may have its pid by now."""
    if not mark:
        return False
    _, pid, started = [*mark.split(), "0", "0"][:3]
    return process.started_at(int(pid)) != int(started)


def _read(store: Store, record: Record, name: str) -> str:
    try:
        return (store.folder(record.id) / name).read_text()
    except FileNotFoundError:
        return ""


def _write(store: Store, record: Record, name: str, run: str) -> None:
    path = store.folder(record.id) / name
    beside = path.with_name(f".{name}.new")
    beside.write_text(run)
    beside.replace(path)
