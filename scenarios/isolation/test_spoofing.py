"""Frames that a tenant's router should never send: crafted ones, dropped and counted by reason."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from testbed.api import Capture, Role, Running, Tenant, new_nonce

PORT = 7007


@dataclass(frozen=True, slots=True)
class Crafted:
    """A UDP request to the daemon: from which tenant's router, with which addresses."""

    sender: Tenant
    source: str
    destination: str
    nonce: str

    def send(self, sut_mac: str) -> None:
        """Put it on the segment, from inside the router's namespace."""
        from scapy.layers.inet import IP, UDP  # noqa: PLC0415 - scapy takes a second to load
        from scapy.layers.l2 import Ether  # noqa: PLC0415

        uplink = self.sender.plan.router.uplink
        request = json.dumps({"op": "echo", "nonce": self.nonce, "data": ""}).encode()
        ethernet = Ether(src=uplink.mac, dst=sut_mac)
        packet = IP(src=self.source, dst=self.destination) / UDP(sport=40001, dport=PORT) / request
        self.sender.transmit(ethernet / packet)


def drops(deployment: Running) -> Mapping[str, int]:
    """Return the extensions' drop counters by reason."""
    answer = deployment.sut.channel.run(["fibctl", "show", "--format", "json"])
    found: Mapping[str, int] = json.loads(answer.stdout)["drops"]
    return found


def answers(wire: Capture, nonce: str, sut_mac: str) -> int:
    """Return how many frames with the nonce the SUT has sent."""
    return sum(frame.source_mac == sut_mac and frame.has(nonce.encode()) for frame in wire.frames())


@pytest.mark.exclusive
@pytest.mark.expects("sender", "hairpin")
@pytest.mark.tenants("alpha", "bravo")
@pytest.mark.parametrize("reason", ["sender", "hairpin"])
def test_forged_frame_is_dropped_and_counted(
    reason: str, deployment: Running, tenants: tuple[Tenant, ...], wire: Capture
) -> None:
    alpha, bravo = tenants
    sut_mac = deployment.plan.sut.machine.mac
    client = str(alpha.plan.container(Role.CLIENT).addresses[0].ip)
    honest = Crafted(alpha, client, str(alpha.server), new_nonce(alpha.name))
    forged = {
        # Another tenant's server address, from a router that is not that tenant's.
        "sender": Crafted(alpha, client, str(bravo.server), new_nonce(alpha.name)),
        # A source address that is the SUT's own: its packet came back to it.
        "hairpin": Crafted(alpha, str(alpha.server), str(alpha.server), new_nonce(alpha.name)),
    }[reason]
    before = drops(deployment)
    forged.send(sut_mac)
    honest.send(sut_mac)  # behind the forged one: its answer shows that both were looked at
    wire.await_frame(lambda frame: frame.source_mac == sut_mac and frame.has(honest.nonce.encode()))
    assert answers(wire, forged.nonce, sut_mac) == 0
    after = drops(deployment)
    changed = {name: after[name] - before[name] for name in after if after[name] != before[name]}
    assert changed == {reason: 1}
