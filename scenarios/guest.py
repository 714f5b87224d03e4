"""What programs in the SUT are told, what routers send them, and what clients hear from them."""

from __future__ import annotations

import json

from testbed.api import Address, Frame, Plan, Role, Tenant

# Connects, and reads what the server greets with.
_READ = """
import socket, sys
address, port = sys.argv[1], int(sys.argv[2])
with socket.create_connection((address, port), 3) as s:
    s.settimeout(3)
    print(s.makefile().readline().strip())
"""


def as_json(value: object) -> str:
    """Return `value` as an argument for a program."""
    return json.dumps(value)


def client_address(tenant: Tenant, version: int = 4) -> Address:
    """Return the address of the tenant's client."""
    own = tenant.plan.container(Role.CLIENT).addresses
    return next(address.ip for address in own if address.version == version)


def greeting(tenant: Tenant, address: Address, port: int) -> str:
    """Connect from the tenant's client and return the line that the server sends, or the error."""
    answer = tenant.client.run(("python3", "-c", _READ, str(address), str(port)))
    lines = answer.output.strip().splitlines() or [""]
    return lines[-1]


def send_from_router(sender: Tenant, sut_mac: str, packet: object) -> None:
    """Put the packet on the segment as the tenant's router."""
    from scapy.layers.l2 import Ether  # noqa: PLC0415

    uplink = sender.plan.router.uplink
    sender.transmit(Ether(src=uplink.mac, dst=sut_mac) / packet)


def sent_by_sut(plan: Plan, frames: tuple[Frame, ...], nonce: str = "") -> list[Frame]:
    """Return the frames that the SUT has sent, of them those with the nonce in them."""
    mac = plan.sut.machine.mac
    return [frame for frame in frames if frame.source_mac == mac and frame.has(nonce.encode())]
