"""Rows 21, 23 and 56: sockets that io_uring makes, accepts and uses."""

from __future__ import annotations

import contextlib
import socket
import subprocess

from .. import apply, breakage, programs, show
from . import lab
from .case import Case
from .test_sockets import STREAM

FOUR = socket.AF_INET
PORT = 5850


def uring(*arguments: str) -> subprocess.Popen[str]:
    """Start fib-uring."""
    argv = [str(programs.directory() / "fib-uring"), *arguments]
    return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def wait_for_waiting(count: int) -> None:
    """Return when so many connections wait on PORT to be accepted."""

    def are_there() -> bool:
        return int(lab.run("ss", "-Hltn", f"sport = :{PORT}").split()[1]) == count

    lab.wait_for(are_there, f"{count} connections to be accepted")


class Rings(Case):
    def fibs(self, running: subprocess.Popen[str]) -> list[int]:
        printed, _ = running.communicate("go on\n")
        self.assertEqual(running.returncode, 0)
        return [int(line) for line in printed.split()]

    def test_row_56_socket_made_by_the_thread_itself(self) -> None:
        self.assertEqual(self.fibs(uring("socket", "inline")), [2, 3])

    def test_row_56_workers_and_pollers_keep_the_fib_of_their_creator(self) -> None:
        """Also when the thread that they work for has gone to another FIB."""
        for by in ("worker", "poller"):
            with self.subTest(by=by):
                self.assertEqual(self.fibs(uring("socket", by)), [2, 2])

    def accepted(self, by: str) -> list[int]:
        """Let a connection of each tenant be accepted by a ring; return what fib-uring prints then."""
        running = uring("accept", by, str(PORT), str(len(lab.TENANTS)))
        self.assertEqual(running.stdout and running.stdout.readline(), "listening\n")
        with contextlib.ExitStack() as stack:
            for number, tenant in enumerate(lab.TENANTS, 1):
                client = stack.enter_context(lab.tenant_socket(tenant, FOUR, STREAM))
                client.connect((lab.server(tenant, FOUR), PORT))
                # connect() returns before its last packet is there: the next one's may overtake it.
                wait_for_waiting(number)
            return self.fibs(running)

    def test_row_21_and_row_56_accepted_by_the_thread_itself(self) -> None:
        """SO_FIB_ACCEPT sets its FIB, and what it makes then is there."""
        self.assertEqual(self.accepted("inline"), [1, 1, 2, 2, 3, 3, 3])

    def test_row_21_and_row_56_accepted_by_a_worker(self) -> None:
        """SO_FIB_ACCEPT leaves worker and thread in FIB 2."""
        self.assertEqual(self.accepted("worker"), [1, 2, 2, 2, 3, 2, 2])

    def test_row_56_control(self) -> None:
        """Where a worker is taken for any other thread, its FIB is that of whom it served last."""
        breakage.break_piece("worker-leak")
        self.addCleanup(apply.apply_again)
        self.assertEqual(show.show()["broken"], ["worker-leak"])
        self.assertEqual(self.accepted("worker"), [1, 1, 2, 2, 3, 3, 2])
