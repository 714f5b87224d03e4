"""Row 37 and the pitfalls of the data path: what must be dropped, and what must not."""

import errno
import os
import socket
import struct
import time

from .. import api as fib
from . import lab, packet
from .case import Case, fib_socket
from .test_sockets import DGRAM, STREAM, source_info, wildcard

FOUR, SIX = socket.AF_INET, socket.AF_INET6
SO_BINDTODEVICE = 25
IP_UNICAST_IF, IPV6_UNICAST_IF = 50, 76


class Ingress(Case):
    def deliver(self, tenant: int, source: str, target: str, *, mac: str | None = None) -> bool:
        """Whether a datagram with these addresses reaches a wildcard socket."""
        family = SIX if ":" in source else FOUR
        with wildcard(family, DGRAM) as serving:
            serving.settimeout(lab.QUIET_S)
            frame = packet.udp(source, target, (40000, 5000), b"x")
            lab.send_frame(tenant, frame, source_mac=mac)
            try:
                return serving.recv(9) == b"x"
            except TimeoutError:
                return False

    def test_p24_strict_sender(self) -> None:
        for family in self.families():
            client, target = lab.CLIENT[family], lab.server(2, family)
            with self.subTest(family=family):
                with self.counted():
                    self.assertTrue(self.deliver(2, client, target))
                with self.counted(sender=1):
                    self.assertFalse(self.deliver(1, client, target))
                with self.counted(sender=1):
                    self.assertFalse(self.deliver(2, client, target, mac="02:fb:00:00:00:77"))

    def test_p24_lenient_by_choice(self) -> None:
        lab.put(lab.document(strict_mac=False))
        self.addCleanup(lab.put, lab.document())
        for family in self.families():
            with self.subTest(family=family), self.counted():
                self.assertTrue(self.deliver(1, lab.CLIENT[family], lab.server(2, family)))

    def test_p31_hairpin(self) -> None:
        for family in self.families():
            with self.subTest(family=family), self.counted(hairpin=1):
                self.assertFalse(self.deliver(1, lab.server(1, family), lab.server(2, family)))
            with self.subTest(family=family, own=True), self.counted(hairpin=1):
                self.assertFalse(self.deliver(1, lab.server(1, family), lab.server(1, family)))

    def test_p01_client_that_owns_the_number_of_another_tenants_server(self) -> None:
        for family in self.families():
            twin = lab.server(2, family)
            entries = [lab.fib_entry(tenant) for tenant in lab.TENANTS]
            entries[0]["routes"].append(
                {"to": f"{twin}/{32 if family == FOUR else 128}", "via": lab.router(1, family)}
            )
            lab.put(lab.document(fibs=entries))
            self.addCleanup(lab.put, lab.document())
            lab.run("ip", "-n", "fibc-r1", "addr", "add", twin, "dev", "lo")
            self.addCleanup(lab.run, "ip", "-n", "fibc-r1", "addr", "del", twin, "dev", "lo")
            with self.subTest(family=family), lab.namespace(1):
                client = socket.socket(family)
            client.settimeout(lab.TIMEOUT_S)
            with wildcard(family, STREAM) as listener, client:
                client.bind((twin, 0))
                client.connect((lab.server(1, family), 5000))
                with listener.accept()[0] as accepted:
                    self.assertEqual(fib.socket_fib(accepted), 1)
                    accepted.send(b"x")
                    self.assertEqual(client.recv(9), b"x")

    def test_row_37_and_p23_foreign_icmp_error(self) -> None:
        for family in self.families():
            with self.subTest(family=family):
                self.quote_another_tenant(family)

    def quote_another_tenant(self, family: socket.AddressFamily) -> None:
        """A port-unreachable for tenant 2's connected socket, from tenant 1 and then from 2."""
        kind, code = (3, 3) if family == FOUR else (1, 4)
        client = lab.CLIENT[family]
        with fib_socket(2, family, DGRAM) as victim:
            victim.connect((client, 4711))
            own = (lab.server(2, family), victim.getsockname()[1])
            victim.settimeout(lab.QUIET_S)
            quoted = packet.udp(own[0], client, (own[1], 4711), b"x")
            forged = packet.icmp_error(client, lab.server(1, family), kind, code, quoted)
            with self.counted(foreign_icmp=1):
                lab.send_frame(1, forged)
                with self.assertRaises(TimeoutError):
                    victim.recv(9)
            honest = packet.icmp_error(client, own[0], kind, code, quoted)
            with self.counted(), self.refused(errno.ECONNREFUSED):
                lab.send_frame(2, honest)
                victim.recv(9)

    def test_p23_fragmented_error(self) -> None:
        quoted = packet.udp(lab.server(2, FOUR), lab.CLIENT[FOUR], (1, 2), b"x")
        message = struct.pack("!BBHI", 3, 3, 0, 0) + quoted
        piece = packet.ip(
            lab.CLIENT[FOUR], lab.server(1, FOUR), packet.ICMP, message[:8], fragment=0x2000
        )
        with self.counted(malformed=1):
            lab.send_frame(1, piece)
            time.sleep(lab.QUIET_S)

    def test_p10_fragments_of_another_tenants_client(self) -> None:
        client, target = lab.CLIENT[FOUR], lab.server(2, FOUR)
        whole = packet.udp(client, target, (40000, 5000), b"y" * 64)
        first = packet.ip(client, target, packet.UDP, whole[20:60], fragment=0x2000)
        second = packet.ip(client, target, packet.UDP, whole[60:], fragment=5)
        with wildcard(FOUR, DGRAM) as serving:
            lab.send_frame(2, first)
            for number in range(200):
                orphan = packet.ip(
                    client, lab.server(1, FOUR), packet.UDP, bytes(16), fragment=0x2000 + number * 4
                )
                lab.send_frame(
                    1, orphan[:4] + struct.pack("!H", number) + orphan[6:10] + b"\0\0" + orphan[12:]
                )
            lab.send_frame(2, second)
            self.assertEqual(serving.recv(99), b"y" * 64)


