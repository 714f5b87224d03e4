"""What routing alone would let through: forced interfaces, forged errors, packets of our own."""

from __future__ import annotations

import pytest

from scenarios.guest import as_json, client_address, send_from_router, sent_by_sut
from testbed.api import (
    Capture,
    Running,
    Tenant,
    frames_of,
    leaks,
    new_nonce,
    route_to,
    who_am_i,
)

# Datagrams past routing: the interface is forced by the socket, or packet by packet.
FORCED = """
import struct
number, wanted = json.loads(sys.argv[1])
index = socket.if_nametoindex("eth0")
def forced(s, family):
    s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
    return []
def by_packet(s, family):
    if family == socket.AF_INET:
        return [(socket.IPPROTO_IP, socket.IP_PKTINFO, struct.pack("=I4s4s", index, bytes(4), bytes(4)))]
    return [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, struct.pack("=16sI", bytes(16), index))]
IP_PKTINFO = socket.IP_PKTINFO = 8
errors = []
with fib.thread_fib(number):
    for address, nonces in wanted:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        for how, nonce in zip((forced, by_packet), nonces):
            with socket.socket(family, socket.SOCK_DGRAM) as s:
                try:
                    s.sendmsg([nonce.encode()], how(s, family), 0, (address, 9))
                except OSError as error:
                    errors.append(f"{address}: {error}")
say(errors)
"""

# Datagrams of a FIB whose source address is chosen one by one, interface included.
BORROWER = """
import struct
number, wanted = json.loads(sys.argv[1])
index = socket.if_nametoindex("eth0")
IP_PKTINFO = 8
def borrowed(source):
    if ":" in source:
        packed = socket.inet_pton(socket.AF_INET6, source) + struct.pack("=I", index)
        return socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, packed
    packed = struct.pack("=I4s4s", index, socket.inet_aton(source), bytes(4))
    return socket.IPPROTO_IP, IP_PKTINFO, packed
refused = []
with fib.thread_fib(number):
    for source, target, nonce in wanted:
        family = socket.AF_INET6 if ":" in source else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as s:
            try:
                s.sendmsg([nonce.encode()], [borrowed(source)], 0, (target, 9))
            except OSError:
                refused.append(target)
say(refused)
"""

# A socket that waits for an answer, and twice says what it got: data, or the error of an ICMP message.
ASKER = """
import errno
number, address = int(sys.argv[1]), sys.argv[2]
fib.thread_fib(number)
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    s.connect((address, 9999))
    s.settimeout(20)
    say(s.getsockname())
    for _ in range(2):
        try:
            say(s.recv(100).decode())
        except OSError as error:
            say(errno.errorcode.get(error.errno, str(error)))
"""

# Hears datagrams at any address, and says what was in them.
LISTENER = """
with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as s:
    s.bind(("::", int(sys.argv[1])))
    say("ready")
    while True:
        data, peer, *_ = s.recvfrom(2000)
        say([data.decode(), peer[0]])
"""
FIRST_PORT = 21000
ARP = 0x0806
LIFE_S = 20  # of an advertisement: what believes it forgets it soon


def forced_frames(
    deployment: Running, wire: Capture, sender: int, owner: Tenant, receiver: Tenant
) -> tuple[int, int]:
    """Send past routing to the receiver's router; return how many frames left, how many leaked."""
    addresses = [str(a.ip) for a in receiver.plan.router.uplink.addresses]
    nonces = {address: [new_nonce(owner.name) for _ in range(2)] for address in addresses}
    with deployment.program(FORCED, as_json([sender, list(nonces.items())])) as program:
        program.said()
    flat = [nonce for pair in nonces.values() for nonce in pair]
    frames = wire.frames()
    left = [f for nonce in flat for f in sent_by_sut(deployment.plan, frames, nonce)]
    owners = dict.fromkeys(flat, owner.name)
    return len(left), len(leaks(deployment.plan, frames, [owner, receiver], nonces=owners))


@pytest.mark.expects("guard-router", "guard-source")
@pytest.mark.tenants(2, overlap="client")
def test_forced_interface_leads_to_no_other_tenant(
    deployment: Running, tenants: tuple[Tenant, ...], wire: Capture
) -> None:
    own, other = tenants
    # To its own router such a datagram goes: the interface can be forced, and frames are seen.
    left, leaked = forced_frames(deployment, wire, own.fib, own, own)
    assert (left, leaked) == (4, 0)
    for sender in (own.fib, 0):
        left, leaked = forced_frames(deployment, wire, sender, own, other)
        assert (left, leaked) == (0, 0), f"from FIB {sender}"


