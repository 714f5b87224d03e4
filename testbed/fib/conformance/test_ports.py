"""Rows 16, 18 and 20, pitfall P19: ports that the kernel chooses, and binds that come to nothing."""

from __future__ import annotations

import contextlib
import errno
import socket
import unittest
from collections.abc import Iterator

from .. import api as fib
from . import lab
from .case import Case, fib_socket
from .test_sockets import DGRAM, STREAM

FOUR, SIX = socket.AF_INET, socket.AF_INET6
PORT, OTHER_PORT = 5870, 5871
COUNT = 10
FEW_PORTS = f"41000 {41000 + COUNT - 1}"
SECOND = {FOUR: "10.64.0.2", SIX: "fd00:64:0:1::2"}


class Chosen(Case):
    """bind to any address and port 0."""

    def bound(self, number: int, family: socket.AddressFamily, kind: int) -> socket.socket:
        made = fib_socket(number, family, kind)
        made.bind(("", 0))
        if kind == STREAM:
            made.listen()
        return made

    def reaches(self, tenant: int, address: str, listener: socket.socket) -> bool:
        """Whether a tenant's client is accepted by that listener on an address."""
        family = SIX if ":" in address else FOUR
        with lab.tenant_socket(tenant, family, STREAM) as client:
            client.settimeout(lab.QUIET_S)
            try:
                client.connect((address, listener.getsockname()[1]))
                with listener.accept()[0] as accepted:
                    return fib.socket_fib(accepted) == tenant
            except (ConnectionRefusedError, TimeoutError):
                return False

    def test_row_16_listener_on_a_chosen_port_hears_all_addresses(self) -> None:
        entry = lab.fib_entry(1)
        entry["addresses"] += [f"{SECOND[FOUR]}/29", f"{SECOND[SIX]}/64"]
        lab.put(lab.document(fibs=[entry, lab.fib_entry(2), lab.fib_entry(3)]))
        self.addCleanup(lab.put, lab.document())
        for family in self.families():
            with self.subTest(family=family), self.bound(1, family, STREAM) as own:
                own.settimeout(lab.QUIET_S)
                # Python's IPv6 sockets hear IPv4 too unless they are told otherwise.
                heard = lab.FAMILIES if family == SIX else (FOUR,)
                for address in (a for f in heard for a in (lab.server(1, f), SECOND[f])):
                    self.assertTrue(self.reaches(1, address, own), address)
                for other in heard:
                    self.assertFalse(self.reaches(2, lab.server(2, other), own))

    def test_row_16_listen_without_bind(self) -> None:
        for family in self.families():
            with self.subTest(family=family), fib_socket(1, family) as own:
                own.listen()
                own.settimeout(lab.QUIET_S)
                self.assertTrue(self.reaches(1, lab.server(1, family), own))
                self.assertFalse(self.reaches(2, lab.server(2, family), own))

    def beside(self, family: socket.AddressFamily, kind: int) -> None:
        """Bind in FIB 1 to the port that the kernel has chosen for a wildcard socket."""
        with self.bound(0, family, kind) as wild, fib_socket(1, family, kind) as own:
            own.bind(("", wild.getsockname()[1]))

    def test_row_18_beside_a_wildcard_listener_on_a_chosen_port(self) -> None:
        for family in self.families():
            with self.subTest(family=family), self.bound(0, family, STREAM) as wild:
                wild.settimeout(lab.QUIET_S)
                self.assertTrue(self.reaches(1, lab.server(1, family), wild))
                with fib_socket(1, family) as own:
                    own.bind(("", wild.getsockname()[1]))
                    own.listen()
                    own.settimeout(lab.QUIET_S)
                    self.assertTrue(self.reaches(1, lab.server(1, family), own))
                    self.assertTrue(self.reaches(2, lab.server(2, family), wild))

    # With SO_REUSEPORT, which leaves the room, the kernel would choose a UDP port that another such
    # socket of the user's has: udp_lib_lport_inuse (net/ipv4/udp.c) passes over it.
    @unittest.expectedFailure
    def test_row_18_beside_a_wildcard_udp_socket_on_a_chosen_port(self) -> None:
        self.beside(FOUR, DGRAM)

    def test_row_18_listener_closed_and_opened_again(self) -> None:
        for family in self.families():
            with self.subTest(family=family), fib_socket(0, family) as wild:
                wild.bind(("", PORT))
                wild.listen()
                wild.settimeout(lab.QUIET_S)
                with fib_socket(1, family) as own:
                    own.settimeout(lab.QUIET_S)
                    own.bind(("", PORT))
                    for _ in range(2):
                        own.listen()
                        self.assertTrue(self.reaches(1, lab.server(1, family), own))
                        own.shutdown(socket.SHUT_RDWR)
                        self.assertTrue(self.reaches(1, lab.server(1, family), wild))
                self.assertTrue(self.reaches(1, lab.server(1, family), wild))


