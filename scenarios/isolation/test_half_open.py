"""A neighbour's half-open connections fill the listener's queue: others are served, each in his FIB.

The kernel then keeps nothing of a SYN but a cookie in its answer; the connection is made of the client's
ACK, and its FIB must be (P15, P28).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from testbed.api import Running, Tenant, route_to, who_am_i

# More than the daemon's listener and the kernel's limit (net.core.somaxconn) hold.
HALF_OPEN = 6000
FIRST_PORT, PORTS_EACH = 20000, 2000
SYN, RST = "S", "R"


def cookies(deployment: Running) -> int:
    """Return how many connections the SUT has made of cookies."""
    lines = deployment.sut_host.file("/proc/net/netstat").content_string.splitlines()
    names, values = (line.split() for line in lines if line.startswith("TcpExt:"))
    return int(dict(zip(names, values, strict=True))["SyncookiesRecv"])


def segments(sender: Tenant, sut_mac: str, port: int, flags: str) -> list[bytes]:
    """Return one segment for each of the half-open connections, from hosts that do not exist."""
    from scapy.layers.inet import IP, TCP  # noqa: PLC0415 - scapy takes a second to load
    from scapy.layers.l2 import Ether  # noqa: PLC0415

    network = sender.plan.network.subnets[0]
    found = []
    for number in range(HALF_OPEN):
        host, place = divmod(number, PORTS_EACH)
        ip = IP(src=str(network.network_address + 200 + host), dst=str(sender.server))
        tcp = TCP(sport=FIRST_PORT + place, dport=port, flags=flags, seq=1 + (flags == RST))
        ethernet = Ether(src=sender.plan.router.uplink.mac, dst=sut_mac)
        found.append(bytes(ethernet / ip / tcp))
    return found


@contextmanager
def half_open(deployment: Running, sender: Tenant) -> Iterator[None]:
    """Begin connections to the daemon that nobody goes on with; end them after the block."""
    sut_mac, port = deployment.plan.sut.machine.mac, deployment.plan.sut.port
    begin, end = (segments(sender, sut_mac, port, flags) for flags in (SYN, RST))
    try:
        sender.transmit(*begin)
        yield
    finally:
        sender.transmit(*end)


@pytest.mark.exclusive
@pytest.mark.tenants(2, overlap="client")
def test_half_open_connections_of_a_neighbour_keep_nobody_out(
    deployment: Running, tenants: tuple[Tenant, ...]
) -> None:
    quiet, noisy = tenants
    before = cookies(deployment)
    assert who_am_i(quiet.client, route_to(quiet.client)).tenant == quiet.name
    assert cookies(deployment) == before, "a free queue needs no cookie"
    with half_open(deployment, noisy):
        for tenant in (quiet, noisy, quiet):
            for address in tenant.plan.server_addresses:
                reply = who_am_i(tenant.client, route_to(tenant.client, address=address.ip))
                assert (reply.error, reply.fib, reply.tenant) == ("", tenant.fib, tenant.name)
        assert cookies(deployment) > before, "the queue was not full: nothing was shown"
