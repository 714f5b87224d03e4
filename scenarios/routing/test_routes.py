"""Each tenant's table is its own: other networks, other defaults, errors and path MTUs of its own."""

from __future__ import annotations

import secrets
from ipaddress import IPv4Network, ip_address

import pytest

from scenarios.guest import as_json, client_address, send_from_router, sent_by_sut
from testbed.api import (
    Capture,
    Running,
    Tenant,
    faults,
    frames_of,
    leaks,
    new_nonce,
)

# Beyond every tenant's own network; hosts of these are played by routers.
BRANCH, HOST, ELSEWHERE = "203.0.113.0/24", "203.0.113.5", "198.51.100.9"
BRANCH6, HOST6 = "2001:db8:1::/64", "2001:db8:1::5"
SITES = IPv4Network("198.18.0.0/15")
SMALL_MTU = 1280

# Sends to each address from a FIB; says the source, or the error that came, at once or by ICMP.
SEND = """
import errno, select
IP_RECVERR = 11
number, wanted, hops = json.loads(sys.argv[1])
answers = {}
with fib.thread_fib(number):
    for address, nonce in wanted.items():
        is_ipv6 = ":" in address
        with socket.socket(socket.AF_INET6 if is_ipv6 else socket.AF_INET, socket.SOCK_DGRAM) as s:
            if hops:
                s.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, hops)
            if not is_ipv6:
                s.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
            try:
                s.connect((address, 9))
                s.send(nonce.encode())
                source = s.getsockname()[0]
                if hops or nonce.startswith("wait"):
                    select.select([s], [], [], 5)
                    s.setblocking(False)
                    try:
                        s.recv(10)
                    except BlockingIOError:
                        pass
                answers[address] = source
            except OSError as error:
                answers[address] = errno.errorcode[error.errno]
say(answers)
"""

# What each FIB takes for the path's MTU to an address.
PATH_MTU = """
numbers, address = json.loads(sys.argv[1])
def mtu(number):
    with fib.thread_fib(number), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.connect((address, 9))
        return s.getsockopt(socket.IPPROTO_IP, 14)
say([mtu(number) for number in numbers])
"""


def send(
    deployment: Running, tenant: Tenant, wanted: dict[str, str], hops: int = 0
) -> dict[str, str]:
    with deployment.program(SEND, as_json([tenant.fib, wanted, hops])) as program:
        answers: dict[str, str] = program.said()
    return answers


def first_of(tenant: Tenant, version: int) -> str:
    return str(next(a.ip for a in tenant.plan.server_addresses if a.version == version))


@pytest.mark.exclusive
@pytest.mark.tenants("alpha", "bravo")
def test_network_of_one_fib_is_unknown_in_another(
    deployment: Running, tenants: tuple[Tenant, ...], wire: Capture
) -> None:
    alpha, bravo = tenants
    nonces = {address: new_nonce(alpha.name) for address in (HOST, HOST6)}
    with faults.routes_added(deployment, {alpha: [BRANCH, BRANCH6]}):
        known = send(deployment, alpha, nonces)
        unknown = send(deployment, bravo, {HOST: "nobody", HOST6: "nobody", ELSEWHERE: "nobody"})
        outside = send(deployment, alpha, {ELSEWHERE: "nobody"})
    assert known == {HOST: first_of(alpha, 4), HOST6: first_of(alpha, 6)}
    assert set(unknown.values()) == {"ENETUNREACH"}
    assert outside == {ELSEWHERE: "ENETUNREACH"}
    for nonce in nonces.values():
        assert sent_by_sut(deployment.plan, frames_of(wire.frames(), alpha.plan), nonce)
    assert send(deployment, alpha, {HOST: "nobody"}) == {HOST: "ENETUNREACH"}


