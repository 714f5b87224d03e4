"""Rows 39 to 47 and 52: addresses and tenants that come, go and move under live connections."""

from __future__ import annotations

import contextlib
import errno
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

from .. import api as fib
from .. import apply, explain, show
from ..document import InputError
from ..sockdiag import SockDiag
from . import lab
from .case import Case, fib_socket
from .test_sockets import DGRAM, STREAM

FOUR, SIX = socket.AF_INET, socket.AF_INET6
PORT = 5400


@contextlib.contextmanager
def connection(
    tenant: int, family: socket.AddressFamily, port: int = PORT
) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A client's connection to a wildcard listener: both ends, the server's second."""
    with fib_socket(0, family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("", port))
        listener.listen()
        with lab.tenant_socket(tenant, family, STREAM) as client:
            client.connect((lab.server(tenant, family), port))
            with listener.accept()[0] as accepted:
                accepted.settimeout(lab.TIMEOUT_S)
                yield client, accepted


def without(tenant: int, family: socket.AddressFamily) -> dict[str, Any]:
    """Return the lab's document without a tenant's address of one family."""
    entries = [lab.fib_entry(number) for number in lab.TENANTS]
    entry = entries[tenant - 1]
    colon = family == SIX
    entry["addresses"] = [a for a in entry["addresses"] if (":" in a) != colon]
    entry["routes"] = [r for r in entry["routes"] if (":" in r["to"]) != colon]
    return lab.document(fibs=entries)


def moved(family: socket.AddressFamily) -> dict[str, Any]:
    """Return the lab's document with tenant 1's address of one family given to tenant 2."""
    wanted = without(1, family)
    length = 29 if family == FOUR else 64
    wanted["fibs"][1]["addresses"].append(f"{lab.server(1, family)}/{length}")
    return wanted


class Changes(Case):
    def setUp(self) -> None:
        self.addCleanup(lab.put, lab.document())

    def test_row_39_same_address_in_two_fibs(self) -> None:
        before = show.show()
        wanted = lab.document()
        wanted["fibs"][1]["addresses"].append(f"{lab.server(1, FOUR)}/32")
        with self.assertRaisesRegex(InputError, "FIB 2 'tenant2'.*belongs to FIB 1 'tenant1'"):
            lab.put(wanted)
        after = show.show()
        self.assertEqual(before, after)

    def test_row_39_address_added_by_hand_is_seen(self) -> None:
        lab.run("ip", "addr", "add", "10.99.0.1/32", "dev", lab.NIC)
        self.assertEqual(show.show()["unknown_addresses"], ["10.99.0.1"])
        self.assertEqual(lab.put(lab.document())["old_addresses"], 1)
        self.assertEqual(show.show()["unknown_addresses"], [])

    def test_row_40_unassigned_addresses_follow_the_interface(self) -> None:
        for family in self.families():
            self.assertEqual(fib.fib_of_address(lab.STRANGER[family]), 3)
        lab.put(lab.document(default_fib=2))
        for family in self.families():
            self.assertEqual(fib.fib_of_address(lab.STRANGER[family]), 2)
            for tenant in lab.TENANTS:
                self.assertEqual(fib.fib_of_address(lab.server(tenant, family)), tenant)

    def test_row_41_interface_without_fib(self) -> None:
        lab.put(lab.document(default_fib=0))
        for family in self.families():
            self.assertEqual(fib.fib_of_address(lab.STRANGER[family]), 0)

    def test_row_42_address_added_while_a_wildcard_listener_runs(self) -> None:
        for family in self.families():
            with self.subTest(family=family), fib_socket(0, family) as listener:
                lab.put(without(1, family))
                listener.bind(("", PORT))
                listener.listen()
                lab.put(lab.document())
                added = time.monotonic()
                with lab.tenant_socket(1, family, STREAM) as client:
                    client.connect((lab.server(1, family), PORT))
                    with listener.accept()[0] as accepted:
                        self.assertLess(time.monotonic() - added, lab.SYN_AGAIN_S)
                        self.assertEqual(fib.socket_fib(accepted), 1)

    def test_row_43_address_comes_back_to_the_same_fib(self) -> None:
        for family in self.families():
            with self.subTest(family=family), connection(1, family) as (client, accepted):
                lab.put(without(1, family))
                self.assertEqual(fib.socket_fib(accepted), 1)
                lab.put(lab.document())
                client.send(b"again")
                self.assertEqual(accepted.recv(9), b"again")

    def test_row_43_address_comes_back_to_another_fib(self) -> None:
        for family in self.families():
            with self.subTest(family=family), connection(1, family) as (_, accepted):
                lab.put(without(1, family))
                lab.put(moved(family))
                with self.refused(errno.ECONNABORTED):
                    accepted.recv(9)
                lab.put(lab.document())

    def test_row_44_address_moves(self) -> None:
        for family in self.families():
            with self.subTest(family=family), connection(1, family) as (client, accepted):
                lab.put(moved(family))
                with self.refused(errno.ECONNABORTED):
                    accepted.recv(9)
                with self.refused(errno.ECONNRESET):  # sent by the old FIB, before the move
                    client.recv(9)
                self.assertEqual(fib.fib_of_address(lab.server(1, family)), 2)
                lab.put(lab.document())

    def test_row_44_address_moves_under_traffic(self) -> None:
        """Whatever comes while it moves: no connection is in the new FIB with the old one's client."""
        for family in self.families():
            with (
                self.subTest(family=family),
                fib_socket(0, family) as listener,
                lab.tenant_socket(1, family, STREAM) as first,
            ):
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind(("", PORT))
                listener.listen(64)
                first.connect((lab.server(1, family), PORT))
                accepted = [listener.accept()[0]]
                mover = threading.Thread(target=lab.put, args=(moved(family),))
                mover.start()
                clients = []
                while mover.is_alive():
                    client = lab.tenant_socket(1, family, STREAM)
                    client.settimeout(lab.QUIET_S)
                    clients.append(client)
                    with contextlib.suppress(OSError):
                        client.connect((lab.server(1, family), PORT))
                mover.join()
                listener.settimeout(lab.QUIET_S)
                with contextlib.suppress(TimeoutError):
                    while True:
                        accepted.append(listener.accept()[0])
                for made in accepted:  # all of tenant 1's, so of FIB 1, and none goes on
                    with made:
                        self.assertEqual(fib.socket_fib(made), 1)
                        made.settimeout(lab.TIMEOUT_S)
                        with self.refused(errno.ECONNABORTED):
                            made.recv(9)
                self.assertGreater(len(accepted), 1)
                for client in clients:
                    client.close()
                with lab.tenant_socket(1, family, STREAM) as late, self.assertRaises(OSError):
                    late.settimeout(lab.QUIET_S)
                    late.connect((lab.server(1, family), PORT))
                lab.put(lab.document())

    def test_row_45_tenant_deleted(self) -> None:
        for family in self.families():
            with (
                self.subTest(family=family),
                connection(2, family) as (client, accepted),
                fib_socket(2, family) as listening,
                fib_socket(2, family, DGRAM) as asking,
                connection(1, family, PORT + 1) as (other_client, other),
            ):
                listening.bind(("", PORT + 2))
                listening.listen()
                asking.connect((lab.CLIENT[family], 53))
                lab.put(lab.document(fibs=[lab.fib_entry(1), lab.fib_entry(3)]))
                with self.refused(errno.ECONNABORTED):
                    accepted.recv(9)
                with self.refused(errno.ECONNRESET):
                    client.recv(9)
                with self.refused(errno.EINVAL):
                    listening.accept()
                with self.refused(errno.ECONNABORTED):
                    asking.recv(9)
                other_client.send(b"undisturbed")
                self.assertEqual(other.recv(99), b"undisturbed")
                with fib_socket(2, family) as late, self.refused(errno.ENETUNREACH):
                    late.connect((lab.CLIENT[family], 9))
                self.assertEqual(lab.run("ip", "route", "show", "table", "100002", check=False), "")
                lab.put(lab.document())

    def test_row_45_number_rests_before_another_tenant_has_it(self) -> None:
        lab.put(lab.document(fibs=[lab.fib_entry(1), lab.fib_entry(3)]))
        entry = lab.fib_entry(2)
        entry["name"] = "newcomer"
        with self.assertRaisesRegex(InputError, "was that of 'tenant2' and rests"):
            lab.put(lab.document(fibs=[lab.fib_entry(1), entry, lab.fib_entry(3)]))

    def test_row_46_tenant_added_without_disturbance(self) -> None:
        lab.put(lab.document(fibs=[lab.fib_entry(1), lab.fib_entry(3)]))
        with connection(1, FOUR) as (client, accepted):
            stop = threading.Event()
            waits: list[float] = []

            def play() -> None:
                while not stop.is_set():
                    start = time.monotonic()
                    client.send(b"x")
                    accepted.recv(1)
                    waits.append(time.monotonic() - start)

            thread = threading.Thread(target=play)
            thread.start()
            changes = lab.put(lab.document())
            stop.set()
            thread.join()
        self.assertEqual(changes["new_addresses"], 2)
        self.assertNotIn("moved", changes)
        self.assertGreater(len(waits), 10)
        self.assertLess(max(waits), 1.0)

    def test_row_47_tables_hold_their_own_routes_alone(self) -> None:
        for tenant in lab.TENANTS:
            for family, flag in ((FOUR, "-4"), (SIX, "-6")):
                shown = lab.run("ip", flag, "-j", "route", "show", "table", str(100000 + tenant))
                sources = {route.get("prefsrc") for route in json.loads(shown)} - {None}
                self.assertEqual(
                    sources - {lab.server(tenant, family), lab.STRANGER[family]}, set()
                )
        main = lab.run("ip", "route", "show", "table", "main", "dev", lab.NIC)
        self.assertEqual(main, "")

    def test_row_52_sockets_are_listed_with_their_fib(self) -> None:
        for family in self.families():
            with (
                self.subTest(family=family),
                connection(1, family) as (_, accepted),
                fib_socket(2, family, DGRAM) as asking,
                SockDiag() as diagnosis,
            ):
                asking.connect((lab.CLIENT[family], 53))
                listed = list(diagnosis.sockets())
                for made, number in ((accepted, 1), (asking, 2)):
                    address, port = made.getsockname()[:2]
                    own = (socket.inet_pton(family, address), port)
                    found = {s.mark for s in listed if (s.plain_local, s.local_port) == own}
                    self.assertEqual(found, {number})

    def test_row_52_explained_as_the_kernel_does_it(self) -> None:
        for family in self.families():
            for tenant in lab.TENANTS:
                told = explain.explain(
                    apply.saved_document(), lab.server(tenant, family), lab.CLIENT[family]
                )
                self.assertEqual(told["fib"], tenant)
                self.assertEqual(told["next_hop"], lab.router(tenant, family))
                with fib_socket(tenant, family, DGRAM) as made, lab.Capture(tenant) as capture:
                    made.sendto(b"x", (lab.CLIENT[family], 9))
                    sent = lab.wait_for(capture.packets, "the packet at the router that was told")[
                        0
                    ]
                    self.assertIn(socket.inet_pton(family, told["source"]), sent[:24])

    def test_apply_is_idempotent(self) -> None:
        self.assertEqual(lab.put(lab.document()), {})
        self.assertEqual(apply.apply_again(), {})
