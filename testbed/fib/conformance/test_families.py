"""Rows 1, 10, 20, 21 and the jail for what is not plain TCP or UDP: MPTCP, SMC, SCTP.

The kernel makes sockets of its own inside these, which no socket() of a thread ever saw.
"""

import contextlib
import errno
import functools
import socket
from collections.abc import Iterator

from .. import api as fib
from . import lab
from .case import Case, JailCase, fib_socket

MPTCP, SCTP = 262, socket.IPPROTO_SCTP
AF_SMC = 43
PORT = 5400


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

    def test_sctp_from_an_address_of_another_fib_does_not_leave(self) -> None:
        def work() -> None:
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM, SCTP) as made:
                made.settimeout(0)
                made.bind((lab.server(2, socket.AF_INET), 0))
                with contextlib.suppress(BlockingIOError):
                    made.connect((lab.CLIENT[socket.AF_INET], PORT))

        with lab.Capture(2) as seen, self.counted(guard_source=1):
            self.assertEqual(self.jailed(work), 0)
            self.assertEqual(seen.packets(), [])
