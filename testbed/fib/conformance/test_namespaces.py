"""Row 55 elsewhere: other network namespaces of the system are as if there were no FIBs."""

from __future__ import annotations

import errno
import socket
import threading

from .. import api as fib
from .. import apply
from ..policy import set_policy
from . import lab
from .case import Case, cgroup, fib_socket, in_thread, inside
from .test_resilience import behaviour
from .test_sockets import DGRAM, STREAM

FOUR = socket.AF_INET
PORT = 5800
SO_MARK = 36
ELSEWHERE = 3
"""The tenant whose namespace is looked at."""


class Namespaces(Case):
    def test_row_55_system_calls_elsewhere_are_as_stock(self) -> None:
        with lab.namespace(ELSEWHERE):
            configured = behaviour()
        apply.remove_everything(lab.NIC)
        try:
            with lab.namespace(ELSEWHERE):
                stock = behaviour()
        finally:
            lab.put(lab.document())
        self.assertEqual(configured, stock)

    def test_row_55_ports_elsewhere_are_not_shared(self) -> None:
        for family in self.families():
            for kind in (STREAM, DGRAM):
                with fib_socket(0, family, kind) as here, lab.namespace(ELSEWHERE):
                    here.bind(("", PORT))
                    with (
                        socket.socket(family, kind) as first,
                        socket.socket(family, kind) as second,
                    ):
                        first.bind(("", PORT))
                        self.assertFalse(first.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT))
                        with self.refused(errno.EADDRINUSE):
                            second.bind(("", PORT))

    def test_row_55_thread_with_a_fib_that_goes_elsewhere(self) -> None:
        def work() -> tuple[int, int, int]:
            fib.thread_fib(2)
            with lab.namespace(ELSEWHERE), socket.socket() as made:
                mark = made.getsockopt(socket.SOL_SOCKET, SO_MARK)
                return mark, self.code_of_option(made), self.code_of_prctl()

        mark, option, prctl = in_thread(work)
        self.assertEqual((mark, prctl), (0, errno.EINVAL))
        self.assertIn(option, {errno.ENOPROTOOPT, errno.EOPNOTSUPP})

    def code_of_option(self, made: socket.socket) -> int:
        try:
            return fib.socket_fib(made)
        except OSError as error:
            return error.errno or 0

    def code_of_prctl(self) -> int:
        try:
            return fib.get_thread_fib()
        except OSError as error:
            return error.errno or 0

    def test_row_55_address_of_a_fib_elsewhere(self) -> None:
        """It is another system's address there: no FIB, and a mark is only a mark."""
        lab.run("ip", "-n", f"fibc-r{ELSEWHERE}", "addr", "add", "10.64.0.1/32", "dev", "lo")
        self.addCleanup(
            lab.run, *("ip", "-n", f"fibc-r{ELSEWHERE}", "addr", "del", "10.64.0.1/32", "dev", "lo")
        )
        with lab.namespace(ELSEWHERE):
            one, other = socket.socket(FOUR, DGRAM), socket.socket(FOUR, DGRAM)
        with one, other:
            one.setsockopt(socket.SOL_SOCKET, SO_MARK, 77)
            one.bind(("10.64.0.1", 0))
            self.assertEqual(one.getsockopt(socket.SOL_SOCKET, SO_MARK), 77)
            one.settimeout(lab.TIMEOUT_S)
            other.setsockopt(socket.SOL_SOCKET, SO_MARK, 78)
            other.sendto(b"x", one.getsockname())
            self.assertEqual(one.recv(9), b"x")

    def test_row_55_accept_elsewhere(self) -> None:
        with lab.namespace(ELSEWHERE):
            listener, client = socket.create_server(("127.0.0.1", 0)), socket.socket()
        with listener, client:
            listener.settimeout(lab.TIMEOUT_S)
            listener.setsockopt(socket.SOL_SOCKET, SO_MARK, 79)
            client.setsockopt(socket.SOL_SOCKET, SO_MARK, 80)
            thread = threading.Thread(target=client.connect, args=(listener.getsockname(),))
            thread.start()
            accepted = listener.accept()[0]
            thread.join()
            with accepted:
                client.send(b"x")
                self.assertEqual(accepted.recv(9), b"x")

    def test_row_55_jail_holds_for_this_namespace_alone(self) -> None:
        def work() -> int:
            with lab.namespace(ELSEWHERE), socket.socket(FOUR, DGRAM) as made:
                made.sendto(b"x", ("127.0.0.1", 9))
            return 0

        with cgroup() as path:
            set_policy(path, jail=[1])
            self.assertEqual(inside(path, work), 0)
            self.assertEqual(inside(path, lambda: socket.socket().fileno()), errno.EPERM)
