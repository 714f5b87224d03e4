"""Row 39: addresses that somebody adds or removes by hand, without fibctl."""

from __future__ import annotations

import contextlib
import errno
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

from .. import api as fib
from .. import apply
from . import lab
from .case import Case, fib_socket
from .test_sockets import DGRAM, STREAM, wildcard

FOUR, SIX = socket.AF_INET, socket.AF_INET6
OTHER = "fibc1"
"""A second interface of this namespace, with the segment's other end in tenant 3's namespace."""

NEAR = {FOUR: "172.31.0.1", SIX: "fd31::1"}

START_S = 30.0
"""How long an interpreter may take to start on an emulated, busy CPU."""


@contextlib.contextmanager
def other_interface() -> Iterator[None]:
    """A network of FIB 0's own, beside that of the FIBs."""
    lab.run("ip", "link", "add", OTHER, "type", "veth", "peer", "name", "o3", "netns", "fibc-r3")
    try:
        lab.run("ip", "link", "set", OTHER, "up")
        lab.run("ip", "-n", "fibc-r3", "link", "set", "o3", "up")
        for near, far, more in (
            ("172.31.0.1/24", "172.31.0.2/24", ()),
            ("fd31::1/64", "fd31::2/64", ("nodad",)),
        ):
            lab.run("ip", "addr", "add", near, "dev", OTHER, *more)
            lab.run("ip", "-n", "fibc-r3", "addr", "add", far, "dev", "o3", *more)
        yield
    finally:
        lab.run("ip", "link", "del", OTHER)


class Watch(Case):
    def setUp(self) -> None:
        self.alarms: list[dict[str, Any]] = []
        argv = [sys.executable, "-m", "fib", "watch", "--format", "json"]
        self.watcher = subprocess.Popen(
            argv, stdout=subprocess.PIPE, text=True, env=lab.environment()
        )
        self.addCleanup(self.watcher.wait)
        self.addCleanup(self.watcher.terminate)
        reading = threading.Thread(target=self.read, daemon=True)
        reading.start()
        self.provoke()

    def read(self) -> None:
        if self.watcher.stdout is not None:
            with self.watcher.stdout as lines:
                self.alarms.extend(json.loads(line) for line in lines)

    def provoke(self) -> None:
        """Wait until it watches: it looks at all that is there when it begins."""
        lab.run("ip", "addr", "add", f"{lab.server(1, FOUR)}/32", "dev", "lo")
        self.alarm()

    def alarm(self) -> dict[str, Any]:
        lab.wait_for(lambda: self.alarms, "an alarm", START_S)
        return self.alarms.pop()

    def test_row_39_on_another_interface(self) -> None:
        for family in self.families():
            address = f"{lab.server(2, family)}/{24 if family == FOUR else 64}"
            with self.subTest(family=family), other_interface():
                lab.run("ip", "addr", "add", address, "dev", OTHER)
                told = self.alarm()
                self.assertEqual((told["address"], told["interface"]), (address, OTHER))
                self.assertIn("belongs to FIB 2 'tenant2'", told["alarm"])
                self.assertNotIn(address, lab.run("ip", "addr", "show", "dev", OTHER))
                self.assertEqual(fib.fib_of_address(lab.server(2, family)), 2)

    def test_row_39_on_the_interface_of_the_fibs(self) -> None:
        """The same address with another prefix: its network would be FIB 0's."""
        lab.run("ip", "addr", "add", f"{lab.server(2, FOUR)}/24", "dev", lab.NIC)
        self.assertIn("FIB 2 'tenant2'", self.alarm()["alarm"])
        self.assertEqual(lab.run("ip", "route", "show", "table", "main", "dev", lab.NIC), "")
        self.assertEqual(lab.put(lab.document()), {})

    def test_row_39_removed_by_hand(self) -> None:
        self.addCleanup(lab.put, lab.document())
        lab.run("ip", "addr", "del", f"{lab.server(2, FOUR)}/29", "dev", lab.NIC)
        self.assertIn("removed by hand; it belongs to FIB 2", self.alarm()["alarm"])

    def test_row_39_changes_by_fibctl_are_no_alarm(self) -> None:
        lab.put(lab.document(fibs=[lab.fib_entry(1), lab.fib_entry(3)]))
        lab.put(lab.document())
        self.provoke()
        self.assertEqual(self.alarms, [])

    def test_row_39_watching_ends_when_all_is_taken_off(self) -> None:
        apply.remove_everything(lab.NIC)
        try:
            self.assertEqual(self.watcher.wait(lab.TIMEOUT_S), 0)
        finally:
            lab.put(lab.document())  # tearDown itself wants the extensions


class Meanwhile(Case):
    """What the data path itself does while nobody has removed such an address."""

    def test_row_39_packets_by_another_interface_are_not_heard(self) -> None:
        for family in self.families():
            for kind in (DGRAM, STREAM):
                with self.subTest(family=family, kind=kind), other_interface():
                    self.come_by_another_interface(family, kind)

    def come_by_another_interface(self, family: socket.AddressFamily, kind: int) -> None:
        target, bits = lab.server(1, family), 32 if family == FOUR else 128
        lab.run("ip", "addr", "add", f"{target}/{bits}", "dev", OTHER)
        lab.run("ip", "-n", "fibc-r3", "route", "add", target, "via", NEAR[family])
        with lab.namespace(3):
            client, control = socket.socket(family, kind), socket.socket(family, kind)
        with wildcard(family, kind) as serving, client, control:
            client.settimeout(lab.QUIET_S)
            before = lab.drops()["interface"]
            with contextlib.suppress(TimeoutError):
                client.connect((target, 5000))
                client.send(b"x")
                serving.settimeout(lab.QUIET_S)
                with self.assertRaises(TimeoutError):
                    serving.recv(9) if kind == DGRAM else serving.accept()
            self.assertGreater(lab.drops()["interface"], before)
            control.settimeout(lab.TIMEOUT_S)
            control.connect((NEAR[family], 5000))  # FIB 0's own address: as ever

    def test_row_39_the_owner_stays_the_owner(self) -> None:
        for family in self.families():
            with self.subTest(family=family), other_interface():
                self.add_elsewhere(family)

    def add_elsewhere(self, family: socket.AddressFamily) -> None:
        address = lab.server(1, family)
        lab.run("ip", "addr", "add", f"{address}/{24 if family == FOUR else 64}", "dev", OTHER)
        self.assertEqual(fib.fib_of_address(address), 1)
        with fib_socket(2, family) as made, self.refused(errno.EADDRNOTAVAIL):
            made.bind((address, 0))
        with wildcard(family, STREAM) as listener, lab.tenant_socket(1, family, STREAM) as client:
            client.connect((address, 5000))
            with listener.accept()[0] as accepted:
                self.assertEqual(fib.socket_fib(accepted), 1)
