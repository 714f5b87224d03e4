"""Rows 19 to 31 and 34, 35: which FIB a connection, datagram or reply is in."""

import contextlib
import errno
import socket
import struct
import time

from .. import api as fib
from . import lab, packet
from .case import Case, fib_socket

STREAM, DGRAM, RAW = socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW
IPV6_PKTINFO = 50
IP_PKTINFO = 8
TCPI_OPT_SYN_DATA = 32


def wildcard(family: socket.AddressFamily, kind: int, port: int = 5000) -> socket.socket:
    """Return a bound wildcard socket of FIB 0."""
    made = socket.socket(family, kind)
    made.settimeout(lab.TIMEOUT_S)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind(("", port))
    if kind == STREAM:
        made.listen(64)
    return made


def source_info(
    family: socket.AddressFamily, address: str, interface: int = 0
) -> tuple[int, int, bytes]:
    """Return the control message that names a datagram's source."""
    packed = socket.inet_pton(family, address)
    if family == socket.AF_INET:
        return (socket.IPPROTO_IP, IP_PKTINFO, struct.pack("=i4s4x", interface, packed))
    return (socket.IPPROTO_IPV6, IPV6_PKTINFO, packed + struct.pack("=i", interface))


class Sockets(Case):
    def test_row_19_bind_to_an_address_of_the_own_fib(self) -> None:
        for family in self.families():
            for kind in (STREAM, DGRAM):
                with self.subTest(family=family, kind=kind), fib_socket(1, family, kind) as made:
                    made.bind((lab.server(1, family), 0))
                    self.assertEqual(fib.socket_fib(made), 1)

    def test_row_20_bind_without_fib_takes_that_of_the_address(self) -> None:
        for family in self.families():
            icmp = packet.ICMP if family == socket.AF_INET else packet.ICMPV6
            for kind, protocol in ((STREAM, 0), (DGRAM, 0), (RAW, icmp)):
                for address, owner in ((lab.server(2, family), 2), (lab.STRANGER[family], 3)):
                    made = fib_socket(0, family, kind, protocol)
                    with self.subTest(kind=kind, address=address), made:
                        made.bind((address, 0))
                        self.assertEqual(fib.socket_fib(made), owner)

    def test_row_20_bind_to_an_address_of_another_fib(self) -> None:
        for family in self.families():
            icmp = packet.ICMP if family == socket.AF_INET else packet.ICMPV6
            for kind, protocol in ((STREAM, 0), (DGRAM, 0), (RAW, icmp)):
                for address in (lab.server(2, family), lab.STRANGER[family]):
                    made = fib_socket(1, family, kind, protocol)
                    with self.subTest(kind=kind, address=address), made:
                        with self.refused(errno.EADDRNOTAVAIL):
                            made.bind((address, 0))
                        self.assertEqual(fib.socket_fib(made), 1)

    def test_row_21_accepted_socket_has_the_fib_of_its_local_address(self) -> None:
        for family in self.families():
            for cookies in ("1", "2"):
                setting = lab.setting("net/ipv4/tcp_syncookies", cookies)
                with self.subTest(family=family, cookies=cookies), setting:
                    self.accept_from_all(family)

    def accept_from_all(self, family: socket.AddressFamily) -> None:
        """All clients at once, from the same address and port."""
        with contextlib.ExitStack() as stack:
            listener = stack.enter_context(wildcard(family, STREAM))
            for tenant in lab.TENANTS:
                client = stack.enter_context(lab.tenant_socket(tenant, family, STREAM, 40000))
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.connect((lab.server(tenant, family), 5000))
                accepted = stack.enter_context(listener.accept()[0])
                accepted.settimeout(lab.TIMEOUT_S)
                self.assertEqual(fib.socket_fib(accepted), tenant)
                accepted.send(b"%d" % tenant)
                self.assertEqual(client.recv(9), b"%d" % tenant)

    def test_row_21_and_p16_fast_open(self) -> None:
        """Data in the SYN: the first connection fetches the cookie, the second uses it."""
        with lab.setting("net/ipv4/tcp_fastopen", "3"):
            for family in self.families():
                with self.subTest(family=family), wildcard(family, STREAM) as listener:
                    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 16)
                    used = [self.open_fast(listener, t) for _ in range(2) for t in lab.TENANTS]
                    self.assertEqual(used[len(lab.TENANTS) :], [True] * len(lab.TENANTS))

    def open_fast(self, listener: socket.socket, tenant: int) -> bool:
        """Connect with data in the SYN; return whether the listener took it from there."""
        family = listener.family
        with lab.tenant_socket(tenant, family, STREAM) as client:
            where = (lab.server(tenant, family), listener.getsockname()[1])
            client.settimeout(None)  # with one it would not wait for the handshake
            client.sendto(b"%d" % tenant, socket.MSG_FASTOPEN, where)
            client.settimeout(lab.TIMEOUT_S)
            with listener.accept()[0] as accepted:
                accepted.settimeout(lab.TIMEOUT_S)
                self.assertEqual(fib.socket_fib(accepted), tenant)
                self.assertEqual(accepted.recv(9), b"%d" % tenant)
                accepted.send(b"r")
                self.assertEqual(client.recv(9), b"r")
                options = accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 8)[5]
        return bool(options & TCPI_OPT_SYN_DATA)

    def test_row_22_handshake_and_reset_stay_in_the_tenant(self) -> None:
        for family in self.families():
            with self.subTest(family=family), lab.Capture(1) as one, lab.Capture(2) as two:
                with wildcard(family, STREAM) as listener:
                    client = lab.tenant_socket(2, family, STREAM)
                    with client:
                        client.connect((lab.server(2, family), 5000))
                        listener.accept()[0].close()
                lab.wait_for(two.packets, "the SYN-ACK at tenant 2's router")
                time.sleep(lab.QUIET_S)
                self.assertEqual(one.packets(), [])

    def test_row_23_accept_leaves_the_thread_alone(self) -> None:
        fib.thread_fib(3)
        for family in self.families():
            with self.subTest(family=family), fib_socket(0, family) as listener:
                listener.bind(("", 5001))
                listener.listen()
                with lab.tenant_socket(1, family, STREAM) as client:
                    client.connect((lab.server(1, family), 5001))
                    with listener.accept()[0] as accepted:
                        self.assertEqual(fib.socket_fib(accepted), 1)
                self.assertEqual(fib.get_thread_fib(), 3)

    def test_row_24_connect_unbound(self) -> None:
        for family in self.families():
            for tenant in lab.TENANTS:
                with self.subTest(family=family, tenant=tenant):
                    self.connect_out(family, tenant)

    def connect_out(self, family: socket.AddressFamily, tenant: int) -> None:
        with (
            lab.tenant_socket(tenant, family, STREAM, 389) as listener,
            fib_socket(tenant, family) as made,
        ):
            listener.listen()
            made.connect((lab.CLIENT[family], 389))
            self.assertEqual(made.getsockname()[0], lab.server(tenant, family))
            peer, where = listener.accept()
            peer.close()
            self.assertEqual(where[0], lab.server(tenant, family))

    def test_row_26_connect_to_another_tenants_server_address(self) -> None:
        for family in self.families():
            with self.subTest(family=family), wildcard(family, STREAM) as listener:
                listener.settimeout(lab.QUIET_S)
                with fib_socket(1, family) as made, self.refused(errno.ENETUNREACH):
                    made.connect((lab.server(2, family), 5000))
                with self.assertRaises(TimeoutError):
                    listener.accept()
                with fib_socket(2, family) as own:  # control: the same within the FIB
                    own.connect((lab.server(2, family), 5000))
                    with listener.accept()[0] as accepted:
                        self.assertEqual(fib.socket_fib(accepted), 2)

    def test_row_27_one_destination_in_every_fib_at_once(self) -> None:
        for family in self.families():
            with self.subTest(family=family), contextlib.ExitStack() as stack:
                ends = []
                for tenant in lab.TENANTS:
                    listener = lab.tenant_socket(tenant, family, STREAM, 389)
                    stack.enter_context(listener).listen()
                    made = stack.enter_context(fib_socket(tenant, family))
                    made.connect((lab.CLIENT[family], 389))
                    peer = stack.enter_context(listener.accept()[0])
                    peer.send(b"%d" % tenant)
                    ends.append((tenant, made))
                for tenant, made in ends:
                    self.assertEqual(made.recv(9), b"%d" % tenant)

    def test_row_28_udp_question_and_answer(self) -> None:
        for family in self.families():
            with self.subTest(family=family), contextlib.ExitStack() as stack:
                servers = {
                    tenant: stack.enter_context(lab.tenant_socket(tenant, family, DGRAM, 53))
                    for tenant in lab.TENANTS
                }
                asking = {
                    tenant: stack.enter_context(fib_socket(tenant, family, DGRAM))
                    for tenant in lab.TENANTS
                }
                for tenant, made in asking.items():
                    made.sendto(b"%d" % tenant, (lab.CLIENT[family], 53))
                for tenant, answering in servers.items():
                    question, where = answering.recvfrom(9)
                    self.assertEqual(
                        (question, where[0]), (b"%d" % tenant, lab.server(tenant, family))
                    )
                    answering.sendto(question, where)
                for tenant, made in asking.items():
                    self.assertEqual(made.recv(9), b"%d" % tenant)

    def test_rows_29_to_31_udp_wildcard_server(self) -> None:
        for family in self.families():
            option = (socket.IPPROTO_IP, IP_PKTINFO)
            if family == socket.AF_INET6:
                option = (socket.IPPROTO_IPV6, 49)
            with self.subTest(family=family), wildcard(family, DGRAM) as serving:
                serving.setsockopt(*option, 1)
                for tenant in lab.TENANTS:
                    self.serve(serving, family, tenant)

    def serve(self, serving: socket.socket, family: socket.AddressFamily, tenant: int) -> None:
        address = lab.server(tenant, family)
        with lab.tenant_socket(tenant, family, DGRAM, 40000) as client:
            client.connect((address, 5000))
            client.send(b"q")
            _, control, _, where = serving.recvmsg(9, 99)
            packed = socket.inet_pton(family, address)
            start = 4 if family == socket.AF_INET else 0
            self.assertEqual(control[0][2][start : start + len(packed)], packed)
            with lab.Capture(tenant) as capture:
                with self.refused(errno.ENETUNREACH):
                    serving.sendto(b"wrong", where)
                serving.sendmsg([b"r"], [source_info(family, address)], 0, where)
                self.assertEqual(client.recv(9), b"r")
                self.assertEqual(len(capture.packets()), 1)

    def test_row_33_raw_socket_hears_its_own_fib(self) -> None:
        for family in self.families():
            protocol, kind = (packet.ICMP, 8) if family == socket.AF_INET else (packet.ICMPV6, 128)
            with (
                self.subTest(family=family),
                fib_socket(1, family, RAW, protocol) as own,
                fib_socket(0, family, RAW, protocol) as wild,
            ):
                for tenant in (2, 1):
                    echo = struct.pack("!BBHHH", kind, 0, 0, tenant, tenant)
                    lab.send_frame(
                        tenant, packet.icmp(lab.CLIENT[family], lab.server(tenant, family), echo)
                    )
                self.assertEqual(self.echoes(own, family, kind), [1])
                self.assertEqual(self.echoes(wild, family, kind), [2, 1])

    def echoes(self, raw: socket.socket, family: socket.AddressFamily, kind: int) -> list[int]:
        """Return the identifiers of the echo requests heard."""
        raw.settimeout(lab.QUIET_S)
        heard = []
        with contextlib.suppress(TimeoutError):
            while True:
                message = raw.recv(999)[20 if family == socket.AF_INET else 0 :]
                if message[0] == kind:
                    heard.append(int(struct.unpack_from("!H", message, 4)[0]))
        return heard

    def test_row_34_echo(self) -> None:
        for family in self.families():
            for tenant in lab.TENANTS:
                kind = 8 if family == socket.AF_INET else 128
                source, target = lab.CLIENT[family], lab.server(tenant, family)
                echo = packet.icmp(source, target, struct.pack("!BBHHH", kind, 0, 0, 1, 1))
                other = lab.Capture(tenant % 3 + 1)
                with self.subTest(tenant=tenant), lab.Capture(tenant) as own, other:
                    lab.send_frame(tenant, echo)
                    reply = lab.wait_for(own.packets, "the echo reply")[0]
                    self.assertIn(socket.inet_pton(family, target), reply[:40])
                    self.assertEqual(other.packets(), [])

    def test_row_35_closed_port(self) -> None:
        for family in self.families():
            for tenant in lab.TENANTS:
                other = lab.Capture(tenant % 3 + 1)
                client = lab.tenant_socket(tenant, family, STREAM)
                with self.subTest(tenant=tenant), client, other:
                    start = time.monotonic()
                    with self.refused(errno.ECONNREFUSED):
                        client.connect((lab.server(tenant, family), 9))
                    self.assertLess(time.monotonic() - start, lab.SYN_AGAIN_S)
                    self.assertEqual(other.packets(), [])

    def test_row_36_port_unreachable(self) -> None:
        for family in self.families():
            for tenant in lab.TENANTS:
                address, other = lab.server(tenant, family), lab.Capture(tenant % 3 + 1)
                with (
                    self.subTest(family=family, tenant=tenant),
                    lab.tenant_socket(tenant, family, DGRAM) as client,
                    lab.Capture(tenant) as own,
                    other,
                ):
                    client.connect((address, 9))
                    client.send(b"x")
                    with self.refused(errno.ECONNREFUSED):
                        client.recv(9)
                    sent = lab.wait_for(own.packets, "the error at the tenant's router")[0]
                    start = 12 if family == socket.AF_INET else 8
                    packed = socket.inet_pton(family, address)
                    self.assertEqual(sent[start : start + len(packed)], packed)
                    time.sleep(lab.QUIET_S)
                    self.assertEqual(other.packets(), [])