@pytest.mark.exclusive
@pytest.mark.tenants("alpha", "bravo")
def test_each_fib_has_a_default_of_its_own_and_the_more_specific_wins(
    deployment: Running, tenants: tuple[Tenant, ...], wire: Capture
) -> None:
    """The more specific route is the tenant's own network, beside its default."""
    nonces: dict[str, Tenant] = {}
    routes = {tenant: ["0.0.0.0/0", "::/0"] for tenant in tenants}
    with faults.routes_added(deployment, routes):
        for tenant in tenants:
            client = str(client_address(tenant))
            wanted = {address: new_nonce(tenant.name) for address in (ELSEWHERE, HOST6, client)}
            answers = send(deployment, tenant, wanted)
            assert set(answers.values()) == {first_of(tenant, 4), first_of(tenant, 6)}
            nonces |= dict.fromkeys(wanted.values(), tenant)
    frames = wire.frames()
    for nonce, tenant in nonces.items():
        assert len(sent_by_sut(deployment.plan, frames_of(frames, tenant.plan), nonce)) == 1
    owners = {nonce: tenant.name for nonce, tenant in nonces.items()}
    assert not leaks(deployment.plan, frames, tenants, nonces=owners)


@pytest.mark.exclusive
@pytest.mark.tenants("alpha", "bravo")
def test_unreachable_is_said_by_the_tenants_own_router(
    deployment: Running, tenants: tuple[Tenant, ...]
) -> None:
    """Both FIBs send HOST to their routers: one has such a host, the other says there is none."""
    alpha, bravo = tenants
    routes = {tenant: [BRANCH] for tenant in tenants}
    with faults.routes_added(deployment, routes), faults.address_owned(alpha, ip_address(HOST)):
        refused = send(deployment, alpha, {HOST: f"wait {new_nonce(alpha.name)}"})
        unreachable = send(deployment, bravo, {HOST: f"wait {new_nonce(bravo.name)}"})
    assert refused == {HOST: "ECONNREFUSED"}, "nobody listens at the host that there is"
    assert unreachable == {HOST: "ENETUNREACH"}


@pytest.mark.tenants(2, overlap="client")
def test_hop_limit_ends_at_the_tenants_own_router(
    deployment: Running, tenants: tuple[Tenant, ...], wire: Capture
) -> None:
    tenant, other = tenants
    client = str(client_address(tenant))
    assert send(deployment, tenant, {client: f"wait {new_nonce(tenant.name)}"}, hops=1) == {
        client: "EHOSTUNREACH"
    }
    exceeded = [f for f in wire.frames() if f.protocol == "icmp" and f.packet["ICMP"].type == 11]
    assert {f.source_mac for f in exceeded} == {tenant.plan.router.uplink.mac}
    assert send(deployment, other, {client: "two hops are enough"}, hops=2)[client] in {
        first_of(other, 4),
        "ECONNREFUSED",
    }


@pytest.mark.exclusive
@pytest.mark.tenants("alpha", "bravo")
def test_path_mtu_is_learned_for_one_fib(deployment: Running, tenants: tuple[Tenant, ...]) -> None:
    from scapy.layers.inet import ICMP, IP, UDP  # noqa: PLC0415 - scapy takes a second to load

    alpha, bravo = tenants
    # A host that no earlier run asked about: what is learned stays for ten minutes, with the next hop.
    host = str(SITES[secrets.randbelow(SITES.num_addresses)])
    routes = {tenant: [str(SITES)] for tenant in tenants}
    with faults.routes_added(deployment, routes):
        told = as_json([[alpha.fib, bravo.fib], host])

        def path_mtus() -> list[int]:
            with deployment.program(PATH_MTU, told) as program:
                found: list[int] = program.said()
            return found

        assert path_mtus() == [1500, 1500]
        quoted = IP(src=str(alpha.server), dst=host) / UDP(sport=9, dport=9) / bytes(64)
        too_big = ICMP(type=3, code=4, nexthopmtu=SMALL_MTU) / quoted
        router = alpha.plan.router.uplink.addresses[0].ip
        packet = IP(src=str(router), dst=str(alpha.server)) / too_big
        send_from_router(alpha, deployment.plan.sut.machine.mac, packet)
        assert path_mtus() == [SMALL_MTU, 1500]
