"""Nobody inside gets out: nothing reaches the host or another tenant beyond the links.

Each place sends a datagram and opens a connection to addresses where something listens, or would
be seen: the host's own, the loopback address that leads into the SUT, another tenant's server and
router. Positive controls: the listener hears the host itself, and the same words from the same
place reach the tenant's own server.
"""

from __future__ import annotations

import fcntl
import json
import secrets
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path

import pytest

from testbed.api import Capture, Role, Running, Tenant, ping

_SIOCGIFADDR = 0x8915
# Both ways, by what every image has: bash opens sockets by itself.
_SEND = """
for protocol in udp tcp; do
    timeout 1 bash -c 'exec 3<>"/dev/$1/$2/$3" && printf %s "$4" >&3' bash $protocol "$1" "$2" "$3"
done
exit 0
"""
# Past the egress guard, as root can: SOL_PACKET's PACKET_QDISC_BYPASS (packet(7)).
_CRAFT = """
import socket, sys
sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
sender.setsockopt(263, 20, 1)
sender.bind(("eth0", 0))
sender.send(bytes.fromhex(sys.argv[1]))
"""
_OF_DOCKER = ("/etc/resolv.conf", "/etc/hostname", "/etc/hosts", "/usr/sbin/docker-init")
_SENDERS = ("client", "service", "router", "sut")


def host_addresses() -> list[str]:
    """Return the IPv4 addresses of the host's interfaces, the loopback's only if it has no other."""
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        for _, name in socket.if_nameindex():
            request = struct.pack("256s", name.encode())
            with suppress(OSError):  # an interface without an address
                answer = fcntl.ioctl(asker, _SIOCGIFADDR, request)
                found.append(socket.inet_ntoa(answer[20:24]))
    return [address for address in found if not address.startswith("127.")] or found


@dataclass
class Listener:
    """Sockets on all addresses of the host, and what came to them."""

    datagrams: socket.socket
    connections: socket.socket

    @property
    def port(self) -> int:
        """The port of both."""
        return int(self.datagrams.getsockname()[1])

    def heard(self) -> list[bytes]:
        """Return all that has come since the last call: nothing is on its way any more."""
        words = []
        with suppress(BlockingIOError):
            while True:
                words.append(self.datagrams.recv(2048))
        with suppress(BlockingIOError):
            while True:
                connection, _ = self.connections.accept()
                with connection:
                    connection.settimeout(1)
                    words.append(connection.recv(2048))
        return words


