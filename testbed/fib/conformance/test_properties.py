"""Random sequences of changes: after each the kernel is asked for everything, and so is the oracle."""

from __future__ import annotations

import contextlib
import errno
import json
import socket
import sys
import time
import unittest
from typing import Any

from hypothesis import HealthCheck, given, note, seed, settings
from hypothesis import strategies as st

from .. import api as fib
from ..document import InputError
from . import effort, lab, packet
from .case import Case, fib_socket
from .oracle import Arrival, Oracle
from .test_sockets import DGRAM
from .world import ADDRESSES, FIBS, NETWORKS, REMOTES, World, family_of

PORT = 5900
NOT_CONFIGURED = 4

_fib, _owner = st.sampled_from(FIBS), st.sampled_from((0, *FIBS))
_address, _network = st.sampled_from(ADDRESSES), st.sampled_from(NETWORKS)
CHANGES = st.one_of(
    st.tuples(st.just("put"), _owner, _address),
    st.tuples(st.just("remove"), _address),
    st.tuples(st.just("route"), _fib, _network, st.booleans()),
    st.tuples(st.just("unroute"), _fib, _network),
    st.tuples(st.just("toggle"), _fib),
    st.tuples(st.just("follow"), _owner),
)
SOCKETS = st.tuples(_fib, st.sampled_from(lab.FAMILIES))
FRAMES = st.tuples(_fib, st.sampled_from(REMOTES), st.sampled_from(ADDRESSES))
STEPS = st.tuples(
    st.lists(SOCKETS, max_size=2),
    st.lists(CHANGES, min_size=1, max_size=3),
    st.lists(FRAMES, min_size=2, max_size=6),
)


class Sequence:
    """One sequence: the world, the sockets that live in it, and the comparison with the oracle."""

    def __init__(self, case: unittest.TestCase) -> None:
        self.case = case
        self.world = World()
        self.oracle = Oracle(self.world.document())
        self.live: list[tuple[socket.socket, int, str]] = []
        lab.put(self.world.document())

    def close(self) -> None:
        """Close the sockets that still live."""
        for made, _, _ in self.live:
            made.close()

    def open(self, number: int, family: socket.AddressFamily) -> None:
        """Let a socket of a FIB live on, bound to the FIB's preferred address, if it has one."""
        if number not in self.world.fibs:
            return
        own = [a for a in self.oracle.addresses(number) if family_of(a) == family]
        if own:
            made = fib_socket(number, family, DGRAM)
            made.bind((own[0], 0))
            self.live.append((made, number, own[0]))

    def change(self, changes: list[tuple[Any, ...]]) -> None:
        """Make some changes in one document, and see what has become of the live sockets."""
        for name, *arguments in changes:
            getattr(self.world, name)(*arguments)
        wanted = self.world.document()
        note(json.dumps(wanted))
        lab.put(wanted)
        self.case.assertEqual(lab.put(wanted), {}, "a second time changes nothing")
        self.oracle = Oracle(wanted)
        self.live = [entry for entry in self.live if self.lives_on(*entry)]

    def lives_on(self, made: socket.socket, number: int, local: str) -> bool:
        """Check that a socket was aborted if its address or FIB went to others, and only then."""
        owner = self.oracle.fib_of(local)
        is_aborted = number not in self.world.fibs or (owner is not None and owner != number)
        error = made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        expected = errno.ECONNABORTED if is_aborted else 0
        self.case.assertEqual(error, expected, f"socket of FIB {number} at {local}")
        if is_aborted:
            made.close()
        else:
            self.case.assertEqual(fib.socket_fib(made), number)
        return not is_aborted

    def check_ways(self) -> None:
        """Connect from every FIB to everything, and see the source or the error."""
        for number in (*FIBS, NOT_CONFIGURED):
            for remote in REMOTES:
                with fib_socket(number, family_of(remote), DGRAM) as made:
                    try:
                        made.connect((remote, 9))
                        found = made.getsockname()[0]
                    except OSError as error:
                        found = errno.errorcode[error.errno or 0]
                expected = self.expected_way(number, remote)
                self.case.assertEqual(found, expected, f"FIB {number} to {remote}")

    def expected_way(self, number: int, remote: str) -> str:
        """Return the source that a socket must have, or the error's name."""
        if number in self.world.fibs:
            families = {family_of(address) for address in self.oracle.addresses(number)}
            if family_of(remote) not in families:
                return "EADDRNOTAVAIL"
        way = self.oracle.way(number, remote)
        return "ENETUNREACH" if way.verdict == "unreachable" else str(way.source)

    def check_owners(self) -> None:
        """Bind to every address, and see the FIB that the socket takes, or that it is not local."""
        for address in ADDRESSES:
            with fib_socket(0, family_of(address), DGRAM) as made:
                try:
                    made.bind((address, 0))
                    found: int | None = fib.socket_fib(made)
                except OSError as error:
                    self.case.assertEqual(error.errno, errno.EADDRNOTAVAIL, address)
                    found = None
            self.case.assertEqual(found, self.oracle.fib_of(address), address)

    def check_next_hops(self) -> None:
        """Ask the kernel for every route, as iproute2 shows it."""
        asked = [(n, remote) for n in FIBS for remote in REMOTES]
        for number, remote in asked:
            way = self.oracle.way(number, remote)
            if way.verdict == "delivered":
                self.case.assertEqual(next_hop(number, remote), way.next_hop, f"FIB {number}")

    def check_frames(self, frames: list[tuple[int, str, str]]) -> None:
        """Send frames to the SUT: heard by a wildcard socket, or dropped for the oracle's reason."""
        for tenant, source, target in frames:
            if family_of(source) == family_of(target) and self.oracle.fib_of(target) is not None:
                self.check_frame(tenant, source, target)

    def check_frame(self, tenant: int, source: str, target: str) -> None:
        _, reason = self.oracle.arrival(Arrival(lab.mac(tenant), source, target))
        before = lab.drops()
        with fib_socket(0, family_of(target), DGRAM) as serving:
            serving.bind(("", PORT))
            serving.settimeout(0)
            lab.send_frame(tenant, packet.udp(source, target, (40000, PORT), b"x"))
            found = lab.wait_for(lambda: outcome(serving, before), f"{source} to {target}")
        self.case.assertEqual(found, reason or "heard", f"{source} to {target} by {tenant}")

    def check_theft(self) -> None:
        """Name an address in a second FIB: refused as a whole, and nothing has changed."""
        wanted = self.world.document()
        owned = [(f["id"], a) for f in wanted["fibs"] for a in f["addresses"]]
        thieves = [f for f in wanted["fibs"] if owned and f["id"] != owned[0][0]]
        if thieves:
            thieves[0]["addresses"] = [*thieves[0]["addresses"], owned[0][1]]
            with self.case.assertRaises(InputError):
                lab.put(wanted)
            self.case.assertEqual(lab.put(self.world.document()), {})


