"""The programs of the data path, run on frames made up: BPF_PROG_TEST_RUN against the oracle."""

from __future__ import annotations

import contextlib
import functools
import itertools
import random
import socket
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from . import effort, lab, packet
from .case import Case, fib_socket
from .frames import ETHERNET_BYTES, Kind, frame, kinds
from .oracle import ANCHORS, Arrival, Departure, Oracle
from .testrun import TC_ACT_OK, TC_ACT_SHOT, Program, lookup_program, tc_program

T = TypeVar("T")
FOUR, SIX = socket.AF_INET, socket.AF_INET6
PORT = 5800
NIC_MAC, STRANGER_MAC, GROUP_MAC = "02:00:00:00:00:01", "02:fb:00:00:00:77", "33:33:00:00:00:01"
GROUP = {FOUR: "224.0.0.1", SIX: "ff02::1"}
LINK = {FOUR: "169.254.1.1", SIX: "fe80::1"}
NOBODY = {FOUR: "198.51.100.1", SIX: "2001:db8::1"}
HEADER = {FOUR: 20, SIX: 40}
FUZZED = 2000
ETH_P_ALL = 3


def addresses(family: socket.AddressFamily) -> tuple[str, ...]:
    """Return own addresses, a client, one that nobody has, and those of the link."""
    own = [lab.server(tenant, family) for tenant in (1, 2)]
    anchor = ANCHORS[0] if family == FOUR else ANCHORS[1]
    others = (lab.STRANGER, lab.CLIENT, NOBODY, LINK)
    return (*own, *(other[family] for other in others), anchor)


def whole(made: Iterator[Kind], family: socket.AddressFamily) -> Iterator[Kind]:
    """Leave out what has no whole IP header: a test run refuses it."""
    return (kind for kind in made if len(kind.packet) >= HEADER[family])


def some(everything: Iterable[T], count: int, chance: random.Random) -> list[T]:
    """Return so many of what there is, all of it in the long form."""
    found = list(everything)
    return found if effort.is_long() else chance.sample(found, min(count, len(found)))


def pairs(sources: Sequence[T], targets: Sequence[T], chance: random.Random) -> list[tuple[T, T]]:
    """Return as many pairs as have every source and every target, or all pairs in the long form."""
    if effort.is_long():
        return list(itertools.product(sources, targets))
    count = max(len(sources), len(targets))
    drawn = [itertools.cycle(chance.sample(each, len(each))) for each in (sources, targets)]
    return list(itertools.islice(zip(*drawn, strict=False), count))


def arrivals(family: socket.AddressFamily, chance: random.Random) -> Iterator[tuple[Arrival, Kind]]:
    """Yield frames of all kinds between addresses, from all senders."""
    flows = (lab.server(1, family), lab.server(2, family), NOBODY[family])
    for source, target in pairs(addresses(family), (*addresses(family), GROUP[family]), chance):
        for kind in whole(kinds(source, target, flows), family):
            for mac in (lab.mac(1), lab.mac(2), STRANGER_MAC):
                yield Arrival(mac, source, target, kind.quotes, kind.is_malformed), kind


def departures(
    family: socket.AddressFamily, chance: random.Random
) -> Iterator[tuple[Departure, Kind]]:
    """Yield frames of all kinds from all addresses to all stations, with all marks."""
    marks_and_stations = list(
        itertools.product((0, 1, 2, 3, 7), (lab.mac(1), lab.mac(2), STRANGER_MAC, GROUP_MAC))
    )
    target = lab.CLIENT[family]
    for source in addresses(family):
        for kind in whole(kinds(source, target, (target,)), family):
            for mark, mac in some(marks_and_stations, 3, chance):
                talks = (kind.talk == "discovery", kind.talk == "report")
                yield Departure(mark, source, mac, *talks, kind.is_malformed), kind


