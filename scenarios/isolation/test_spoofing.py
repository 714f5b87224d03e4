"""Frames that a tenant's router should never send: crafted ones, dropped and counted by reason."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from scenarios.guest import client_address, send_from_router
from testbed.api import Capture, Running, Tenant, new_nonce

PORT = 7007
FIRST_PORT = 23000
HALF = 1000  # of a datagram in two fragments

# Hears datagrams at any address, and says which letter they are of.
LISTENER = """
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    s.bind(("0.0.0.0", int(sys.argv[1])))
    say("ready")
    while True:
        data = s.recv(9000).decode()
        say([len(data), "".join(sorted(set(data)))])
"""


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
        from scapy.layers.inet6 import IPv6  # noqa: PLC0415

        layer = IPv6 if ":" in self.source else IP
        request = json.dumps({"op": "echo", "nonce": self.nonce, "data": ""}).encode()
        packet = (
            layer(src=self.source, dst=self.destination) / UDP(sport=40001, dport=PORT) / request
        )
        send_from_router(self.sender, sut_mac, packet)


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
@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("reason", ["sender", "hairpin"])
def test_forged_frame_is_dropped_and_counted(
    reason: str, version: int, deployment: Running, tenants: tuple[Tenant, ...], wire: Capture
) -> None:
    alpha = tenants[0]
    sut_mac = deployment.plan.sut.machine.mac
    client = str(client_address(alpha, version))
    own, other = (
        next(str(a.ip) for a in tenant.plan.server_addresses if a.version == version)
        for tenant in tenants
    )
    honest = Crafted(alpha, client, own, new_nonce(alpha.name))
    forged = {
        # Another tenant's server address, from a router that is not that tenant's.
        "sender": Crafted(alpha, client, other, new_nonce(alpha.name)),
        # A source address that is the SUT's own: its packet came back to it.
        "hairpin": Crafted(alpha, own, own, new_nonce(alpha.name)),
    }[reason]
    before = drops(deployment)
    forged.send(sut_mac)
    honest.send(sut_mac)  # behind the forged one: its answer shows that both were looked at
    wire.await_frame(lambda frame: frame.source_mac == sut_mac and frame.has(honest.nonce.encode()))
    assert answers(wire, forged.nonce, sut_mac) == 0
    after = drops(deployment)
    changed = {name: after[name] - before[name] for name in after if after[name] != before[name]}
    assert changed == {reason: 1}


@pytest.mark.expects("sender")
@pytest.mark.tenants(2, overlap="client")
def test_fragment_of_another_router_completes_no_datagram(
    deployment: Running, tenants: tuple[Tenant, ...], wire: Capture
) -> None:
    """A later fragment has no port and no checksum of its own: only its sender tells whose it is."""
    from scapy.layers.inet import IP, UDP, fragment  # noqa: PLC0415 - scapy takes a second to load

    victim, forger = tenants
    sut_mac, port = deployment.plan.sut.machine.mac, FIRST_PORT + victim.fib
    header = IP(src=str(client_address(victim)), dst=str(victim.server), id=victim.fib)

    def fragments(letter: str) -> list[object]:
        # No checksum: a forger knows what makes one right, and we need not.
        datagram = header / UDP(sport=9, dport=port, chksum=0) / (letter * 2 * HALF).encode()
        found: list[object] = fragment(datagram, fragsize=HALF)  # type: ignore[no-untyped-call]
        return found

    first, *rest = fragments("h")
    forged = fragments("f")[1:]
    with deployment.program(LISTENER, port) as program:
        assert program.said() == "ready"
        send_from_router(victim, sut_mac, first)
        for packet in forged:
            send_from_router(forger, sut_mac, packet)
        for packet in rest:
            send_from_router(victim, sut_mac, packet)
        assert program.said() == [2 * HALF, "h"]
    sent = [f for f in wire.frames() if f.source_mac == forger.plan.router.uplink.mac]
    assert len(sent) >= len(forged), "nothing was forged"
