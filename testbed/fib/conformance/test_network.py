"""Rows 38 and 49, pitfalls P8, P26 to P28 and P34: what the network itself says and asks."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import time
import unittest
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .. import api as fib
from ..entries import Address
from ..netlink import Rtnetlink
from . import lab, packet
from .case import Case, fib_socket
from .test_sockets import DGRAM, STREAM, wildcard

FOUR, SIX = socket.AF_INET, socket.AF_INET6
IP_MTU, IPV6_MTU = 14, 24
BACKLOG = 4
SMALL, FULL = 1280, 1500
ROUTER_ADVERTISEMENT, NEIGHBOUR_SOLICITATION = 134, 135


class Mtu(Case):
    def setUp(self) -> None:
        self.forget()
        self.addCleanup(self.forget)

    def forget(self) -> None:
        """Make the routes anew: what was learned hangs on them."""
        lab.put(lab.document(fibs=[lab.fib_entry(3)]))
        lab.put(lab.document())

    def mtu(self, number: int, family: socket.AddressFamily) -> int:
        """Return the path MTU of a FIB to the client that all tenants have."""
        with fib_socket(number, family, DGRAM) as made:
            made.connect((lab.CLIENT[family], 9))
            if family == FOUR:
                return made.getsockopt(socket.IPPROTO_IP, IP_MTU)
            return made.getsockopt(socket.IPPROTO_IPV6, IPV6_MTU)

    def too_big(self, victim: socket.socket, source: int, target: int) -> bytes:
        """Return the error of a router in tenant `source` to tenant `target` about a datagram."""
        family = victim.family
        address, port = victim.getsockname()[:2]
        quoted = packet.udp(address, lab.CLIENT[family], (port, 9), b"x" * 64)
        kind, code = (3, 4) if family == FOUR else (2, 0)
        message = struct.pack("!BBHI", kind, code, 0, SMALL) + quoted
        return packet.icmp(lab.router(source, family), lab.server(target, family), message)

    def test_row_38_and_p08_path_mtu_is_per_tenant(self) -> None:
        for family in self.families():
            for teller, other in ((1, 2), (2, 1)):
                self.forget()
                with self.subTest(family=family, teller=teller):
                    self.assertEqual((self.mtu(1, family), self.mtu(2, family)), (FULL, FULL))
                    with fib_socket(teller, family, DGRAM) as victim, self.counted():
                        victim.connect((lab.CLIENT[family], 9))
                        lab.send_frame(teller, self.too_big(victim, teller, teller))
                        lab.wait_for(
                            lambda t=teller, f=family: self.mtu(t, f) == SMALL,  # type: ignore[misc]
                            "the path MTU",
                        )
                    self.assertEqual(self.mtu(other, family), FULL)

    def test_row_38_and_p08_nobody_tells_another_tenant(self) -> None:
        for family in self.families():
            with self.subTest(family=family), fib_socket(2, family, DGRAM) as victim:
                victim.connect((lab.CLIENT[family], 9))
                with self.counted(foreign_icmp=1):
                    lab.send_frame(1, self.too_big(victim, 1, 1))
                with self.counted(sender=1):
                    lab.send_frame(1, self.too_big(victim, 1, 2))
                self.assertEqual(self.mtu(2, family), FULL)


@contextlib.contextmanager
def questions(tenant: int) -> Iterator[list[bytes]]:
    """All frames at a tenant's router that ask for a link address; filled at the end."""
    with lab.namespace(tenant):
        listening = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    found: list[bytes] = []
    with listening:
        listening.bind((f"u{tenant}", 3))
        listening.settimeout(lab.QUIET_S)
        yield found
        with contextlib.suppress(TimeoutError):
            while True:
                frame = listening.recv(9999)
                if frame[12:14] == b"\x08\x06" or (
                    frame[12:14] == b"\x86\xdd" and frame[20] == packet.ICMPV6
                ):
                    found.append(frame[14:])