class Failed(Case):
    """A bind that fails leaves the socket as it was."""

    def test_row_20_bind_that_failed_leaves_no_fib(self) -> None:
        for family in self.families():
            for kind in (STREAM, DGRAM):
                with (
                    self.subTest(family=family, kind=kind),
                    self.refused_bind(family, kind) as made,
                ):
                    self.assertEqual(fib.socket_fib(made), 0)
                    made.bind((lab.server(1, family), OTHER_PORT))
                    self.assertEqual(fib.socket_fib(made), 1)
                with self.refused_bind(family, kind) as made, self.refused(errno.ENETUNREACH):
                    made.connect((lab.CLIENT[family], 9))

    def test_row_17_listen_after_a_bind_that_failed(self) -> None:
        """Without a bind it hears all FIBs, as ever."""
        for family in self.families():
            with self.subTest(family=family), self.refused_bind(family, STREAM) as made:
                made.listen()
                made.settimeout(lab.QUIET_S)
                self.assertEqual(fib.socket_fib(made), 0)
                for tenant in (1, 2):
                    client = lab.tenant_socket(tenant, family, STREAM)
                    with client:
                        client.connect((lab.server(tenant, family), made.getsockname()[1]))
                        with made.accept()[0] as accepted:
                            self.assertEqual(fib.socket_fib(accepted), tenant)

    def test_row_20_datagram_after_a_bind_that_failed(self) -> None:
        """None leaves by the FIB of the address that it could not have, not even the first."""
        for family in self.families():
            with (
                self.subTest(family=family),
                lab.Capture(2) as seen,
                self.near(family) as near,
                self.refused_bind(family, DGRAM) as made,
            ):
                for _ in range(2):
                    with self.refused(errno.ENETUNREACH):
                        made.sendto(b"x", (lab.CLIENT[family], 9))
                self.assertEqual(fib.socket_fib(made), 0)
                made.sendto(b"y", near.getsockname())  # by FIB 0
                self.assertEqual(near.recv(9), b"y")
                with fib_socket(2, family, DGRAM) as control:
                    control.sendto(b"z", (lab.CLIENT[family], 9))
                    lab.wait_for(seen.packets, "the datagram of FIB 2")
                    self.assertEqual(seen.packets(), [])

    # udp_sendmsg (net/ipv4/udp.c) takes the socket's mark (ipcm_init_sk) before it runs the hook that
    # takes the mark away.
    @unittest.expectedFailure
    def test_row_20_first_datagram_after_a_bind_that_failed(self) -> None:
        with (
            self.near(FOUR) as near,
            self.refused_bind(FOUR, DGRAM) as made,
        ):
            made.sendto(b"y", near.getsockname())

    def test_row_10_option_after_a_bind_that_failed(self) -> None:
        for number in (1, 2):
            with self.refused_bind(FOUR, STREAM) as made:
                fib.set_socket_fib(made, number)
                made.bind(("", 0))
                self.assertEqual(fib.socket_fib(made), number)

    def near(self, family: socket.AddressFamily) -> socket.socket:
        """Return a socket of FIB 0 on the loopback interface."""
        made = fib_socket(0, family, DGRAM)
        made.bind(("127.0.0.1" if family == FOUR else "::1", 0))
        return made

    @contextlib.contextmanager
    def refused_bind(self, family: socket.AddressFamily, kind: int) -> Iterator[socket.socket]:
        """A socket of FIB 0 that could not be bound to FIB 2's address: the port is taken."""
        with fib_socket(2, family, kind) as holder, fib_socket(0, family, kind) as made:
            holder.bind((lab.server(2, family), OTHER_PORT))
            if kind == STREAM:
                holder.listen()
            with self.refused(errno.EADDRINUSE):
                made.bind((lab.server(2, family), OTHER_PORT))
            yield made


class Exhausted(Case):
    """P19: one tenant takes all ports that there are to choose from."""

    @contextlib.contextmanager
    def taken(self, kind: int, *, is_bound: bool) -> Iterator[None]:
        """Hold in FIB 1 as many sockets as there are ports."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(lab.setting("net/ipv4/ip_local_port_range", FEW_PORTS))
            for _ in range(COUNT):
                made = stack.enter_context(fib_socket(1, FOUR, kind))
                if is_bound:
                    made.bind(("", 0))
                else:
                    made.connect((lab.CLIENT[FOUR], 9))
            yield

    def test_p19_bound_sockets_of_another_fib(self) -> None:
        for kind in (STREAM, DGRAM):
            with self.subTest(kind=kind), self.taken(kind, is_bound=True):
                with fib_socket(1, FOUR, kind) as late, self.refused(errno.EADDRINUSE):
                    late.bind(("", 0))
                with fib_socket(2, FOUR, kind) as made:
                    made.bind(("", 0))
                    self.assertEqual(made.getsockname()[0], lab.server(2, FOUR))

    def test_p19_datagram_socket_that_is_bound_before(self) -> None:
        with self.taken(DGRAM, is_bound=False), fib_socket(2, FOUR, DGRAM) as made:
            made.bind(("", 0))
            made.connect((lab.CLIENT[FOUR], 9))

    # inet_autobind (net/ipv4/af_inet.c) binds a UDP socket to any address before it asks where it goes;
    # udp_lib_get_port then wants a port that nobody has at any address.
    @unittest.expectedFailure
    def test_p19_datagram_socket_that_is_not(self) -> None:
        with self.taken(DGRAM, is_bound=False), fib_socket(2, FOUR, DGRAM) as made:
            made.connect((lab.CLIENT[FOUR], 9))
