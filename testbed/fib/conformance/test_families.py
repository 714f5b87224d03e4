"""Rows 1, 10, 20, 21 and the jail for what is not plain TCP or UDP: MPTCP, SMC, SCTP.

The kernel makes sockets of its own inside these, which no socket() of a thread ever saw.
"""

import contextlib
import errno
import functools
import socket
import struct
import unittest
from collections.abc import Iterator

from .. import api as fib
from . import lab
from .case import Case, JailCase, fib_socket

MPTCP, SCTP = 262, socket.IPPROTO_SCTP
AF_SMC = 43
BINDX_ADD = 100
PORT, OTHER_PORT = 5400, 5401


@contextlib.contextmanager
def listening(tenant: int, family: socket.AddressFamily) -> Iterator[socket.socket]:
    """Let a tenant's client listen for TCP."""
    with lab.tenant_socket(tenant, family, socket.SOCK_STREAM, PORT) as made:
        made.listen()
        yield made


class Multipath(Case):
    """MPTCP: a socket, and a subflow of the kernel's for each path."""

    def connected(self, number: int, made: socket.socket, family: socket.AddressFamily) -> None:
        """It reaches the client of that tenant, from the tenant's server address."""
        with made, listening(number, family) as listener:
            made.connect((lab.CLIENT[family], PORT))
            peer, address = listener.accept()
            peer.close()
            self.assertEqual(address[0], lab.server(number, family))

    def test_row_01_connection_is_in_the_fib_of_the_thread(self) -> None:
        for family in self.families():
            for number in lab.TENANTS:
                with self.subTest(family=family, fib=number):
                    made = fib_socket(number, family, socket.SOCK_STREAM, MPTCP)
                    self.connected(number, made, family)

    def test_row_10_connection_is_in_the_fib_that_its_socket_was_given(self) -> None:
        for family in self.families():
            with self.subTest(family=family):
                made = fib_socket(1, family, socket.SOCK_STREAM, MPTCP)
                fib.set_socket_fib(made, 2)
                self.connected(2, made, family)

    def test_row_20_bind_to_an_address_of_another_fib(self) -> None:
        for family in self.families():
            made = fib_socket(1, family, socket.SOCK_STREAM, MPTCP)
            with self.subTest(family=family), made, self.refused(errno.EADDRNOTAVAIL):
                made.bind((lab.server(2, family), 0))

    def test_row_21_accepted_connection_answers_its_own_client(self) -> None:
        for family in self.families():
            with self.subTest(family=family), contextlib.ExitStack() as stack:
                listener = fib_socket(0, family, socket.SOCK_STREAM, MPTCP)
                stack.enter_context(listener).bind(("", PORT))
                listener.listen()
                for tenant in lab.TENANTS:
                    client = lab.tenant_socket(tenant, family, socket.SOCK_STREAM, 40001)
                    stack.enter_context(client).connect((lab.server(tenant, family), PORT))
                    accepted = stack.enter_context(listener.accept()[0])
                    self.assertEqual(fib.socket_fib(accepted), tenant)
                    accepted.send(b"%d" % tenant)
                    self.assertEqual(client.recv(9), b"%d" % tenant)

    def listener(self, number: int, family: socket.AddressFamily) -> socket.socket:
        made = fib_socket(number, family, socket.SOCK_STREAM, MPTCP)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(("", OTHER_PORT))
        made.listen()
        return made

    def hears(self, made: socket.socket, tenant: int, family: socket.AddressFamily) -> bool:
        with lab.tenant_socket(tenant, family, socket.SOCK_STREAM) as client:
            client.connect((lab.server(tenant, family), OTHER_PORT))
            made.settimeout(lab.QUIET_S)
            try:
                made.accept()[0].close()
            except TimeoutError:
                return False
            return True

    def test_rows_16_and_18_listeners_of_fibs_beside_a_wildcard_one(self) -> None:
        for family in self.families():
            with (
                self.subTest(family=family),
                self.listener(0, family) as wild,
                self.listener(1, family) as one,
                self.listener(2, family) as two,
            ):
                for tenant, made in ((1, one), (2, two), (3, wild)):
                    self.assertTrue(self.hears(made, tenant, family), tenant)

    def test_row_16_multipath_port_is_free_again_after_close(self) -> None:
        for family in self.families():
            for number in (0, 1):
                with self.subTest(family=family, fib=number):
                    for _ in range(2):
                        with self.listener(number, family) as made:
                            self.assertTrue(self.hears(made, 1, family))
                            with self.refused(errno.EADDRINUSE):
                                self.listener(number, family)

    # sk_psock_init (net/core/skmsg.c) takes no socket of an upper layer protocol into a map.
    @unittest.expectedFailure
    def test_row_16_multipath_dual_stack_listener_of_a_fib(self) -> None:
        with self.listener(0, socket.AF_INET6), self.listener(1, socket.AF_INET6) as own:
            self.assertTrue(self.hears(own, 1, socket.AF_INET))


