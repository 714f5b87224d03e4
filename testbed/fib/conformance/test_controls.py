"""Negative controls: each broken piece shows, and is mended again; known gaps, strictly."""

from __future__ import annotations

import errno
import socket
import struct
import time
import unittest
from pathlib import Path

from .. import api as fib
from .. import apply, breakage, programs, show
from . import lab, packet
from .case import Case, fib_socket, in_thread
from .test_sockets import DGRAM, STREAM, source_info

FOUR = socket.AF_INET
PORT = 5700


class Controls(Case):
    def broken(self, piece: str) -> None:
        breakage.break_piece(piece)
        self.addCleanup(apply.apply_again)

    def mended(self) -> None:
        self.assertNotEqual(apply.apply_again(), {})
        self.assertEqual(apply.apply_again(), {})
        state = show.show()
        self.assertEqual((state["broken"], state["missing_programs"]), ([], []))

    def accepted_fib(self, tenant: int) -> int:
        """Return the FIB of an accepted connection, -1 where there is none."""
        with fib_socket(0) as listener, lab.tenant_socket(tenant, FOUR, STREAM) as client:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("", PORT))
            listener.listen()
            client.settimeout(lab.QUIET_S)
            try:
                client.connect((lab.server(tenant, FOUR), PORT))
            except TimeoutError:
                return -1
            with listener.accept()[0] as peer:
                return fib.socket_fib(peer)

    def test_thread_fib(self) -> None:
        self.broken("thread-fib")
        with fib_socket(1) as made, self.refused(errno.ENETUNREACH):
            made.connect((lab.CLIENT[FOUR], 9))
        self.mended()
        with fib_socket(1) as made, self.refused(errno.ECONNREFUSED):
            made.connect((lab.CLIENT[FOUR], 9))

    def test_thread_leak(self) -> None:
        self.broken("thread-leak")
        in_thread(lambda: fib.thread_fib(2))
        self.assertEqual(fib.get_thread_fib(), 2)
        fib.thread_fib(0)
        self.mended()
        in_thread(lambda: fib.thread_fib(2))
        self.assertEqual(fib.get_thread_fib(), 0)

    def test_accept_fib(self) -> None:
        self.assertEqual(self.accepted_fib(1), 1)
        self.broken("accept-fib")
        self.assertEqual(self.accepted_fib(1), -1)
        self.mended()
        self.assertEqual(self.accepted_fib(1), 1)

    def test_reply_route(self) -> None:
        self.broken("reply-route")
        echo = struct.pack("!BBHHH", 8, 0, 0, 1, 1)
        frame = packet.icmp(lab.CLIENT[FOUR], lab.server(1, FOUR), echo)
        with lab.Capture(1) as capture:
            lab.send_frame(1, frame)
            time.sleep(lab.QUIET_S)
            self.assertEqual(capture.packets(), [])
            self.mended()
            lab.send_frame(1, frame)
            lab.wait_for(capture.packets, "the echo reply")

    def test_source_alone_leads_replies_back(self) -> None:
        """Marks of replies, and in the check of sources, are a second way to the same table.

        Without them no packet differs, unless the rules by source are gone as well (above).
        """
        for name in ("ipv4/fwmark_reflect", "ipv6/fwmark_reflect"):
            Path("/proc/sys/net", name).write_text("0", "ascii")
        Path(f"/proc/sys/net/ipv4/conf/{lab.NIC}/src_valid_mark").write_text("0", "ascii")
        self.addCleanup(apply.apply_again)
        for family in self.families():
            for kind in (STREAM, DGRAM):
                with self.subTest(family=family, kind=kind):
                    client = lab.tenant_socket(2, family, kind)
                    with client, self.refused(errno.ECONNREFUSED):
                        client.connect((lab.server(2, family), PORT))
                        client.send(b"x")
                        client.recv(9)
        self.mended()

    def test_egress_guard(self) -> None:
        index = socket.if_nametoindex(lab.NIC)

        def escapes() -> bool:
            """Whether FIB 1 sends to tenant 2's router with tenant 2's address as its source."""
            with lab.Capture(2) as capture, fib_socket(1, FOUR, DGRAM) as made:
                message = [source_info(FOUR, lab.server(2, FOUR), index)]
                made.sendmsg([b"x"], message, 0, (lab.router(2, FOUR), 9))
                time.sleep(lab.QUIET_S)
                return bool(capture.packets())

        self.assertFalse(escapes())
        self.broken("egress-guard")
        self.assertTrue(escapes())
        self.mended()
        self.assertFalse(escapes())

    def test_local_first(self) -> None:
        def leaks() -> bool:
            with fib_socket(0) as listener, fib_socket(1) as made:
                listener.bind((lab.server(2, FOUR), PORT + 1))
                listener.listen()
                made.settimeout(lab.QUIET_S)
                try:
                    made.connect((lab.server(2, FOUR), PORT + 1))
                except TimeoutError:  # delivered, and not heard (hear.bpf.c)
                    return True
                except OSError:
                    return False
                return True

        self.assertFalse(leaks())
        self.broken("local-first")
        self.assertTrue(leaks())
        self.mended()
        self.assertFalse(leaks())

    def test_swapped_address(self) -> None:
        breakage.break_address(lab.server(1, FOUR), 2)
        self.addCleanup(apply.apply_again)
        self.assertEqual(self.accepted_fib(1), -1)
        self.mended()
        self.assertEqual(self.accepted_fib(1), 1)

    def test_attaching_again_leaves_no_second_link(self) -> None:
        def links() -> int:
            shown = lab.run("bpftool", "link")
            return shown.count("\n")

        loader = str(programs.directory() / "fib-loader")
        before = links()
        for _ in range(3):
            lab.run(loader, "attach", lab.NIC, str(programs.directory()))
        lab.wait_for(lambda: links() == before, "the old links to go")


class Gaps(Case):
    """What stock Linux cannot do: docs/fib.md names file and function for each."""

    def unreachables(self, tenant: int, count: int) -> int:
        frame = packet.udp(lab.CLIENT[FOUR], lab.server(tenant, FOUR), (40000, 9), b"x")
        with lab.Capture(tenant) as capture:
            for _ in range(count):
                lab.send_frame(tenant, frame)
            time.sleep(lab.QUIET_S)
            return len(capture.packets())

    def test_p11_control(self) -> None:
        time.sleep(7)  # the kernel's own unit: a token a second, six at most
        self.assertEqual(self.unreachables(2, 6), 6)

    # icmpv4_xrlim_allow (net/ipv4/icmp.c) keys its bucket by the peer's address.
    @unittest.expectedFailure
    def test_p11_icmp_rate_limit_is_per_tenant(self) -> None:
        time.sleep(7)
        self.unreachables(1, 20)
        self.assertEqual(self.unreachables(2, 6), 6)

    # may_update_sockmap (kernel/bpf/verifier.c): no program that sees a UDP bind may keep it.
    @unittest.expectedFailure
    def test_row_16_udp_socket_of_a_fib_hears_all_its_addresses(self) -> None:
        entry = lab.fib_entry(1)
        entry["addresses"].append("10.64.0.2/29")
        lab.put(lab.document(fibs=[entry, lab.fib_entry(2), lab.fib_entry(3)]))
        self.addCleanup(lab.put, lab.document())
        with fib_socket(1, FOUR, DGRAM) as own, lab.tenant_socket(1, FOUR, DGRAM) as client:
            own.settimeout(lab.QUIET_S)
            own.bind(("", PORT))
            for address in (lab.server(1, FOUR), "10.64.0.2"):
                client.sendto(b"x", (address, PORT))
                self.assertEqual(own.recv(9), b"x")
