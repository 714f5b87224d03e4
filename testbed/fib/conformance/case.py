"""What the test cases share: assertions on errnos and counters, sockets, threads, cgroups."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import unittest
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from .. import api as fib
from ..policy import ROOT, set_policy
from . import lab

T = TypeVar("T")


class Case(unittest.TestCase):
    """A test that leaves the thread in FIB 0."""

    def tearDown(self) -> None:
        fib.thread_fib(0)

    @contextlib.contextmanager
    def refused(self, code: int) -> Iterator[None]:
        """Expect an OSError with that errno."""
        with self.assertRaises(OSError) as caught:
            yield
        self.assertEqual(caught.exception.errno, code, caught.exception)

    def families(self) -> Iterator[socket.AddressFamily]:
        """Yield IPv4 and IPv6."""
        yield from lab.FAMILIES

    @contextlib.contextmanager
    def counted(self, **expected: int) -> Iterator[None]:
        """Expect these drop counters to grow by so much, and no other one."""
        before = lab.drops()
        wanted = {name.replace("_", "-"): number for name, number in expected.items()}

        def grown() -> dict[str, int]:
            after = lab.drops()
            return {name: n - before[name] for name, n in after.items() if n != before[name]}

        yield
        with contextlib.suppress(AssertionError):  # told below, with the figures
            # What was sent may wait for the answer of its neighbour.
            lab.wait_for(lambda: grown() == wanted, "these drops")
        self.assertEqual(grown(), wanted)


def fib_socket(
    number: int,
    family: socket.AddressFamily = socket.AF_INET,
    kind: int = socket.SOCK_STREAM,
    protocol: int = 0,
) -> socket.socket:
    """Return a socket made in a thread with that FIB."""
    with fib.thread_fib(number):
        made = socket.socket(family, kind, protocol)
    made.settimeout(lab.TIMEOUT_S)
    return made


def in_thread(work: Callable[[], T]) -> T:
    """Return what `work` returns in a thread of its own."""
    result: list[T] = []
    thread = threading.Thread(target=lambda: result.append(work()))
    thread.start()
    thread.join()
    return result[0]


def in_fork(work: Callable[[], int]) -> int:
    """Return what `work` (0 to 255) returns in a forked process."""
    child = os.fork()
    if not child:
        code = 255
        try:
            code = work()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@contextlib.contextmanager
def cgroup() -> Iterator[Path]:
    """A cgroup of its own."""
    path = ROOT / f"fibc-{os.getpid()}"
    path.mkdir()
    try:
        yield path
    finally:
        set_policy(path)
        path.rmdir()


def inside(path: Path, work: Callable[[], int]) -> int:
    """Return what `work` returns in a process of the cgroup; an errno where it raises."""

    def enter() -> int:
        (path / "cgroup.procs").write_text(str(os.getpid()))
        try:
            return work()
        except OSError as error:
            return error.errno or 255

    return in_fork(enter)


class JailCase(Case):
    """A test with a cgroup that is jailed in FIB 1."""

    def setUp(self) -> None:
        self.path = self.enterContext(cgroup())
        set_policy(self.path, jail=[1])

    def jailed(self, work: Callable[[], object]) -> int:
        """Return the errno with which `work` fails in the jail, 0 when it does not."""

        def run() -> int:
            fib.thread_fib(1)
            work()
            return 0

        return inside(self.path, run)