class Neighbours(Case):
    def without_neighbours(self) -> dict[str, Any]:
        fibs = [{**lab.fib_entry(tenant), "neighbours": []} for tenant in lab.TENANTS]
        return lab.document(fibs=fibs, strict_mac=False)

    def test_row_49_and_p26_arp_asks_with_the_tenants_address(self) -> None:
        lab.put(self.without_neighbours())
        self.addCleanup(lab.put, lab.document())
        for tenant in (1, 2):
            with (
                self.subTest(tenant=tenant),
                questions(tenant) as asked,
                fib_socket(tenant, FOUR, DGRAM) as made,
                lab.Capture(tenant) as capture,
            ):
                made.sendto(b"x", (lab.CLIENT[FOUR], 9))
                lab.wait_for(capture.packets, "the packet after the question")
            requests = [frame for frame in asked if frame[6:8] == b"\0\1"]
            pairs = {(socket.inet_ntoa(f[14:18]), socket.inet_ntoa(f[24:28])) for f in requests}
            ours = {pair for pair in pairs if pair[0].startswith("10.64.0.")}
            self.assertIn((lab.server(tenant, FOUR), lab.router(tenant, FOUR)), ours)
            # Nobody else's address is announced to this tenant's router in the asking.
            self.assertEqual(
                {a for a, b in ours if b == lab.router(tenant, FOUR)}, {lab.server(tenant, FOUR)}
            )

    def test_row_49_and_p27_neighbour_discovery_asks_with_the_tenants_address(self) -> None:
        lab.put(self.without_neighbours())
        self.addCleanup(lab.put, lab.document())
        for tenant in (1, 2):
            with (
                self.subTest(tenant=tenant),
                questions(tenant) as asked,
                fib_socket(tenant, SIX, DGRAM) as made,
                lab.Capture(tenant) as capture,
            ):
                made.sendto(b"x", (lab.CLIENT[SIX], 9))
                lab.wait_for(capture.packets, "the packet after the question")
            sources = {
                socket.inet_ntop(SIX, frame[8:24])
                for frame in asked
                if frame[40] == NEIGHBOUR_SOLICITATION
                and frame[48:64] == socket.inet_pton(SIX, lab.router(tenant, SIX))
            }
            self.assertEqual(sources, {lab.server(tenant, SIX)})

    def advertise(self) -> None:
        """Send tenant 1's router advertisement: a default route and a network to live in."""
        prefix = socket.inet_pton(SIX, "2001:db8:bad::")
        option = struct.pack("!BBBBIII", 3, 4, 64, 0xC0, 1800, 1800, 0) + prefix
        message = struct.pack("!BBHBBHII", ROUTER_ADVERTISEMENT, 0, 0, 64, 0, 1800, 0, 0) + option
        frame = packet.icmp("fe80::1", "ff02::1", message)
        lab.send_frame(1, frame[:7] + b"\xff" + frame[8:])

    def learned(self) -> bool:
        shown = lab.run("ip", "-6", "-j", "route", "show", "table", "all", "dev", lab.NIC)
        return any(
            route["dst"] == "default" or route["dst"].startswith("2001:db8:bad:")
            for route in json.loads(shown)
            if route.get("protocol") == "ra" or route["dst"].startswith("2001:db8:bad:")
        )

    def test_p27_router_advertisement_changes_nothing(self) -> None:
        self.advertise()
        time.sleep(lab.QUIET_S)
        self.assertFalse(self.learned())

    def test_p27_control(self) -> None:
        self.addCleanup(lab.put, lab.document())
        try:
            with lab.setting(f"net/ipv6/conf/{lab.NIC}/accept_ra", "2"):
                self.advertise()
                lab.wait_for(self.learned, "the route of the advertisement")
        finally:
            lab.run("ip", "-6", "route", "flush", "proto", "ra", "dev", lab.NIC)
            lab.run("ip", "-6", "route", "flush", "proto", "kernel", "root", "2001:db8:bad::/48")


