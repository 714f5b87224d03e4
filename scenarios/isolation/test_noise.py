"""A noisy neighbour: what one tenant's client does costs another's no answer and little time."""

from __future__ import annotations

import threading
from statistics import median

import pytest

from scenarios.guest import client_address
from testbed.api import Capture, Running, Tenant, new_nonce, ping, route_to, who_am_i

# More than the kernel's default distance (ipfrag_max_dist, 64), which counts by peer address alone.
FRAGMENTS = 200
LISTENER = """
with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as s:
    s.bind(("::", int(sys.argv[1])))
    say("ready")
    while True:
        data, peer, *_ = s.recvfrom(9000)
        say([len(data), data[:60].decode().strip("."), peer[0]])
"""
FIRST_PORT = 22000
ROUNDS = 15
# Stated: with a neighbour that floods as fast as it can, the median request takes at most so much
# longer. One emulated processor serves both, and the flood takes its share of that.
MOST_TIMES_SLOWER = 6.0


def fragments_of(packet: object) -> list[object]:
    from scapy.layers.inet import fragment  # noqa: PLC0415 - scapy takes a second to load

    found: list[object] = fragment(packet, fragsize=1000)  # type: ignore[no-untyped-call]
    return found


def send(sender: Tenant, sut_mac: str, packets: list[object]) -> None:
    """Put packets on the segment as the tenant's router, in one go."""
    from scapy.layers.l2 import Ether  # noqa: PLC0415

    uplink = sender.plan.router.uplink
    sender.transmit(*(Ether(src=uplink.mac, dst=sut_mac) / packet for packet in packets))


@pytest.mark.tenants(2, overlap="client")
def test_fragments_of_a_neighbour_cost_nobody_a_datagram(
    deployment: Running, tenants: tuple[Tenant, ...], wire: Capture
) -> None:
    from scapy.layers.inet import IP, UDP  # noqa: PLC0415

    quiet, noisy = tenants
    sut_mac = deployment.plan.sut.machine.mac
    source = str(client_address(quiet))
    assert source == str(client_address(noisy)), "the kernel would tell them apart"
    port = FIRST_PORT + quiet.fib
    nonce = new_nonce(quiet.name)
    data = nonce.encode().ljust(1500, b".")
    whole = IP(src=source, dst=str(quiet.server), id=4711) / UDP(sport=9, dport=port) / data
    first, *rest = fragments_of(whole)
    assert len(rest) == 1
    orphans: list[object] = [
        IP(src=source, dst=str(noisy.server), id=number, flags="MF", proto=17) / bytes(64)
        for number in range(1, FRAGMENTS + 1)
    ]
    with deployment.program(LISTENER, port) as program:
        assert program.said() == "ready"
        send(quiet, sut_mac, [first])
        send(noisy, sut_mac, orphans)
        # Behind the orphans, an answer: the SUT has seen them all before the rest comes.
        assert who_am_i(noisy.client, route_to(noisy.client)).tenant == noisy.name
        send(quiet, sut_mac, list(rest))
        send(
            quiet,
            sut_mac,
            [IP(src=source, dst=str(quiet.server)) / UDP(sport=9, dport=port) / b"end"],
        )
        assert program.said() == [len(data), nonce, f"::ffff:{source}"]
    seen = [f for f in wire.frames() if f.source_mac == noisy.plan.router.uplink.mac]
    assert len(seen) >= FRAGMENTS


@pytest.mark.tenants(2, overlap="client")
def test_flood_of_a_neighbour_does_not_starve_anybody(tenants: tuple[Tenant, ...]) -> None:
    quiet, noisy = tenants

    def asked_ms() -> float:
        replies = [who_am_i(quiet.client, route_to(quiet.client)) for _ in range(ROUNDS)]
        assert [reply.error for reply in replies] == [""] * ROUNDS, "a request was lost"
        return median(reply.elapsed_ms for reply in replies)

    before_ms = asked_ms()
    ended = threading.Event()
    floods = []

    def flood() -> None:
        while not ended.is_set():
            floods.append(ping(noisy.client, noisy.server, count=200).received)

    flooding = threading.Thread(target=flood)
    flooding.start()
    try:
        during_ms = asked_ms()
    finally:
        ended.set()
        flooding.join()
    assert sum(floods) > 0, "there was no flood"
    assert during_ms <= MOST_TIMES_SLOWER * max(before_ms, 1.0), f"{before_ms} ms, {during_ms} ms"
