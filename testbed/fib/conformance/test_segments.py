"""Rows 21, 22, 24 and 35, pitfall P13: single segments of TCP, sent by a client made by hand."""

from __future__ import annotations

import contextlib
import errno
import itertools
import socket
import struct
import time
from collections.abc import Iterator

from .. import api as fib
from . import lab, packet
from .case import Case, fib_socket
from .packet import ACK, FIN, RST, SYN
from .test_sockets import STREAM, wildcard

FOUR, SIX = socket.AF_INET, socket.AF_INET6
HAND = {FOUR: "192.168.0.77", SIX: "fd00:c0a8::77"}
"""A client of every tenant's: no kernel answers for it."""

PORT = 5000
SEQUENCE = 1000
client_port = itertools.count(40100).__next__
"""A port that no connection still waits on."""


class Segment:
    """What is of interest of a captured TCP packet."""

    def __init__(self, captured: bytes) -> None:
        start = 20 if captured[0] >> 4 == 4 else 40
        self.sequence, self.ack = struct.unpack_from("!II", captured, start + 4)
        self.flags = captured[start + 13] & (FIN | SYN | RST | ACK)


class Segments(Case):
    def setUp(self) -> None:
        for family in lab.FAMILIES:
            for tenant in lab.TENANTS:
                silence = ("ip", "-n", f"fibc-r{tenant}", "route")
                lab.run(*silence, "add", "blackhole", HAND[family])
                self.addCleanup(lab.run, *silence, "del", "blackhole", HAND[family])

    def send(self, tenant: int, family: socket.AddressFamily, flags: int, *numbers: int) -> None:
        """Send a segment to a tenant's server: flags, sequence number, acknowledgement."""
        target, ports = lab.server(tenant, family), (self.port, PORT)
        lab.send_frame(tenant, packet.tcp(HAND[family], target, ports, flags, numbers))

    @contextlib.contextmanager
    def client(self, tenant: int) -> Iterator[lab.Capture]:
        """Take a port of its own; what arrives at its tenant's router. Nothing may at the others'."""
        self.port = client_port()
        with contextlib.ExitStack() as stack:
            captures = {t: stack.enter_context(lab.Capture(t)) for t in lab.TENANTS}
            own = captures.pop(tenant)
            yield own
            time.sleep(lab.QUIET_S)
            for capture in captures.values():
                self.assertEqual(capture.packets(), [])

    def answer(self, capture: lab.Capture) -> Segment:
        return Segment(lab.wait_for(capture.packets, "the answer")[0])

    def test_row_21_and_row_22_syn_sent_again(self) -> None:
        for family in self.families():
            with (
                self.subTest(family=family),
                wildcard(family, STREAM) as listener,
                self.client(2) as capture,
            ):
                answers = []
                for _ in range(2):
                    self.send(2, family, SYN, SEQUENCE)
                    answers.append(self.answer(capture))
                self.assertEqual([a.flags for a in answers], [SYN | ACK] * 2)
                self.send(2, family, ACK, SEQUENCE + 1, answers[0].sequence + 1)
                with listener.accept()[0] as accepted:
                    self.assertEqual(fib.socket_fib(accepted), 2)
                    self.send(2, family, RST, SEQUENCE + 1)

    def test_row_35_segment_of_no_connection(self) -> None:
        """To a port where a wildcard socket listens, and to one where none does."""
        for family in self.families():
            for is_open in (True, False):
                with contextlib.ExitStack() as stack, self.subTest(family=family, open=is_open):
                    if is_open:
                        stack.enter_context(wildcard(family, STREAM))
                    capture = stack.enter_context(self.client(1))
                    self.send(1, family, ACK, SEQUENCE, 4711)
                    answer = self.answer(capture)
                    self.assertEqual((answer.flags, answer.sequence), (RST, 4711))

    def test_p13_connection_that_waits_answers_in_its_fib(self) -> None:
        for family in self.families():
            with self.subTest(family=family), self.client(2) as capture:
                with wildcard(family, STREAM) as listener:
                    self.send(2, family, SYN, SEQUENCE)
                    opening = self.answer(capture)
                    self.send(2, family, ACK, SEQUENCE + 1, opening.sequence + 1)
                    listener.accept()[0].close()
                ending = self.answer(capture)
                self.send(2, family, FIN | ACK, SEQUENCE + 1, ending.sequence + 1)
                last = self.answer(capture)
                self.send(2, family, FIN | ACK, SEQUENCE + 1, ending.sequence + 1)  # lost, it says
                again = self.answer(capture)
                self.assertEqual((again.flags, again.ack), (ACK, last.ack))

    def test_row_24_both_open_at_once(self) -> None:
        for family in self.families():
            with (
                self.subTest(family=family),
                fib_socket(1, family) as made,
                self.client(1) as capture,
            ):
                made.bind((lab.server(1, family), PORT))
                made.settimeout(0)
                self.assertEqual(made.connect_ex((HAND[family], self.port)), errno.EINPROGRESS)
                opening = self.answer(capture)
                self.send(1, family, SYN, SEQUENCE)
                self.assertEqual(self.answer(capture).flags, SYN | ACK)
                self.send(1, family, SYN | ACK, SEQUENCE, opening.sequence + 1)
                made.settimeout(lab.TIMEOUT_S)
                made.send(b"x")  # waits until it is connected
                self.assertEqual(fib.socket_fib(made), 1)
                self.send(1, family, RST, SEQUENCE + 1)