class Programs(Case):
    def documents(self) -> Iterator[Oracle]:
        """Put documents in force, one after another: strict, lenient, no interface FIB, no FIB."""
        self.addCleanup(lab.put, lab.document())
        changes: tuple[dict[str, object], ...] = (
            {},
            {"strict_mac": False},
            {"default_fib": 0},
            {"default_fib": 0, "unassigned": [], "fibs": []},
        )
        for change in changes:
            wanted = lab.document(**change)
            lab.put(wanted)
            yield Oracle(wanted)

    @contextlib.contextmanager
    def dropped(self) -> Iterator[Counter[str]]:
        """Compare the drop counters with the drops that the block expects and counts."""
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)) as wire:
            wire.bind((lab.NIC, ETH_P_ALL))
            wire.settimeout(0)
            before, expected = lab.drops(), Counter[str]()
            yield expected
            grown = {name: n - before[name] for name, n in lab.drops().items() if n != before[name]}
            self.assertEqual(grown, dict(expected), f"on the wire meanwhile: {frames_on(wire)}")

    def test_ingress_judges_every_frame_as_the_oracle_does(self) -> None:
        chance = effort.chance()
        for oracle in self.documents():
            for family in self.families():
                with lab.cut_off(), tc_program("ingress") as program, self.dropped() as drops:
                    for arrival, kind in arrivals(family, chance):
                        mark, reason = oracle.arrival(arrival)
                        content = frame(NIC_MAC, arrival.mac, kind.packet)
                        verdict = program.judge(content, mark=99)
                        expected = (TC_ACT_SHOT, verdict[1]) if reason else (TC_ACT_OK, mark)
                        self.assertEqual(verdict, expected, (kind.name, arrival, reason))
                        drops.update([reason] if reason else [])

    def test_p33_egress_judges_every_frame_as_the_oracle_does(self) -> None:
        chance = effort.chance()
        for oracle in self.documents():
            for family in self.families():
                with lab.cut_off(), tc_program("egress") as program, self.dropped() as drops:
                    for departure, kind in departures(family, chance):
                        reason = oracle.departure(departure)
                        content = frame(departure.mac, NIC_MAC, kind.packet)
                        verdict, _ = program.judge(content, departure.mark)
                        expected = TC_ACT_SHOT if reason else TC_ACT_OK
                        self.assertEqual(verdict, expected, (kind.name, departure, reason))
                        drops.update([reason] if reason else [])

    def test_frames_without_a_whole_header_are_dropped_on_the_wire(self) -> None:
        for family in self.families():
            source, target = lab.CLIENT[family], lab.server(1, family)
            short = [k for k in kinds(source, target, (target,)) if len(k.packet) < HEADER[family]]
            self.assertNotEqual(short, [])
            # By their own reason alone: late frames of earlier tests are dropped for others.
            expected = lab.drops()["malformed"] + len(short)
            for kind in short:
                lab.send_frame(1, kind.packet)
            lab.wait_for(
                functools.partial(self.has_dropped, "malformed", expected), "drops of short frames"
            )
            self.assertEqual(lab.drops()["malformed"], expected)

    def has_dropped(self, reason: str, count: int) -> bool:
        return lab.drops()[reason] >= count

    def test_frames_that_are_no_ip_pass_without_a_mark(self) -> None:
        arp = bytes.fromhex((NIC_MAC + lab.mac(1)).replace(":", "")) + b"\x08\x06" + bytes(28)
        with lab.cut_off(), tc_program("ingress") as program, self.dropped():
            self.assertEqual(program.judge(arp, mark=1), (TC_ACT_OK, 0))
        with lab.cut_off(), tc_program("egress") as program, self.dropped():
            self.assertEqual(program.judge(arp)[0], TC_ACT_OK)

    def test_damaged_frames_never_get_another_fibs_mark(self) -> None:
        """Bytes changed, cut off, put on: what is let in has the FIB of its destination bytes."""
        chance = effort.chance()
        oracle = Oracle(lab.document())
        good = [
            (kind.packet, family)
            for family in self.families()
            for _, kind in arrivals(family, chance)
        ]
        with tc_program("ingress") as program:
            for _ in range(FUZZED):
                content, family = chance.choice(good)
                sender = lab.mac(chance.choice((1, 2, 3)))
                least = ETHERNET_BYTES + HEADER[family]
                damaged = damage(frame(NIC_MAC, sender, content), least, chance)
                verdict, mark = program.judge(damaged)
                self.assertIn(verdict, (TC_ACT_OK, TC_ACT_SHOT))
                if verdict == TC_ACT_OK and mark:
                    start, size = (16, 4) if family == FOUR else (24, 16)
                    field = damaged[ETHERNET_BYTES + start :][:size]
                    target = socket.inet_ntop(family, field)
                    fib = oracle.fib_of(target)
                    self.assertEqual(mark, oracle.default if fib is None else fib)

    def test_row_16_lookup_brings_connections_to_the_fibs_own_listener(self) -> None:
        second = {FOUR: "10.64.0.2", SIX: "fd00:64:0:1::2"}
        third = {FOUR: "10.64.0.3", SIX: "fd00:64:0:1::3"}
        entry = lab.fib_entry(1)
        for more in (second, third):
            entry["addresses"] += [f"{more[FOUR]}/29", f"{more[SIX]}/64"]
        lab.put(lab.document(fibs=[entry, lab.fib_entry(2), lab.fib_entry(3)]))
        self.addCleanup(lab.put, lab.document())
        for family in self.families():
            with lookup_program() as program, fib_socket(1, family) as own:
                own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                own.bind(("", PORT))
                self.assertFalse(self.brings(program, second[family]))
                own.listen()
                with fib_socket(1, family) as exact:
                    exact.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                    exact.bind((third[family], PORT))
                    exact.listen()
                    self.assertTrue(self.brings(program, second[family]))
                    # The kernel itself finds what is bound to the very address.
                    self.assertFalse(self.brings(program, third[family]))
                    for other in (lab.server(2, family), lab.STRANGER[family], NOBODY[family]):
                        self.assertFalse(self.brings(program, other))
                    self.assertFalse(self.brings(program, second[family], port=PORT + 1))
                    self.assertFalse(self.brings(program, second[family], packet.UDP))
                self.assertTrue(self.brings(program, third[family]))
            with lookup_program() as program:
                self.assertFalse(self.brings(program, second[family]))

    def brings(
        self, program: Program, local: str, protocol: int = socket.IPPROTO_TCP, port: int = PORT
    ) -> bool:
        family = SIX if ":" in local else FOUR
        return program.brings(protocol, (local, port), (lab.CLIENT[family], 40000))


def frames_on(wire: socket.socket) -> list[str]:
    """Return what a packet socket has seen, in hexadecimal: it was counted with the rest."""
    seen: list[str] = []
    with contextlib.suppress(BlockingIOError):
        while True:
            seen.append(wire.recv(128).hex())
    return seen


def damage(content: bytes, least: int, chance: random.Random) -> bytes:
    """Return a frame with bytes behind its Ethernet header changed, and perhaps cut or prolonged."""
    damaged = bytearray(content)
    for _ in range(chance.randrange(1, 4)):
        damaged[chance.randrange(ETHERNET_BYTES, len(damaged))] = chance.randrange(256)
    if chance.random() < 0.3:
        del damaged[chance.randrange(least, len(damaged) + 1) :]
    if chance.random() < 0.2:
        damaged += chance.randbytes(chance.randrange(64))
    return bytes(damaged)
