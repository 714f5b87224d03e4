"""A deployment as commands and scenarios hold it: its record, plan, SUT and Docker client."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from testbed.errors import TestbedError, TopologyError
from testbed.lifecycle.store import Record, Store, cache_root
from testbed.model.load import load_topology
from testbed.model.topology import Topology
from testbed.plan.build import build_plan
from testbed.plan.resources import Plan, RemotePlan, VmPlan
from testbed.sut.protocol import Capability, Sut
from testbed.sut.remote import RemoteMachine
from testbed.sut.vm import LinuxVm


@dataclass(frozen=True, slots=True)
class Deployment:
    """One recorded deployment and the plan recomputed from its own copy of the topology."""

    record: Record
    plan: Plan
    folder: Path

    @property
    def remote(self) -> RemotePlan | None:
        """The machine of the user's that is the SUT; none where it is a VM of ours."""
        machine = self.plan.sut.machine
        return machine if isinstance(machine, RemotePlan) else None

    @property
    def uplink(self) -> str:
        """The host interface that is the shared segment: our VM's tap, or the user's."""
        machine = self.plan.sut.machine
        return machine.tap if isinstance(machine, VmPlan) else machine.uplink

    def sut(self) -> Sut:
        """Return the handle of the system under test; starts nothing."""
        if self.remote:
            return RemoteMachine(self.plan, self.folder)
        return LinuxVm(self.plan, self.folder, cache_root())

    def gaps(self) -> tuple[Capability, ...]:
        """Return the FIB extensions that the SUT cannot have; our own VM can have all.

        Raises:
            TestbedError: when a machine of the user's cannot be reached.
        """
        if not self.remote:
            return ()
        return tuple(found for found in self.sut().capabilities() if not found.supported)


def open_deployment(store: Store, record: Record) -> Deployment:
    """Return the deployment of `record`, whatever of it exists by now.

    Raises:
        TestbedError: when its topology is damaged, or was recorded by another version of ours.
    """
    try:
        topology = recorded_topology(store, record)
    except TopologyError as error:
        first = error.message.partition("\n")[0]
        raise TestbedError(
            f"the recorded topology of {record.name!r} is damaged or another version's: {first}",
            hint=f"remove it: testbed down {record.id}",
        ) from error
    plan = build_plan(topology, record.id)
    return Deployment(record, plan, store.folder(record.id))


def recorded_topology(store: Store, record: Record) -> Topology:
    """Return the topology as it was when the deployment was recorded."""
    return load_topology(store.topology(record.id), name=Path(record.source).stem)
