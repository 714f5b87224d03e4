"""Rows 1 to 15 and 54, 56: the FIB of threads and sockets."""

import ctypes
import errno
import os
import socket
import subprocess
import sys
import threading
import time

from .. import api as fib
from . import lab
from .case import Case, in_fork, in_thread

FAMILIES = lab.FAMILIES
KINDS = (socket.SOCK_STREAM, socket.SOCK_DGRAM)
ORDINARY_UID = 65534
SO_MARK = 36


def new_socket_fib(
    family: socket.AddressFamily = socket.AF_INET, kind: int = socket.SOCK_STREAM
) -> int:
    """Return the FIB of a new socket."""
    with socket.socket(family, kind) as made:
        return fib.socket_fib(made)


class Threads(Case):
    def test_row_01_socket_has_the_fib_of_its_thread(self) -> None:
        fib.thread_fib(4)
        for family in FAMILIES:
            for kind in KINDS:
                with self.subTest(family=family, kind=kind):
                    self.assertEqual(new_socket_fib(family, kind), 4)
        fib.thread_fib(0)
        self.assertEqual(new_socket_fib(), 0)

    def test_row_02_unix_and_netlink_sockets_are_untouched(self) -> None:
        fib.thread_fib(4)
        left, right = socket.socketpair()
        with left, right, socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as route:
            left.send(b"x")
            self.assertEqual(right.recv(1), b"x")
            route.bind((0, 0))
            for made in (left, route):
                self.assertEqual(made.getsockopt(socket.SOL_SOCKET, SO_MARK), 0)
                with self.assertRaises(OSError) as caught:
                    fib.socket_fib(made)
                self.assertIn(caught.exception.errno, (errno.EOPNOTSUPP, errno.ENOPROTOOPT))

    def test_row_03_threads_do_not_disturb_one_another(self) -> None:
        wrong = []
        end = time.monotonic() + 3

        def play(first: int) -> None:
            turn = first
            while time.monotonic() < end:
                fib.thread_fib(turn)
                if new_socket_fib() != turn or fib.get_thread_fib() != turn:
                    wrong.append(turn)
                turn = turn % 30000 + 32

        threads = [threading.Thread(target=play, args=(n + 1,)) for n in range(32)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(wrong, [])
        self.assertEqual(fib.get_thread_fib(), 0)

    def test_row_04_number_out_of_range(self) -> None:
        fib.thread_fib(5)
        prctl = ctypes.CDLL(None, use_errno=True).prctl
        for number in (-1, 65536, 1 << 31, (1 << 32) + 5):
            with self.subTest(number=number):
                raised = prctl(fib.PR_FIB, fib.PR_FIB_SET, ctypes.c_ulong(number), 0, 0)
                self.assertEqual((raised, ctypes.get_errno()), (-1, errno.EINVAL))
                self.assertEqual(fib.get_thread_fib(), 5)
                with self.refused(errno.EINVAL):
                    fib.thread_fib(number)

    def test_row_04_first_and_last_number(self) -> None:
        for number in (65535, 1, 0):
            with self.subTest(number=number), socket.socket() as made:
                fib.set_socket_fib(made, number)
                fib.thread_fib(number)
                with socket.socket() as later:
                    found = (fib.get_thread_fib(), fib.socket_fib(later), fib.socket_fib(made))
                    self.assertEqual(found, (number,) * 3)

    def test_row_05_fib_without_tenant(self) -> None:
        fib.thread_fib(777)
        for family in FAMILIES:
            with self.subTest(family=family), socket.socket(family) as lost:
                with self.refused(errno.ENETUNREACH):
                    lost.connect((lab.CLIENT[family], 9))
                with self.refused(errno.ENETUNREACH):
                    lost.connect((lab.server(1, family), 9))

    def test_row_06_fork_inherits_the_forking_thread(self) -> None:
        def fork_here() -> int:
            fib.thread_fib(7)
            return in_fork(lambda: fib.get_thread_fib() + 10 * new_socket_fib())

        self.assertEqual(in_thread(fork_here), 77)

    def test_row_07_thread_inherits_its_creator(self) -> None:
        fib.thread_fib(7)
        self.assertEqual(in_thread(fib.get_thread_fib), 7)
        self.assertEqual(in_thread(lambda: in_thread(new_socket_fib)), 7)

    def test_row_08_exec_keeps(self) -> None:
        code = (
            f"import socket; s = socket.socket(); print(s.getsockopt({fib.SOL_FIB}, {fib.SO_FIB}))"
        )

        def run_here() -> str:
            fib.thread_fib(7)
            return subprocess.run(
                [sys.executable, "-c", code], capture_output=True, text=True, check=True
            ).stdout

        self.assertEqual(in_thread(run_here), "7\n")

    def test_row_08_exec_in_a_thread_that_is_no_leader(self) -> None:
        code = (
            f"import socket,sys; sys.exit(socket.socket().getsockopt({fib.SOL_FIB}, {fib.SO_FIB}))"
        )

        def replace() -> int:
            def work() -> None:
                fib.thread_fib(9)
                os.execv(sys.executable, [sys.executable, "-c", code])

            threading.Thread(target=work).start()
            time.sleep(lab.TIMEOUT_S)  # exec ends this process, this thread included
            return 255

        self.assertEqual(in_fork(replace), 9)

    def test_row_09_new_thread_never_has_a_dead_ones_fib(self) -> None:
        wrong = []

        def die(number: int) -> None:
            if fib.get_thread_fib() != 0:
                wrong.append(number)
            fib.thread_fib(number)

        for number in range(1, 3000):
            thread = threading.Thread(target=die, args=(number,))
            thread.start()
            thread.join()
        self.assertEqual(wrong, [])

    def test_row_10_option_overrides_the_thread(self) -> None:
        fib.thread_fib(1)
        with socket.socket() as made:
            fib.set_socket_fib(made, 2)
            self.assertEqual(fib.socket_fib(made), 2)
            made.bind(("", 0))
            self.assertEqual(fib.socket_fib(made), 2)

    def test_row_11_option_after_bind(self) -> None:
        for family in FAMILIES:
            for kind in KINDS:
                with self.subTest(family=family, kind=kind), socket.socket(family, kind) as made:
                    fib.set_socket_fib(made, 1)
                    made.bind((lab.server(1, family), 0))
                    with self.refused(errno.EISCONN):
                        fib.set_socket_fib(made, 2)
                    fib.set_socket_fib(made, 1)
                    self.assertEqual(fib.socket_fib(made), 1)

    def test_row_12_option_on_a_connected_socket(self) -> None:
        for family in FAMILIES:
            with self.subTest(family=family):
                listener = lab.tenant_socket(1, family, socket.SOCK_STREAM, 389)
                listener.listen()
                with listener, socket.socket(family) as made:
                    fib.set_socket_fib(made, 1)
                    made.connect((lab.CLIENT[family], 389))
                    with self.refused(errno.EISCONN):
                        fib.set_socket_fib(made, 2)
                    self.assertEqual(fib.socket_fib(made), 1)

    def test_row_13_option_on_a_listener(self) -> None:
        for family in FAMILIES:
            with self.subTest(family=family), socket.create_server(("", 0), family=family) as made:
                with self.refused(errno.EISCONN):
                    fib.set_socket_fib(made, 2)
                self.assertEqual(fib.socket_fib(made), 0)

    def test_row_14_option_with_a_bad_value(self) -> None:
        with socket.socket() as made:
            for number in (-1, 65536, (1 << 31) - 1, -(1 << 31)):
                with self.refused(errno.EINVAL):
                    made.setsockopt(fib.SOL_FIB, fib.SO_SETFIB, number)
            with self.refused(errno.EINVAL):
                made.setsockopt(fib.SOL_FIB, fib.SO_SETFIB, b"\1")
            self.assertEqual(fib.socket_fib(made), 0)

    def test_row_15_no_privilege_is_needed(self) -> None:
        def work() -> int:
            os.setgid(ORDINARY_UID)
            os.setuid(ORDINARY_UID)
            fib.thread_fib(3)
            with socket.socket() as made:
                if fib.socket_fib(made) != 3:
                    return 1
                fib.set_socket_fib(made, 4)
                return 0 if fib.socket_fib(made) == 4 else 2

        self.assertEqual(in_fork(work), 0)

    def test_row_56_descriptor_keeps_its_fib(self) -> None:
        left, right = socket.socketpair()
        with left, right:
            fib.thread_fib(2)
            with socket.socket() as made:
                fib.thread_fib(1)
                self.assertEqual(in_thread(lambda: fib.socket_fib(made)), 2)
                with made.dup() as copy:
                    self.assertEqual(fib.socket_fib(copy), 2)
                socket.send_fds(left, [b"x"], [made.fileno()])

            def receive() -> int:
                fib.thread_fib(3)
                _, descriptors, _, _ = socket.recv_fds(right, 1, 1)
                with socket.socket(fileno=descriptors[0]) as received:
                    return fib.socket_fib(received)

            self.assertEqual(in_fork(receive), 2)
