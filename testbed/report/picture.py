"""What the report needs to know of a plan: who is where, and how frames read in words."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from testbed.plan.resources import Mac, Plan
from testbed.probe.capture import Frame
from testbed.report.record import Packet

MOST_PACKETS = 400
_EVERYBODY = "ff:ff:ff:ff:ff:ff"


@dataclass(slots=True)
class TenantView:
    """One tenant of a topology picture."""

    name: str
    fib: int
    network: str
    servers: list[str]
    roles: list[str]


@dataclass(slots=True)
class TopologyView:
    """One topology picture."""

    name: str
    deployment: str
    default_fib: int
    tenants: list[TenantView]


def view_of(plan: Plan) -> TopologyView:
    """Return what a picture of `plan` shows."""
    tenants = [
        TenantView(
            name=tenant.name,
            fib=tenant.fib,
            network=str(tenant.network.subnets[0]),
            servers=[str(address.ip) for address in tenant.server_addresses],
            roles=[str(container.role) for container in tenant.containers],
        )
        for tenant in plan.tenants
    ]
    return TopologyView(plan.topology, plan.deployment, plan.sut.default_fib, tenants)


def in_words(plan: Plan, frames: Iterable[Frame]) -> list[Packet]:
    """Return the last frames with the names of those who sent and got them."""
    names: dict[Mac, str] = {tenant.router.uplink.mac: tenant.name for tenant in plan.tenants}
    names[plan.sut.machine.mac] = "SUT"

    def name(mac: Mac) -> str:
        return names.get(mac, "everybody" if mac == _EVERYBODY else mac)

    return [
        Packet(
            time_s=frame.time_s,
            sender=name(frame.source_mac),
            receiver=name(frame.destination_mac),
            summary=str(frame.packet.summary()).removeprefix("Ether / "),
            length=len(frame.raw),
        )
        for frame in list(frames)[-MOST_PACKETS:]
    ]