@pytest.mark.expects("guard-source")
@pytest.mark.tenants(2, overlap="client")
def test_borrowed_source_does_not_leave(
    deployment: Running, tenants: tuple[Tenant, ...], wire: Capture
) -> None:
    """With another FIB's address and by that FIB's own router, all but the socket agrees.

    IPv6 wants a route in the socket's FIB; IPv4 takes for on the link what has none (fib_lookup's
    failure in ip_route_output_key_hash_rcu, where an interface is given).
    """
    own, other = tenants
    nonces: dict[Tenant, list[str]] = {}
    refused: dict[Tenant, list[str]] = {}
    for owner in tenants:
        routers = {a.version: str(a.ip) for a in owner.plan.router.uplink.addresses}
        sources = {a.version: str(a.ip) for a in owner.plan.server_addresses}
        nonces[owner] = [new_nonce(owner.name) for _ in sources]
        wanted = [
            (source, routers[version], nonce)
            for (version, source), nonce in zip(sources.items(), nonces[owner], strict=True)
        ]
        with deployment.program(BORROWER, as_json([own.fib, wanted])) as program:
            refused[owner] = program.said()
    assert refused[own] == [], "its own addresses may be chosen"
    assert all(":" in target for target in refused[other]), "IPv4 leaves it to the guard"
    frames = wire.frames()
    left = {t: [sent_by_sut(deployment.plan, frames, n) for n in nonces[t]] for t in tenants}
    assert [len(found) for found in left[own]] == [1, 1]
    assert [len(found) for found in left[other]] == [0, 0]


def icmp_error(plan_source: str, destination: str, quoted: tuple[str, int, str]) -> object:
    """Return "port unreachable" from `plan_source`, quoting a datagram of (source, port, target)."""
    from scapy.layers.inet import ICMP, IP, UDP  # noqa: PLC0415 - scapy takes a second to load

    source, port, target = quoted
    inner = IP(src=source, dst=target) / UDP(sport=port, dport=9999) / b"x"
    return IP(src=plan_source, dst=destination) / ICMP(type=3, code=3) / inner


def answer(source: str, destination: str, port: int) -> object:
    """Return a datagram that answers the socket."""
    from scapy.layers.inet import IP, UDP  # noqa: PLC0415

    return IP(src=source, dst=destination) / UDP(sport=9999, dport=port) / b"answer"


@pytest.mark.expects("foreign-icmp", "sender")
@pytest.mark.tenants(2, overlap="client")
@pytest.mark.parametrize("at", ["its own address", "the victim's address"])
def test_error_about_another_tenants_flow_is_not_believed(
    at: str, deployment: Running, tenants: tuple[Tenant, ...]
) -> None:
    victim, forger = tenants
    sut_mac = deployment.plan.sut.machine.mac
    # Nobody of the plan: a real host would send an error of its own.
    target = str(victim.plan.network.subnets[0].network_address + 200)
    with deployment.program(ASKER, victim.fib, target) as program:
        source, port = program.said()
        flow = (source, port, target)
        aim = source if at == "the victim's address" else str(forger.server)
        send_from_router(forger, sut_mac, icmp_error(target, aim, flow))
        # Behind the forged error, an answer: had the error been believed, it would come first.
        send_from_router(victim, sut_mac, answer(target, source, port))
        assert program.said() == "answer"
        # The same error from the flow's own tenant is believed: that is how it would look.
        send_from_router(victim, sut_mac, icmp_error(target, source, flow))
        assert program.said() == "ECONNREFUSED"


@pytest.mark.expects("hairpin", "sender")
@pytest.mark.tenants(2, overlap="client")
def test_packet_with_a_source_of_our_own_is_not_heard(
    deployment: Running, tenants: tuple[Tenant, ...]
) -> None:
    from scapy.layers.inet import UDP  # noqa: PLC0415
    from scapy.layers.inet6 import IPv6  # noqa: PLC0415

    tenant, other = tenants
    sut_mac = deployment.plan.sut.machine.mac
    own = next(a.ip for a in tenant.plan.server_addresses if a.version == 6)
    foreign = next(a.ip for a in other.plan.server_addresses if a.version == 6)
    port = FIRST_PORT + tenant.fib
    nonces = {name: new_nonce(tenant.name) for name in ("own", "stranger", "honest")}
    client = str(client_address(tenant, 6))

    def datagram(source: str, nonce: str) -> object:
        return IPv6(src=source, dst=str(own)) / UDP(sport=9, dport=port) / nonce.encode()

    with deployment.program(LISTENER, port) as program:
        assert program.said() == "ready"
        send_from_router(tenant, sut_mac, datagram(str(own), nonces["own"]))
        send_from_router(other, sut_mac, datagram(str(foreign), nonces["stranger"]))
        send_from_router(tenant, sut_mac, datagram(client, nonces["honest"]))
        assert program.said() == [nonces["honest"], client]


# A raw socket writes the whole header: the source address is whatever it says.
FORGER = """
import struct
number, source, target, nonce = json.loads(sys.argv[1])
with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as s:
    fib.set_socket_fib(s, number)
    data = struct.pack("!4H", 9, 9, 8 + len(nonce), 0) + nonce.encode()
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(data), 1, 0, 64, 17, 0,
                         socket.inet_aton(source), socket.inet_aton(target))
    try:
        s.sendto(header + data, (target, 0))
        say("sent")
    except OSError as error:
        say(str(error))
"""