class Streams(Case):
    """SCTP, which would tell its peer every address of the system's."""

    def made(self, number: int, family: socket.AddressFamily) -> socket.socket:
        return fib_socket(number, family, socket.SOCK_STREAM, SCTP)

    def test_row_24_unbound_sctp_socket_is_refused(self) -> None:
        for family in self.families():
            many = functools.partial(fib_socket, 1, family, socket.SOCK_SEQPACKET, SCTP)
            with self.subTest(family=family), lab.Capture(1) as seen:
                for number in (0, 1, 777):
                    with self.made(number, family) as made:
                        for work in (
                            lambda m=made, f=family: m.connect((lab.CLIENT[f], PORT)),
                            lambda m=made: m.bind(("", 0)),
                            made.listen,
                        ):
                            with self.refused(errno.EADDRNOTAVAIL):
                                work()
                with many() as made, self.refused(errno.EADDRNOTAVAIL):
                    made.sendto(b"x", (lab.CLIENT[family], PORT))
                with many() as made:  # control: bound, it is sent
                    made.bind((lab.server(1, family), 0))
                    self.assertEqual(seen.packets(), [])
                    made.sendto(b"x", (lab.CLIENT[family], PORT))
                    lab.wait_for(seen.packets, "the INIT")

    def test_row_20_second_address_of_an_sctp_socket_is_refused(self) -> None:
        with self.made(0, socket.AF_INET) as made:
            made.bind((lab.server(1, socket.AF_INET), 0))
            self.assertEqual(fib.socket_fib(made), 1)
            packed = socket.inet_aton(lab.server(2, socket.AF_INET))
            second = struct.pack("=HH4s8x", socket.AF_INET, made.getsockname()[1], packed)
            with self.refused(errno.EADDRNOTAVAIL):
                made.setsockopt(SCTP, BINDX_ADD, second)

    def test_row_25_bound_sctp_socket_is_in_the_fib_of_its_address(self) -> None:
        for family in self.families():
            for tenant in lab.TENANTS:
                for number in (0, tenant):
                    with (
                        self.subTest(family=family, tenant=tenant, fib=number),
                        # A port of its own: an association keeps its port until it has shut down.
                        self.client(tenant, family, 0) as listener,
                        self.made(number, family) as made,
                    ):
                        listener.listen()
                        made.bind((lab.server(tenant, family), 0))
                        self.assertEqual(fib.socket_fib(made), tenant)
                        made.connect(listener.getsockname()[:2])
                        peer, address = listener.accept()
                        peer.close()
                        self.assertEqual(address[0], lab.server(tenant, family))

    def client(self, tenant: int, family: socket.AddressFamily, port: int) -> socket.socket:
        with lab.namespace(tenant):
            made = socket.socket(family, socket.SOCK_STREAM, SCTP)
        made.settimeout(lab.TIMEOUT_S)
        made.bind((lab.CLIENT[family], port))
        return made

    def test_row_21_accepted_sctp_socket_has_the_fib_of_its_local_address(self) -> None:
        """From one client address and port in all tenants."""
        for family in self.families():
            with self.subTest(family=family), contextlib.ExitStack() as stack:
                for tenant in lab.TENANTS:
                    listener = stack.enter_context(self.made(0, family))
                    listener.bind((lab.server(tenant, family), OTHER_PORT))
                    listener.listen()
                    client = stack.enter_context(self.client(tenant, family, 40002))
                    client.connect((lab.server(tenant, family), OTHER_PORT))
                    accepted = stack.enter_context(listener.accept()[0])
                    self.assertEqual(fib.socket_fib(accepted), tenant)
                    accepted.send(b"%d" % tenant)
                    self.assertEqual(client.recv(9), b"%d" % tenant)


class JailedFamilies(JailCase):
    def test_multipath_bind_to_an_address_of_another_fib(self) -> None:
        def work(tenant: int) -> None:
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM, MPTCP) as made:
                made.bind((lab.server(tenant, socket.AF_INET), 0))

        self.assertEqual(self.jailed(functools.partial(work, 2)), errno.EADDRNOTAVAIL)
        self.assertEqual(self.jailed(functools.partial(work, 1)), 0)

    def test_families_that_hide_sockets(self) -> None:
        with socket.socket(AF_SMC, socket.SOCK_STREAM):  # control: outside it is there
            pass
        for family in (AF_SMC, socket.AF_VSOCK):
            with self.subTest(family=family):
                work = functools.partial(socket.socket, family, socket.SOCK_STREAM)
                self.assertEqual(self.jailed(work), errno.EPERM)

    def test_sctp_at_an_address_of_another_fib(self) -> None:
        def work(tenant: int) -> None:
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM, SCTP) as made:
                made.bind((lab.server(tenant, socket.AF_INET), 0))

        self.assertEqual(self.jailed(functools.partial(work, 2)), errno.EADDRNOTAVAIL)
        self.assertEqual(self.jailed(functools.partial(work, 1)), 0)
