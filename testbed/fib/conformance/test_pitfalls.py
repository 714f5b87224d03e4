"""Pitfalls P2, P12, P17 and P32: what the kernel looks up, counts or remembers without a tenant."""

from __future__ import annotations

import contextlib
import errno
import itertools
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

from .. import api as fib
from ..document import InputError
from ..entries import Rule
from ..netlink import Rtnetlink
from ..rules import source_bypass_rule, stock_local_rule
from . import lab
from .case import Case, fib_socket
from .test_sockets import DGRAM, STREAM, TCPI_OPT_SYN_DATA, wildcard

FOUR, SIX = socket.AF_INET, socket.AF_INET6
PORT = 5000


@contextlib.contextmanager
def rule_first(make: Callable[[int], Rule]) -> Iterator[None]:
    """A rule of IPv4 before all others while the block lasts."""
    with Rtnetlink(socket.if_nametoindex(lab.NIC)) as netlink:
        rule = make(FOUR)
        netlink.add([rule])
        try:
            yield
        finally:
            netlink.remove([rule])


def martians() -> int:
    """Return how many packets IPv4's source validation (rp_filter) has dropped."""
    rows = [line.split() for line in Path("/proc/net/netstat").read_text().splitlines()]
    names, values = (row for row in rows if row[0] == "TcpExt:")
    return int(values[names.index("IPReversePathFilter")])


class SourceValidation(Case):
    """P2. IPv6 has none: what it does with such a client, P1 shows."""

    def setUp(self) -> None:
        """Let tenant 1 also have a client that owns the number of tenant 2's server."""
        self.twin = lab.server(2, FOUR)
        entries = [lab.fib_entry(tenant) for tenant in lab.TENANTS]
        entries[0]["routes"].append({"to": f"{self.twin}/32", "via": lab.router(1, FOUR)})
        lab.put(lab.document(fibs=entries))
        self.addCleanup(lab.put, lab.document())
        lab.run("ip", "-n", "fibc-r1", "addr", "add", self.twin, "dev", "lo")
        self.addCleanup(lab.run, "ip", "-n", "fibc-r1", "addr", "del", self.twin, "dev", "lo")

    def served(self) -> list[bool]:
        """Whether tenant 1's ordinary client is served, and the twin of tenant 2's server."""
        return [self.is_served(address) for address in (lab.CLIENT[FOUR], self.twin)]

    def is_served(self, address: str) -> bool:
        with lab.namespace(1):
            client = socket.socket()
        with wildcard(FOUR, STREAM) as listener, client:
            client.settimeout(lab.QUIET_S)
            client.bind((address, 0))
            try:
                client.connect((lab.server(1, FOUR), PORT))
            except TimeoutError:
                return False
            with listener.accept()[0] as accepted:
                return fib.socket_fib(accepted) == 1

    def test_p02_source_validation_looks_up_with_the_mark(self) -> None:
        for strictness in ("0", "1", "2"):
            with (
                self.subTest(rp_filter=strictness),
                lab.setting(f"net/ipv4/conf/{lab.NIC}/rp_filter", strictness),
            ):
                self.assertEqual(self.served(), [True, True])

    def test_p02_rules_by_source_find_the_fib_without_the_mark(self) -> None:
        """The belt: the looked-up packet's source is the server's address."""
        with lab.setting(f"net/ipv4/conf/{lab.NIC}/src_valid_mark", "0"):
            for strictness in ("0", "1", "2"):
                with (
                    self.subTest(rp_filter=strictness),
                    lab.setting(f"net/ipv4/conf/{lab.NIC}/rp_filter", strictness),
                ):
                    self.assertEqual(self.served(), [True, True])

    def test_p02_control(self) -> None:
        """Neither mark nor source: FIB 0 knows no way back to the client, and takes the twin for us."""
        for strictness, expected, dropped in (
            ("0", [True, False], False),
            ("2", [False, False], True),
        ):
            with (
                self.subTest(rp_filter=strictness),
                lab.setting(f"net/ipv4/conf/{lab.NIC}/src_valid_mark", "0"),
                lab.setting(f"net/ipv4/conf/{lab.NIC}/rp_filter", strictness),
                rule_first(source_bypass_rule),
            ):
                before = martians()
                self.assertEqual(self.served(), expected)
                self.assertEqual(martians() > before, dropped)

    def test_p02_control_stock_order_of_rules(self) -> None:
        """With `local` first the way back to the twin is to this system itself, mark or not."""
        with rule_first(stock_local_rule):
            self.assertEqual(self.served(), [True, False])


IP_MTU_DISCOVER, PMTUDISC_DONT = 10, 0
BURST = 5000
"""Far more than the ticks of the test: an idle counter moves on by up to their number."""
FRAGMENT = 44