@pytest.mark.expects("guard-router", "guard-source")
@pytest.mark.tenants(2, overlap="client")
def test_forged_source_does_not_leave(
    deployment: Running, tenants: tuple[Tenant, ...], wire: Capture
) -> None:
    own, other = tenants
    client = str(client_address(own))
    nonces = {}
    for tenant in tenants:
        nonces[tenant] = nonce = new_nonce(own.name)
        told = as_json([own.fib, str(tenant.server), client, nonce])
        with deployment.program(FORGER, told) as program:
            assert program.said() == "sent"
    frames = wire.frames()
    assert len(sent_by_sut(deployment.plan, frames, nonces[own])) == 1
    assert not sent_by_sut(deployment.plan, frames, nonces[other])


@pytest.mark.tenants(2, overlap="client")
def test_redirect_changes_no_route(
    deployment: Running, tenants: tuple[Tenant, ...], wire: Capture
) -> None:
    """A tenant's router tells of a better way, to a host that it plays itself."""
    from scapy.layers.inet import ICMP, IP, UDP  # noqa: PLC0415

    tenant = tenants[0]
    sut_mac, uplink = deployment.plan.sut.machine.mac, tenant.plan.router.uplink
    router = next(a for a in uplink.addresses if a.version == 4)
    better = next(h for h in router.network.hosts() if h not in {router.ip, tenant.server})
    client = str(client_address(tenant))
    with deployment.program(ASKER, tenant.fib, client) as program:
        source, port = program.said()
        quoted = IP(src=source, dst=client) / UDP(sport=port, dport=9999) / b"x"
        redirect = (
            IP(src=str(router.ip), dst=source) / ICMP(type=5, code=1, gw=str(better)) / quoted
        )
        send_from_router(tenant, sut_mac, redirect)
    for _ in range(2):
        assert who_am_i(tenant.client, route_to(tenant.client)).tenant == tenant.name
    asked = [
        f for f in wire.frames() if f.ether_type == ARP and f.packet["ARP"].pdst == str(better)
    ]
    assert not asked, "the SUT looks for the router that it was told of"


# What a plain socket, of FIB 0, would send from; or why it cannot.
OUTSIDE = """
import errno
def source_to(address):
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as s:
        try:
            s.connect((address, 9))
        except OSError as error:
            return errno.errorcode[error.errno]
        return s.getsockname()[0]
say([source_to(address) for address in sys.argv[1:]])
"""


def test_router_advertisement_gives_nobody_a_route(
    deployment: Running, tenant: Tenant, wire: Capture
) -> None:
    """A tenant's router offers itself to the whole segment, and a network to live in (P27)."""
    from scapy.layers.inet6 import (  # noqa: PLC0415 - scapy takes a second to load
        ICMPv6ND_RA,
        ICMPv6NDOptPrefixInfo,
        IPv6,
    )
    from scapy.layers.l2 import Ether  # noqa: PLC0415

    def sources() -> list[str]:
        with deployment.program(OUTSIDE, "2001:db8:bad::1", "2001:db8:ffff::1") as program:
            found: list[str] = program.said()
        return found

    assert sources() == ["ENETUNREACH"] * 2
    prefix = ICMPv6NDOptPrefixInfo(
        prefix="2001:db8:bad::", prefixlen=64, validlifetime=LIFE_S, preferredlifetime=LIFE_S
    )
    packet = IPv6(src="fe80::bad", dst="ff02::1", hlim=255) / ICMPv6ND_RA(routerlifetime=LIFE_S)
    uplink = tenant.plan.router.uplink
    tenant.transmit(Ether(src=uplink.mac, dst="33:33:00:00:00:01") / packet / prefix)
    # Behind it, a request: the SUT has seen the advertisement when it answers.
    assert who_am_i(tenant.client, route_to(tenant.client)).tenant == tenant.name
    assert any(str(frame.source) == "fe80::bad" for frame in wire.frames()), "it was sent"
    assert sources() == ["ENETUNREACH"] * 2


@pytest.mark.tenants("charlie")
@pytest.mark.parametrize("version", [4, 6])
def test_server_forwards_nothing(
    version: int, deployment: Running, tenant: Tenant, wire: Capture
) -> None:
    """Of charlie, whose FIB is the interface's: packets to no address of ours would be in it."""
    from scapy.layers.inet import ICMP, IP, UDP  # noqa: F401, PLC0415
    from scapy.layers.inet6 import IPv6  # noqa: PLC0415

    assert deployment.plan.sut.default_fib == tenant.fib
    network = tenant.plan.network.subnets[0 if version == 4 else 1]
    layer = IP if version == 4 else IPv6
    nonce = new_nonce(tenant.name)
    source, target = str(network.network_address + 200), str(client_address(tenant, version))
    packet = layer(src=source, dst=target) / UDP(sport=9, dport=9) / nonce.encode()
    sut_mac = deployment.plan.sut.machine.mac
    send_from_router(tenant, sut_mac, packet)
    assert who_am_i(tenant.client, route_to(tenant.client)).tenant == tenant.name
    frames = wire.frames()
    assert any(frame.has(nonce.encode()) for frame in frames), "it was sent"
    assert not sent_by_sut(deployment.plan, frames_of(frames, tenant.plan), nonce)
