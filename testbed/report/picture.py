"""What the report needs to know of a plan: who is where, and how frames read in words."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from testbed.plan.resources import Mac, Plan
from testbed.probe.capture import Frame
from testbed.report.record import Packet

MOST_DRAWN = 12
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


class Picture:
    """The topology as a drawing: tenants in a row above the one segment, the SUT below."""

    width, gap = 184, 16
    box_height, top = 150, 12

    def __init__(self, view: TopologyView) -> None:
        self.view = view
        self.drawn = view.tenants[:MOST_DRAWN]
        self.more = len(view.tenants) - len(self.drawn)

    @property
    def columns(self) -> int:
        """How many tenants stand beside one another."""
        return min(4, max(1, len(self.drawn)))

    @property
    def rows(self) -> int:
        """How many rows they take."""
        return -(-len(self.drawn) // self.columns)

    @property
    def total_width(self) -> int:
        """Width of the drawing: a bus runs down its left side."""
        return 40 + self.columns * (self.width + self.gap)

    @property
    def bus_bottom(self) -> int:
        """Where the SUT's own line leaves."""
        return self.top + self.rows * (self.box_height + 34)

    @property
    def total_height(self) -> int:
        """Height of the drawing."""
        return self.bus_bottom + 74

    def boxes(self) -> list[tuple[int, int, TenantView]]:
        """Return each tenant with the place of its upper left corner."""
        return [
            (
                40 + place % self.columns * (self.width + self.gap),
                self.top + place // self.columns * (self.box_height + 34),
                tenant,
            )
            for place, tenant in enumerate(self.drawn)
        ]


def svg_of(plan: Plan) -> str:
    """Return a drawing of `plan` that needs nothing else, on a light ground."""
    import jinja2  # noqa: PLC0415 - the only use

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("testbed.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("picture.svg.j2")
    return template.render(picture=Picture(view_of(plan)), stands_alone=True)


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