class Identification(Case):
    """P12. IPv4 counts in hashed buckets, IPv6 draws at random: nothing tells tenants of each other."""

    def sent(self, made: socket.socket, capture: lab.Capture, size: int = 1) -> bytes:
        """Return what arrives first at the router of a datagram to the client."""
        made.sendto(bytes(size), (lab.CLIENT[made.family], 9))
        return lab.wait_for(capture.packets, "the datagram")[0]

    def moved(self, other: int) -> int:
        """Return by how much FIB 1's counter has moved after a burst of another FIB's."""
        with (
            lab.Capture(1) as capture,
            fib_socket(1, FOUR, DGRAM) as own,
            fib_socket(other, FOUR, DGRAM) as busy,
        ):
            for made in (own, busy):
                made.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, PMTUDISC_DONT)
            before = struct.unpack_from("!H", self.sent(own, capture), 4)[0]
            for _ in range(BURST):
                busy.sendto(b"x", (lab.CLIENT[FOUR], 9))
            lab.wait_for(lambda: not capture.packets(), "the end of the burst")
            after = struct.unpack_from("!H", self.sent(own, capture), 4)[0]
        return int(after - before) % 65536

    def test_p12_counter_does_not_tell_what_another_tenant_sends(self) -> None:
        """Two others: that one falls into the same of thousands of buckets is no failure."""
        self.assertLess(min(self.moved(other) for other in (2, 3)), BURST // 2)

    def test_p12_control(self) -> None:
        self.assertGreaterEqual(self.moved(1), BURST)

    def test_p12_fragments_of_ipv6_are_numbered_at_random(self) -> None:
        numbers = []
        with lab.Capture(1) as capture, fib_socket(1, SIX, DGRAM) as own:
            for _ in range(8):
                fragment = self.sent(own, capture, 2000)
                self.assertEqual(fragment[6], FRAGMENT)
                numbers.append(struct.unpack_from("!I", fragment, 44)[0])
                lab.wait_for(lambda: not capture.packets(), "the last fragment")
        steps = [(b - a) % (1 << 32) for a, b in itertools.pairwise(numbers)]
        self.assertGreater(len([step for step in steps if step > 65536]), 5, numbers)


TCP_SYNCNT = 7
BLACKHOLE = "net/ipv4/tcp_fastopen_blackhole_timeout_sec"


class FastOpenClient(Case):
    """P17: a client's cookies are kept by addresses, but one switch turns its Fast Open off for all."""

    def setUp(self) -> None:
        lab.run("ip", "tcp_metrics", "flush")
        for tenant in (1, 2):
            with lab.namespace(tenant):
                listening = Path("/proc/sys/net/ipv4/tcp_fastopen")
                listening.write_text("3")

    def serving(self, tenant: int, family: socket.AddressFamily) -> socket.socket:
        made = lab.tenant_socket(tenant, family, STREAM, 389)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 16)
        made.listen()
        return made

    def opened(self, tenant: int, listener: socket.socket) -> bool:
        """Connect from a FIB with data; return whether it went in the SYN and was taken there."""
        with fib_socket(tenant, listener.family) as client:
            client.settimeout(None)  # with one it would not wait for the handshake
            client.sendto(b"q", socket.MSG_FASTOPEN, (lab.CLIENT[listener.family], 389))
            with listener.accept()[0] as accepted:
                accepted.settimeout(lab.TIMEOUT_S)
                self.assertEqual(accepted.recv(9), b"q")
            options = client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 8)[5]
        return bool(options & TCPI_OPT_SYN_DATA)

    def cookies(self, family: socket.AddressFamily) -> dict[str, str]:
        """Return the cookies of the client's number, by the address that they are kept for."""
        found = {}
        for line in lab.run("ip", "tcp_metrics", "show").splitlines():
            words = line.split()
            if words[:1] == [lab.CLIENT[family]] and "fo_cookie" in words:
                found[words[words.index("source") + 1]] = words[words.index("fo_cookie") + 1]
        return found

    def test_p17_cookie_is_kept_for_its_tenant(self) -> None:
        for family in self.families():
            with (
                self.subTest(family=family),
                self.serving(1, family) as one,
                self.serving(2, family) as two,
            ):
                self.assertEqual([self.opened(1, one) for _ in range(2)], [False, True])
                self.assertEqual(list(self.cookies(family)), [lab.server(1, family)])
                self.assertEqual([self.opened(2, two) for _ in range(2)], [False, True])
                kept = self.cookies(family)
                self.assertEqual(set(kept), {lab.server(1, family), lab.server(2, family)})
                self.assertEqual(len(set(kept.values())), 2)

    def swallow(self, family: socket.AddressFamily) -> None:
        """Let tenant 1's network swallow a SYN with data, until FIB 1's client gives up."""
        in_router = ("ip", "netns", "exec", "fibc-r1", "nft")
        rules = (
            "add table inet fibc; "
            "add chain inet fibc swallow { type filter hook input priority 0; }; "
            "add rule inet fibc swallow tcp dport 389 tcp flags syn / syn,ack drop"
        )
        with self.serving(1, family) as listener:
            self.opened(1, listener)
            self.assertTrue(self.opened(1, listener))
        lab.run(*in_router, rules)
        try:
            with fib_socket(1, family) as client, self.refused(errno.ETIMEDOUT):
                client.settimeout(None)
                client.setsockopt(socket.IPPROTO_TCP, TCP_SYNCNT, 1)
                client.sendto(b"q", socket.MSG_FASTOPEN, (lab.CLIENT[family], 389))
        finally:
            lab.run(*in_router, "delete table inet fibc")

    def test_p17_network_that_swallows_stops_no_other_tenant(self) -> None:
        for family in self.families():
            with self.subTest(family=family), self.serving(2, family) as listener:
                self.opened(2, listener)
                self.swallow(family)
                self.assertTrue(self.opened(2, listener))

    def test_p17_control(self) -> None:
        with lab.setting(BLACKHOLE, "60"), self.serving(2, FOUR) as listener:
            self.opened(2, listener)
            self.assertTrue(self.opened(2, listener))
            self.swallow(FOUR)
            self.assertFalse(self.opened(2, listener))


