"""A neighbour's half-open connections fill a listener's queue: others are served, each in his FIB.

The kernel then keeps nothing of a SYN but a cookie in its answer; the connection is made of the client's
ACK, and its FIB must be (P15, P28).
"""

from __future__ import annotations

import itertools

import pytest

from scenarios.guest import greeting
from testbed.api import Running, Tenant

# A wildcard listener with a short queue; it greets with the connection's FIB.
LISTENER = """
port, backlog = int(sys.argv[1]), int(sys.argv[2])
s = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
s.bind(("::", port))
s.listen(backlog)
say("ready")
while True:
    child, _ = s.accept()
    child.sendall(f"{fib.socket_fib(child)}\\n".encode())
    child.close()
"""
FIRST_PORT, FIRST_SOURCE = 24000, 30000
BACKLOG, HALF_OPEN = 16, 200
ATTEMPTS = 5


def cookies(deployment: Running) -> int:
    """Return how many connections the SUT has made of cookies."""
    lines = deployment.sut_host.file("/proc/net/netstat").content_string.splitlines()
    names, values = (line.split() for line in lines if line.startswith("TcpExt:"))
    return int(dict(zip(names, values, strict=True))["SyncookiesRecv"])


def beginnings(sender: Tenant, sut_mac: str, port: int, number: int) -> list[bytes]:
    """Return SYNs from a host that does not exist, so that nobody ends what they begin."""
    from scapy.layers.inet import IP, TCP  # noqa: PLC0415 - scapy takes a second to load
    from scapy.layers.l2 import Ether  # noqa: PLC0415

    nobody = sender.plan.network.subnets[0].network_address + 200 + number
    header = Ether(src=sender.plan.router.uplink.mac, dst=sut_mac) / IP(
        src=str(nobody), dst=str(sender.server)
    )
    sources = range(FIRST_SOURCE, FIRST_SOURCE + HALF_OPEN)
    return [bytes(header / TCP(sport=source, dport=port, flags="S")) for source in sources]


@pytest.mark.tenants(2, overlap="client")
def test_half_open_connections_of_a_neighbour_keep_nobody_out(
    deployment: Running, tenants: tuple[Tenant, ...]
) -> None:
    quiet, noisy = tenants
    sut_mac, port = deployment.plan.sut.machine.mac, FIRST_PORT + noisy.fib
    asked = [(t, a.ip) for t in (quiet, noisy) for a in t.plan.server_addresses]
    with deployment.program(LISTENER, port, BACKLOG) as program:
        assert program.said() == "ready"
        before = cookies(deployment)
        assert greeting(quiet, quiet.server, port) == str(quiet.fib)
        assert cookies(deployment) == before, "a free queue needs no cookie"
        strangers = itertools.count(1)
        for tenant, address in asked:
            for _ in range(ATTEMPTS):
                former = cookies(deployment)
                noisy.transmit(*beginnings(noisy, sut_mac, port, next(strangers)))
                assert greeting(tenant, address, port) == str(tenant.fib)
                if cookies(deployment) > former:
                    break
            else:
                # On a busy host the SYN comes late: when nobody answers, the router ends what was begun.
                pytest.fail(f"the queue was never full when {tenant} came")