class Starvation(Case):
    """P28: what one tenant does to the one listener of all."""

    def fill(self, stack: contextlib.ExitStack) -> None:
        """Let tenant 1 make connections until the queue of those not yet accepted is full."""
        for _ in range(BACKLOG + 8):
            client = stack.enter_context(lab.tenant_socket(1, FOUR, STREAM))
            client.settimeout(0)
            client.connect_ex((lab.server(1, FOUR), 5000))
        time.sleep(lab.QUIET_S)

    def small_listener(self, number: int) -> socket.socket:
        made = fib_socket(number)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(("", 5000))
        made.listen(BACKLOG)
        return made

    def reaches(self, tenant: int) -> bool:
        with lab.tenant_socket(tenant, FOUR, STREAM) as client:
            client.settimeout(1)
            try:
                client.connect((lab.server(tenant, FOUR), 5000))
                client.send(b"x")
            except TimeoutError:
                return False
            return bool(client.getpeername())

    def test_p28_syn_flood_of_one_tenant(self) -> None:
        # A port of its own: what `fill` has left open and closed late comes back as a FIN, whose number
        # is a cookie of the last minutes, and a flooded listener takes that for a new connection.
        port = 5001
        with wildcard(FOUR, STREAM, port) as listener:
            for number in range(600):
                source = f"192.168.0.{2 + number % 250}"
                target = lab.server(1, FOUR)
                syn = packet.tcp(source, target, (1024 + number, port), packet.SYN, (number,))
                lab.send_frame(1, syn)
            start = time.monotonic()
            with lab.tenant_socket(2, FOUR, STREAM) as client:
                client.connect((lab.server(2, FOUR), port))
                self.assertLess(time.monotonic() - start, lab.SYN_AGAIN_S)
                with listener.accept()[0] as accepted:
                    self.assertEqual(fib.socket_fib(accepted), 2)

    # tcp_v4_syn_recv_sock and tcp_conn_request (net/ipv4/tcp_ipv4.c, tcp_input.c) ask
    # sk_acceptq_is_full of the one listener.
    @unittest.expectedFailure
    def test_p28_accept_queue_is_per_tenant(self) -> None:
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.small_listener(0))
            self.fill(stack)
            self.assertTrue(self.reaches(2))

    def test_p28_listener_of_a_fib_has_a_queue_of_its_own(self) -> None:
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.small_listener(0))
            stack.enter_context(self.small_listener(2))
            self.fill(stack)
            self.assertTrue(self.reaches(2))

    def test_p28_more_neighbours_than_the_kernels_default(self) -> None:
        """gc_thresh3 is 1024 by default: one more next hop would fail with ENOBUFS."""
        for version in ("ipv4", "ipv6"):
            limit = Path(f"/proc/sys/net/{version}/neigh/default/gc_thresh3").read_text()
            self.assertGreaterEqual(int(limit), 65536)


class Resolver(Case):
    """P34: libc asks for every local address where a program wants only families that there are."""

    def grown(self, flags: int) -> float:
        """Return how many times as long getaddrinfo takes with 2,000 addresses more."""
        base = self.cost(flags)
        many = [
            Address(FOUR, socket.inet_aton(f"10.127.{number >> 8}.{number & 255}"), 32)
            for number in range(2000)
        ]
        with Rtnetlink(socket.if_nametoindex("lo")) as netlink:
            try:
                netlink.add(many)
                return self.cost(flags) / base
            finally:
                netlink.remove(many)

    def cost(self, flags: int) -> float:
        def once() -> float:
            start = time.perf_counter()
            socket.getaddrinfo("192.0.2.1", 9, type=DGRAM, flags=flags)
            return time.perf_counter() - start

        return min(once() for _ in range(20))

    def test_p34_control(self) -> None:
        self.assertLess(self.grown(0), 3)

    # glibc: __check_pf (sysdeps/unix/sysv/linux/check_pf.c) dumps all addresses at each call; the
    # kernel's inet_dump_ifaddr (net/ipv4/devinet.c) has no filter that would end it at the first.
    @unittest.expectedFailure
    def test_p34_families_there_are_cost_nothing(self) -> None:
        self.assertLess(self.grown(socket.AI_ADDRCONFIG), 3)