def outcome(serving: socket.socket, before: dict[str, int]) -> str:
    """Return "heard", the reason of a drop, or nothing yet."""
    with contextlib.suppress(BlockingIOError):
        serving.recv(9)
        return "heard"
    return next((name for name, count in lab.drops().items() if count != before[name]), "")


def next_hop(number: int, remote: str) -> str:
    """Return where the kernel sends what a FIB has for `remote`."""
    argv = ["ip", "-j", "route", "get", remote, "mark", str(number)]
    shown = json.loads(lab.run(*argv))[0]
    return str(shown.get("gateway", remote))


class Properties(Case):
    def setUp(self) -> None:
        self.addCleanup(lab.put, lab.document())
        self.end = time.monotonic() + effort.SECONDS
        self.played = 0

    def test_kernel_and_oracle_agree_after_any_changes(self) -> None:
        self.play_sequences()
        sys.stderr.write(f"{self.played} sequences ... ")
        self.assertGreater(self.played, 0)

    @seed(effort.SEED)
    @settings(
        max_examples=max(5, int(effort.SECONDS)),
        deadline=None,
        database=None,
        print_blob=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(STEPS, min_size=1, max_size=4))
    def play_sequences(self, steps: list[tuple[Any, Any, Any]]) -> None:
        """Play one sequence; when the time is up, none: but one that has failed is played again."""
        if time.monotonic() > self.end:
            return
        sequence = Sequence(self)
        try:
            for sockets, changes, frames in steps:
                for number, family in sockets:
                    sequence.open(number, family)
                sequence.change(changes)
                sequence.check_ways()
                sequence.check_owners()
                sequence.check_frames(frames)
            sequence.check_next_hops()
            sequence.check_theft()
        except BaseException:
            self.end = time.monotonic() + 60 + effort.SECONDS  # for making the sequence small
            raise
        finally:
            sequence.close()
        self.played += 1
