"""The IPAM drivers of deployments, as Docker needs them: one each, and all of them when it starts."""

from __future__ import annotations

from pathlib import Path

from testbed.drivers import dockerd, ipam
from testbed.lifecycle.store import Record, Store
from testbed.plan.identity import DeploymentId
from testbed.plan.names import ipam_driver


def ipam_owner(deployment: DeploymentId) -> str:
    """Return the owner mark of the IPAM driver's processes."""
    return f"{deployment}/ipam"


def ensure_driver(deployment: DeploymentId, root: Path) -> None:
    """Start the IPAM driver of `deployment`, recorded in `root`, unless it serves."""
    ipam.ensure_running(ipam_driver(deployment), ipam_owner(deployment), root / deployment)


def ensure_drivers(store: Store, record: Record) -> None:
    """Start the IPAM driver of `record`; those of all deployments if no Docker daemon runs.

    A daemon that starts restores every network it knows, and waits long for a driver that is gone.
    """
    others = () if dockerd.connect() else store.look().removable
    for one in {record.id, *(other.id for other in others)}:
        ensure_driver(one, store.root)