INSIDE = {FOUR: ("192.168.0.201", "192.168.0.202"), SIX: ("fd00:c0a8::201", "fd00:c0a8::202")}
"""Numbers in every tenant's network: one for each of two FIBs."""


class EqualNetworks(Case):
    """P32: a server's number may lie in the tenants' networks, but each only once."""

    def setUp(self) -> None:
        self.addCleanup(lab.put, lab.document())
        self.entries = [lab.fib_entry(tenant) for tenant in lab.TENANTS]
        for family in lab.FAMILIES:
            length = 32 if family == FOUR else 128
            for tenant in (1, 2):
                self.entries[tenant - 1]["addresses"].append(
                    f"{INSIDE[family][tenant - 1]}/{length}"
                )

    def lay(self, tenant: int, family: socket.AddressFamily) -> None:
        """Let a tenant's router lead to the server by its number in the tenant's own network."""
        route = (INSIDE[family][tenant - 1], "via", lab.server(tenant, family))
        lab.run("ip", "-n", f"fibc-r{tenant}", "route", "add", *route)
        self.addCleanup(lab.run, "ip", "-n", f"fibc-r{tenant}", "route", "del", *route)

    def test_p32_server_inside_the_tenants_network(self) -> None:
        lab.put(lab.document(fibs=self.entries))
        for family in self.families():
            for tenant in (1, 2):
                self.lay(tenant, family)
                with (
                    self.subTest(family=family, tenant=tenant),
                    wildcard(family, STREAM) as listener,
                    lab.tenant_socket(tenant, family, STREAM) as client,
                ):
                    client.connect((INSIDE[family][tenant - 1], PORT))
                    with listener.accept()[0] as accepted:
                        self.assertEqual(fib.socket_fib(accepted), tenant)
                        accepted.send(b"x")
                        self.assertEqual(client.recv(9), b"x")

    def test_p32_client_of_another_tenant_with_that_number(self) -> None:
        """Tenant 2 has the number itself: for her it is a client, reached and served as any other."""
        lab.put(lab.document(fibs=self.entries))
        for family in self.families():
            number = INSIDE[family][0]
            on_router = ("ip", "-n", "fibc-r2", "addr")
            lab.run(*on_router, "add", number, "dev", "lo")
            self.addCleanup(lab.run, *on_router, "del", number, "dev", "lo")
            with lab.namespace(2):
                client, listener = socket.socket(family), socket.socket(family)
            with self.subTest(family=family), client, listener, fib_socket(2, family) as calling:
                listener.bind((number, 389))
                listener.listen()
                calling.connect((number, 389))
                self.assertEqual(calling.getsockname()[0], lab.server(2, family))
                client.settimeout(lab.TIMEOUT_S)
                client.bind((number, 0))
                with wildcard(family, STREAM) as serving:
                    client.connect((lab.server(2, family), PORT))
                    with serving.accept()[0] as accepted:
                        self.assertEqual(fib.socket_fib(accepted), 2)

    def test_p32_one_number_for_two_tenants_is_refused(self) -> None:
        for family in self.families():
            number = INSIDE[family][0]
            self.entries[1]["addresses"].append(f"{number}/{32 if family == FOUR else 128}")
            with (
                self.subTest(family=family),
                self.assertRaisesRegex(InputError, f"{number}.* belongs to FIB 1 'tenant1'"),
            ):
                lab.put(lab.document(fibs=self.entries))
            self.entries[1]["addresses"].pop()