class Egress(Case):
    """P33: an interface named by the program makes the kernel send without a route."""

    def escapes(self, made: socket.socket, tenant: int, *, control: bool) -> bool:
        """Whether a datagram to a tenant's client reaches its router."""
        family, mark = made.family, os.urandom(8)  # other talk of the tenant's is not counted
        with lab.Capture(tenant) as capture:
            message = [source_info(family, lab.server(2, family), socket.if_nametoindex(lab.NIC))]
            try:
                made.sendmsg([mark], message if control else [], 0, (lab.router(tenant, family), 9))
            except OSError as error:
                self.assertIn(error.errno, (errno.ENETUNREACH, errno.EINVAL, errno.EHOSTUNREACH))
            time.sleep(lab.QUIET_S)
            return any(mark in packet for packet in capture.packets())

    def made(self, number: int, family: socket.AddressFamily, option: str) -> socket.socket:
        made = fib_socket(number, family, DGRAM)
        index = socket.if_nametoindex(lab.NIC)
        if option == "device":
            made.setsockopt(socket.SOL_SOCKET, SO_BINDTODEVICE, lab.NIC.encode())
        elif family == FOUR and option == "unicast":
            made.setsockopt(socket.IPPROTO_IP, IP_UNICAST_IF, struct.pack("!I", index))
        elif option == "unicast":
            made.setsockopt(socket.IPPROTO_IPV6, IPV6_UNICAST_IF, struct.pack("!I", index))
        return made

    def test_p33_output_interface_options(self) -> None:
        for family in self.families():
            for number in (0, 1, 3, 7):
                for option in ("device", "unicast", "pktinfo"):
                    made = self.made(number, family, option)
                    with self.subTest(family=family, fib=number, option=option), made:
                        self.assertFalse(
                            self.escapes(made, 2, control=option == "pktinfo" and number != 0)
                        )

    def test_p33_control(self) -> None:
        for family in self.families():
            with self.subTest(family=family), fib_socket(2, family, DGRAM) as made:
                self.assertTrue(self.escapes(made, 2, control=True))

    def test_p33_guard_counts(self) -> None:
        """Past the routes: the guard alone stops it."""
        for number in (1, 7):
            with self.made(number, FOUR, "device") as made, self.counted(guard_source=1):
                self.assertFalse(self.escapes(made, 2, control=False))
        with self.made(1, FOUR, "device") as made, self.counted(guard_router=1):
            made.bind((lab.server(1, FOUR), 0))
            self.assertFalse(self.escapes(made, 2, control=False))

    def test_p35_fib_0_reaches_no_tenant(self) -> None:
        for family in self.families():
            for target in (lab.CLIENT[family], lab.router(1, family), lab.router(3, family)):
                for kind in (STREAM, DGRAM):
                    made = fib_socket(0, family, kind)
                    with made, self.subTest(target=target), self.refused(errno.ENETUNREACH):
                        made.connect((target, 9))