@contextmanager
def listening() -> Iterator[Listener]:
    """Listen for datagrams and connections on all addresses, at one port."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
        socket.socket(socket.AF_INET, socket.SOCK_STREAM) as connections,
    ):
        datagrams.bind(("", 0))
        connections.bind(("", datagrams.getsockname()[1]))
        connections.listen()
        for each in (datagrams, connections):
            each.settimeout(0)
        yield Listener(datagrams, connections)


def send_from_here(address: str, port: int, word: str) -> None:
    """Send a datagram and open a connection, from the namespace of the calling thread."""
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(word.encode(), (address, port))
    with suppress(OSError), socket.create_connection((address, port), timeout=1) as sender:
        sender.sendall(word.encode())


def sender_at(place: str, deployment: Running, tenant: Tenant) -> Callable[[str, int, str], None]:
    """Return what sends a word from `place` of `tenant` to an address and port."""

    def from_sut(address: str, port: int, word: str) -> None:
        words = ["bash", "-c", _SEND, "bash", address, str(port), word]
        deployment.sut.channel.run(words, check=False)
        in_fib = ["fibctl", "exec", str(tenant.fib), "--", *words]
        deployment.sut.channel.run(in_fib, check=False)

    def from_container(address: str, port: int, word: str) -> None:
        role = Role.CLIENT if place == "client" else Role.LDAP
        tenant.run(role, ["bash", "-c", _SEND, "bash", address, str(port), word])

    if place == "sut":
        return from_sut
    if place == "router":
        return lambda *words: tenant.in_router(lambda: send_from_here(*words))
    return from_container


@pytest.mark.tenants(1, services=["dns", "ldap"])
@pytest.mark.parametrize("place", _SENDERS)
def test_host_is_out_of_reach(
    place: str, deployment: Running, tenant: Tenant, wire: Capture
) -> None:
    word = secrets.token_hex(8)
    send = sender_at(place, deployment, tenant)
    ssh_address = getattr(deployment.plan.sut.machine, "ssh_address", "127.0.0.1")
    with listening() as listener:
        for address in (*host_addresses(), str(ssh_address)):
            send(address, listener.port, word)
        assert listener.heard() == []
        send_from_here(host_addresses()[0], listener.port, word)
        assert set(listener.heard()) == {word.encode()}, "the listener hears nothing at all"
    # The place can send where it may: its word is on the wire, between router and SUT.
    own = str(tenant.server) if place != "sut" else str(tenant.plan.router.uplink.addresses[0].ip)
    before = len(wire.frames())
    send(own, deployment.plan.sut.port, word)
    assert len(wire.frames()) > before


@pytest.mark.exclusive
@pytest.mark.expects(strays=True)  # to the host itself
@pytest.mark.tenants(1)
@pytest.mark.parametrize("receiver", ["the tap", "everybody"])
def test_host_takes_no_frame_of_a_guest_that_is_its_own_master(
    receiver: str, deployment: Running, tenant: Tenant, wire: Capture
) -> None:
    """Root in the SUT crafts frames for the host itself: it answers no ARP, and takes no datagram."""
    from scapy.layers.inet import IP, UDP  # noqa: PLC0415 - scapy takes a second to load
    from scapy.layers.l2 import ARP, Ether  # noqa: PLC0415

    word = secrets.token_hex(8)
    host, sut_mac = host_addresses()[0], deployment.plan.sut.machine.mac
    tap = Path("/sys/class/net") / deployment.deployment.uplink / "address"
    mac = tap.read_text().strip() if receiver == "the tap" else "ff:ff:ff:ff:ff:ff"
    with listening() as listener:
        to_host = Ether(src=sut_mac, dst=mac)
        datagram = IP(src=str(tenant.server), dst=host) / UDP(sport=9, dport=listener.port) / word
        question = ARP(op=1, hwsrc=sut_mac, psrc=str(tenant.server), pdst=host)
        for frame in (to_host / datagram, to_host / question):
            deployment.sut.channel.run(["python3", "-c", _CRAFT, bytes(frame).hex()])
        wire.await_frame(lambda frame: frame.has(word.encode()))
        wire.await_frame(lambda frame: frame.protocol == "arp" and frame.source_mac == sut_mac)
        answers = [f for f in wire.frames() if f.protocol == "arp" and f.destination_mac == sut_mac]
        assert not answers, "the host answers ARP on the tenants' segment"
        assert listener.heard() == []
        send_from_here(host, listener.port, word)
        assert set(listener.heard()) == {word.encode()}
    assert ping(tenant.client, tenant.server).ok, "the segment still carries what it should"


@pytest.mark.tenants(1)
def test_host_answers_no_arp_on_a_tenant_link(tenant: Tenant) -> None:
    """The host's own network may be 192.168.0.0/24 too: its addresses are the tenants' there."""
    from scapy.layers.l2 import ARP, Ether  # noqa: PLC0415
    from scapy.sendrecv import srp1  # noqa: PLC0415

    lan = tenant.plan.router.lan

    def who_has(address: str) -> object:
        question = ARP(hwsrc=lan.mac, psrc=str(lan.addresses[0].ip), pdst=address)
        frame = Ether(src=lan.mac, dst="ff:ff:ff:ff:ff:ff") / question
        return tenant.in_router(lambda: srp1(frame, iface=lan.name, timeout=1, verbose=False))

    client = tenant.plan.container(Role.CLIENT)
    assert who_has(str(client.addresses[0].ip)).hwsrc == client.mac  # type: ignore[attr-defined]
    assert who_has(host_addresses()[0]) is None


@pytest.mark.tenants(2, services=["dns", "ldap"])
@pytest.mark.parametrize("place", ["client", "service", "router"])
def test_other_tenants_are_out_of_reach(
    place: str, deployment: Running, tenants: tuple[Tenant, ...], wire: Capture
) -> None:
    own, other = tenants
    word = secrets.token_hex(8)
    send = sender_at(place, deployment, own)
    beyond = [str(leg.ip) for leg in other.plan.router.uplink.addresses if leg.version == 4]
    for address in (*beyond, str(other.server)):
        send(address, deployment.plan.sut.port, word)
    other_mac = other.plan.router.uplink.mac
    reached = [f for f in wire.frames() if f.destination_mac == other_mac and f.has(word.encode())]
    assert not reached
    send(str(own.server), deployment.plan.sut.port, word)
    own_mac = own.plan.router.uplink.mac
    wire.await_frame(lambda frame: frame.source_mac == own_mac and frame.has(word.encode()))


@pytest.mark.tenants(1, services=["dns", "ldap"])
@pytest.mark.parametrize("role", [Role.CLIENT, Role.DNS, Role.LDAP])
def test_container_sees_nothing_of_the_host(role: Role, tenant: Tenant) -> None:
    host = tenant.host(role)
    mounts = host.file("/proc/self/mounts").content_string.splitlines()
    disks = {line.split()[1] for line in mounts if line.startswith("/dev/")}
    # Docker's own, read from its data folder; a mount of ours would be here too.
    assert disks <= {"/", *_OF_DOCKER}
    assert not [line for line in mounts if "docker.sock" in line]
    assert not host.file("/var/run/docker.sock").exists
    assert not host.file("/dev/kvm").exists
    assert not host.file("/dev/net/tun").exists
    # Its own processes alone: Docker's init, the server, and the shell that asks.
    names = set(host.check_output("ps -e -o comm=").split())
    assert not names & {"dockerd", "qemu-system-x86", "python3.11"}
    status = host.file("/proc/1/status").content_string
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert fields["NoNewPrivs"] == "1"
    assert fields["Seccomp"] == "2"


@pytest.mark.exclusive
@pytest.mark.tenants(1)
def test_management_network_leads_nowhere(deployment: Running, tenant: Tenant) -> None:
    """Root in the SUT gives itself routes by the gateway and name server that QEMU plays there."""
    word, run = secrets.token_hex(8), deployment.sut.channel.run
    (own,) = json.loads(run(["ip", "-json", "-4", "address", "show", "mgmt"]).stdout)[0][
        "addr_info"
    ]
    network = ip_network(f"{own['local']}/{own['prefixlen']}", strict=False)
    gateway, name_server = str(network[2]), str(network[3])  # QEMU's choice
    send = sender_at("sut", deployment, tenant)
    with listening() as listener:
        for address in (gateway, name_server):
            send(address, listener.port, word)
        for address in host_addresses():
            route = [f"{address}/32", "via", gateway, "dev", "mgmt"]
            run(["ip", "route", "add", *route])
            try:
                assert "dev mgmt" in run(["ip", "route", "get", address]).stdout
                send(address, listener.port, word)
            finally:
                run(["ip", "route", "del", *route])
        assert listener.heard() == []
        # The gateway, which would be the host's loopback, is there.
        assert " 0% packet loss" in run(["ping", "-c", "1", "-W", "3", gateway]).stdout
        send_from_here("127.0.0.1", listener.port, word)
        assert set(listener.heard()) == {word.encode()}
