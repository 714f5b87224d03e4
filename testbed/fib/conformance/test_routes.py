"""Rows 5, 20, 25, 26, 47, 48 and 50: by which table, and from which address."""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
from collections.abc import Iterator

from .. import api as fib
from ..document import InputError
from . import lab, packet
from .case import Case, fib_socket
from .test_sockets import DGRAM, STREAM, wildcard
from .test_watch import OTHER, other_interface

FOUR, SIX = socket.AF_INET, socket.AF_INET6
SO_DONTROUTE = 5
STRANGE = {FOUR: "198.51.100.7", SIX: "2001:db8:7::7"}
"""Addresses of nobody's network here."""

EVERYTHING = {FOUR: "0.0.0.0/0", SIX: "::/0"}


@contextlib.contextmanager
def default_route_of_fib_0() -> Iterator[None]:
    """Let FIB 0 have a way to everywhere, by an interface of its own."""
    with other_interface():
        lab.run("ip", "route", "add", "default", "via", "172.31.0.2", "dev", OTHER)
        lab.run("ip", "-6", "route", "add", "default", "dev", OTHER)
        yield  # the routes go with the interface


class Routes(Case):
    def test_row_05_and_row_47_never_by_the_routes_of_fib_0(self) -> None:
        """Neither a FIB without tenant nor a tenant's, whose own table knows no way there."""
        with default_route_of_fib_0():
            for family in self.families():
                for number in (777, 1, 2):
                    for kind in (STREAM, DGRAM):
                        with (
                            self.subTest(family=family, fib=number, kind=kind),
                            fib_socket(number, family, kind) as lost,
                            self.refused(errno.ENETUNREACH),
                        ):
                            lost.connect((STRANGE[family], 9))
                with fib_socket(0, family, DGRAM) as control:
                    control.connect((STRANGE[family], 9))

    def test_row_47_default_route_of_one_fib_is_no_others(self) -> None:
        self.addCleanup(lab.put, lab.document())
        lab.put(lab.document(fibs=self.with_default_route(1)))
        for family in self.families():
            for number in (0, 2, 3, 777):
                with fib_socket(number, family, DGRAM) as made, self.refused(errno.ENETUNREACH):
                    made.connect((STRANGE[family], 9))
            with fib_socket(1, family, DGRAM) as made:
                made.connect((STRANGE[family], 9))
                self.assertEqual(made.getsockname()[0], lab.server(1, family))

    def with_default_route(self, tenant: int) -> list[dict[str, object]]:
        entries = [lab.fib_entry(number) for number in lab.TENANTS]
        for family in lab.FAMILIES:
            way = {"to": EVERYTHING[family], "via": lab.router(tenant, family)}
            entries[tenant - 1]["routes"].append(way)
        return entries

    def test_row_26_another_tenants_server_address_by_the_own_router(self) -> None:
        """Where the FIB has a route to it the packet leaves; sent back, it is dropped (P31)."""
        self.addCleanup(lab.put, lab.document())
        lab.put(lab.document(fibs=self.with_default_route(1)))
        for family in self.families():
            with (
                self.subTest(family=family),
                wildcard(family, STREAM) as listener,
                lab.Capture(1) as capture,
                fib_socket(1, family) as made,
            ):
                made.settimeout(0)
                before = lab.drops()["hairpin"]
                target = lab.server(2, family)
                self.assertEqual(made.connect_ex((target, 5000)), errno.EINPROGRESS)
                left = lab.wait_for(capture.packets, "the SYN at tenant 1's router")[0]
                self.assertIn(socket.inet_pton(family, target), left[:40])
                lab.wait_for(lambda b=before: lab.drops()["hairpin"] > b, "the drop")  # type: ignore[misc]
                listener.settimeout(lab.QUIET_S)
                with self.assertRaises(TimeoutError):
                    listener.accept()

    def test_row_20_ping_socket(self) -> None:
        with lab.setting("net/ipv4/ping_group_range", "0 2147483647"):
            for family in self.families():
                protocol = packet.ICMP if family == FOUR else packet.ICMPV6
                echo = struct.pack("!BBHHH", 8 if family == FOUR else 128, 0, 0, 0, 1)
                with self.subTest(family=family):
                    with fib_socket(1, family, DGRAM, protocol) as made:
                        with self.refused(errno.EADDRNOTAVAIL):
                            made.bind((lab.server(2, family), 0))
                        made.sendto(echo, (lab.CLIENT[family], 0))
                        made.recv(99)
                    with fib_socket(0, family, DGRAM, protocol) as made:
                        made.bind((lab.server(2, family), 0))
                        self.assertEqual(fib.socket_fib(made), 2)
                        with lab.Capture(2) as capture:
                            made.sendto(echo, (lab.CLIENT[family], 0))
                            lab.wait_for(capture.packets, "the question at tenant 2's router")
                        made.recv(99)

    def test_row_25_connect_after_bind(self) -> None:
        for family in self.families():
            for kind in (STREAM, DGRAM):
                with self.subTest(family=family, kind=kind):
                    with fib_socket(1, family, kind) as made, self.refused(errno.EADDRNOTAVAIL):
                        made.bind((lab.server(2, family), 0))
                    with (
                        fib_socket(0, family, kind) as made,
                        lab.Capture(1) as one,
                        lab.Capture(2) as two,
                    ):
                        made.bind((lab.server(2, family), 0))
                        with contextlib.suppress(ConnectionRefusedError):
                            made.connect((lab.CLIENT[family], 9))
                            made.send(b"x")
                        self.assertEqual(fib.socket_fib(made), 2)
                        lab.wait_for(two.packets, "the packet at tenant 2's router")
                        self.assertEqual(one.packets(), [])

    def test_row_48_one_gateway_in_two_fibs(self) -> None:
        self.addCleanup(lab.put, lab.document())
        for place, family in enumerate(lab.FAMILIES):
            gateway = lab.router(1, family)
            one, two = lab.fib_entry(1), lab.fib_entry(2)
            two["routes"][2 + place]["via"] = gateway
            unnamed = [{**entry, "neighbours": []} for entry in (one, two)]
            with self.assertRaisesRegex(InputError, f"next hop '{gateway}' is also that of FIB 1"):
                lab.put(lab.document(fibs=unnamed, default_fib=0))
            two["neighbours"][place] = {"address": gateway, "mac": lab.mac(2)}
            with self.assertRaisesRegex(InputError, f"neighbour '{gateway}' has another MAC"):
                lab.put(lab.document(fibs=[one, two], default_fib=0))
            two["neighbours"][place]["mac"] = lab.mac(1)
            lab.put(lab.document(fibs=[one, two], default_fib=0))
            for number in (1, 2):  # one router of both: told apart by the source address
                with fib_socket(number, family, DGRAM) as made, lab.Capture(1) as capture:
                    made.sendto(b"x", (lab.CLIENT[family], 9))
                    sent = lab.wait_for(capture.packets, "the packet")[0]
                    self.assertIn(socket.inet_pton(family, lab.server(number, family)), sent[:24])

    def test_row_50_dontroute_stays_in_the_fib(self) -> None:
        for family in self.families():
            with self.subTest(family=family):
                for target, code in ((lab.router(1, family), 0), (lab.router(2, family), 101)):
                    with fib_socket(1, family, DGRAM) as made:
                        made.setsockopt(socket.SOL_SOCKET, SO_DONTROUTE, 1)
                        self.assertEqual(made.connect_ex((target, 9)), code)
                        if not code:
                            self.assertEqual(made.getsockname()[0], lab.server(1, family))

    def test_row_50_dontroute_needs_a_network_on_the_link(self) -> None:
        """IPv4 alone: IPv6 has no such scope and takes the FIB's router."""
        with fib_socket(1, FOUR, DGRAM) as made:
            made.setsockopt(socket.SOL_SOCKET, SO_DONTROUTE, 1)
            with self.refused(errno.ENETUNREACH):
                made.connect((lab.CLIENT[FOUR], 9))
