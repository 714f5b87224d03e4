"""Rows 53 and 55: killed control processes, exchanged programs, and no FIB at all."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from .. import api as fib
from .. import apply, bpfmap, programs
from . import lab
from .case import Case, fib_socket
from .test_sockets import DGRAM, STREAM

FOUR, SIX = socket.AF_INET, socket.AF_INET6
PORT = 5600
LARGE = 8192
"""More than the page that the kernel hands to a socket option hook."""
STARVED_S = 120
"""What the load may wait: an exchange of programs beside it leaves it a tenth of the processor."""


@contextlib.contextmanager
def traffic(tenant: int) -> Iterator[list[str]]:
    """Connections of a tenant's client, one after another; yields what was wrong with any."""
    wrong: list[str] = []
    stop = threading.Event()

    def play() -> None:
        for family in lab.FAMILIES * 100000:
            if stop.is_set():
                return
            try:
                connect_once(tenant, family, wrong)
            except OSError as error:
                wrong.append(str(error))

    thread = threading.Thread(target=play)
    thread.start()
    try:
        yield wrong
    finally:
        stop.set()
        thread.join()


def connect_once(tenant: int, family: socket.AddressFamily, wrong: list[str]) -> None:
    with fib_socket(0, family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("", PORT))
        listener.listen()
        with lab.tenant_socket(tenant, family, STREAM) as client:
            listener.settimeout(STARVED_S)
            client.settimeout(STARVED_S)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.connect((lab.server(tenant, family), PORT))
            with listener.accept()[0] as accepted:
                if fib.socket_fib(accepted) != tenant:
                    wrong.append(f"FIB {fib.socket_fib(accepted)}")
        with fib_socket(tenant, family, DGRAM) as outgoing:
            outgoing.connect((lab.CLIENT[family], 9))
            if outgoing.getsockname()[0] != lab.server(tenant, family):
                wrong.append(f"source {outgoing.getsockname()[0]}")


class Resilience(Case):
    def setUp(self) -> None:
        self.addCleanup(lab.put, lab.document())

    def test_row_53_apply_killed_at_any_moment(self) -> None:
        few = json.dumps(lab.document(fibs=[lab.fib_entry(1), lab.fib_entry(3)]))
        all_three = json.dumps(lab.document())
        with traffic(1) as wrong:
            for turn in range(12):
                self.apply_and_kill(few if turn % 2 else all_three, turn * 0.06)
            self.assertEqual(wrong, [])
        lab.put(lab.document())
        self.assertEqual(lab.put(lab.document()), {})

    def apply_and_kill(self, text: str, after_s: float) -> None:
        argv = [sys.executable, "-m", "fib", "apply"]
        with (
            file_of(text) as document,
            subprocess.Popen(
                argv, stdin=document, stdout=subprocess.DEVNULL, env=lab.environment()
            ) as child,
        ):
            time.sleep(after_s)  # the moment to die, not a wait
            child.send_signal(signal.SIGKILL)

    def test_row_53_programs_exchanged_under_load(self) -> None:
        """An upgrade: apply finds programs of another build and exchanges them one by one."""
        maps = pinned_ids("map")
        with contextlib.ExitStack() as stack, tempfile.TemporaryDirectory() as folder:
            stack.enter_context(lab.one_processor_if_emulated())
            wrong = [stack.enter_context(traffic(1)), stack.enter_context(traffic_of_threads())]
            wrong += [stack.enter_context(echoes(tenant)) for tenant in (2, 3)]
            for turn in range(2):
                before = pinned_ids("link")
                new = another_build(Path(folder, str(turn)))
                done = subprocess.run(
                    # All load but it is one process, which would leave it a sixth of the processor.
                    ["nice", "-n", "-10", sys.executable, "-m", "fib", "apply"],
                    input=json.dumps(lab.document()),
                    capture_output=True,
                    text=True,
                    check=True,
                    env=lab.environment() | {"FIB_BPF_DIR": str(new)},
                )
                self.assertEqual(json.loads(done.stdout), {"programs": "attached"})
                after = pinned_ids("link")
                self.assertEqual([n for n, program in after.items() if before[n] == program], [])
            self.assertEqual(wrong, [[], [], [], []])
        self.assertEqual(programs.missing(lab.NIC), [])
        self.assertEqual(pinned_ids("map"), maps)

    def test_row_53_without_settings_nothing_passes(self) -> None:
        """The safe state of missing settings: packets are dropped, not let into FIB 0."""
        config = bpfmap.read_config()
        with bpfmap.address_map() as addresses:
            kept = addresses.items()
            for key in kept:
                addresses.discard(key)
        try:
            with lab.tenant_socket(1, FOUR, STREAM) as client:
                client.settimeout(lab.QUIET_S)
                with fib_socket(0) as listener:
                    listener.bind(("", PORT))
                    listener.listen()
                    with self.assertRaises(TimeoutError):
                        client.connect((lab.server(1, FOUR), PORT))
        finally:
            bpfmap.write_config(config)
            lab.put(lab.document())

    def test_row_55_no_fib_configured_is_as_stock(self) -> None:
        lab.put(lab.document(fibs=[], unassigned=[], default_fib=0))
        attached = behaviour()
        apply.remove_everything(lab.NIC)
        stock = behaviour()
        lab.put(lab.document())
        configured = behaviour()
        self.assertEqual(attached, stock)
        configured["reuseport"] = stock["reuseport"]  # wildcard sockets leave room: documented
        self.assertEqual(configured, stock)


def another_build(folder: Path) -> Path:
    """Return a copy of the programs that is another build of the same code."""
    shutil.copytree(programs.directory(), folder)
    for path in folder.glob("*.bpf.o"):
        with path.open("ab") as program:
            program.write(folder.name.encode() + bytes(7))  # after the last section
    return folder


def pinned_ids(kind: str) -> dict[str, int]:
    """Return what is pinned: the ids of maps by name, or of programs by their links' names."""
    folder = bpfmap.MAPS if kind == "map" else bpfmap.LINKS
    key = "id" if kind == "map" else "prog_id"
    return {
        path.name: int(json.loads(lab.run("bpftool", "-j", kind, "show", "pinned", str(path)))[key])
        for path in folder.iterdir()
    }


@contextlib.contextmanager
def echoes(tenant: int) -> Iterator[list[str]]:
    """One connection of a tenant, talked over all the time, and a socket of its FIB that asks.

    Yields what was wrong: an answer that did not come, or came to another FIB's socket.
    """
    wrong: list[str] = []
    stop = threading.Event()

    def play(client: socket.socket, accepted: socket.socket, asking: socket.socket) -> None:
        try:
            while not stop.is_set():
                client.send(b"x")
                accepted.send(accepted.recv(1))
                client.recv(1)
                asking.send(b"%d" % tenant)
                if answering.recv(9) != b"%d" % tenant:
                    wrong.append("another FIB's datagram")
        except OSError as error:
            wrong.append(str(error))

    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(fib_socket(0))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("", PORT + tenant))
        listener.listen()
        client = stack.enter_context(lab.tenant_socket(tenant, FOUR, STREAM))
        client.connect((lab.server(tenant, FOUR), PORT + tenant))
        accepted = stack.enter_context(listener.accept()[0])
        answering = stack.enter_context(lab.tenant_socket(tenant, FOUR, DGRAM, 53))
        asking = stack.enter_context(fib_socket(tenant, FOUR, DGRAM))
        for made in (client, accepted, answering, asking):
            made.settimeout(STARVED_S)
        asking.connect((lab.CLIENT[FOUR], 53))
        thread = threading.Thread(target=play, args=(client, accepted, asking))
        thread.start()
        try:
            yield wrong
        finally:
            stop.set()
            thread.join()


@contextlib.contextmanager
def file_of(text: str) -> Iterator[IO[str]]:
    """A file to read `text` from."""
    with tempfile.TemporaryFile("w+") as made:
        made.write(text)
        made.seek(0)
        yield made


@contextlib.contextmanager
def traffic_of_threads() -> Iterator[list[str]]:
    """A thread that makes sockets in FIB after FIB; yields what was wrong with any."""
    wrong: list[str] = []
    stop = threading.Event()

    def play() -> None:
        number = 0
        while not stop.is_set():
            number = number % 60000 + 1
            with fib_socket(number) as made:
                if fib.socket_fib(made) != number:
                    wrong.append(f"{fib.socket_fib(made)} instead of {number}")

    thread = threading.Thread(target=play)
    thread.start()
    try:
        yield wrong
    finally:
        stop.set()
        thread.join()


def behaviour() -> dict[str, object]:
    """Return what ordinary system calls of FIB 0 do on this host."""
    seen: dict[str, object] = {}
    for family, loopback in ((FOUR, "127.0.0.1"), (SIX, "::1")):
        name = family.name
        with socket.create_server(("", PORT), family=family) as listener:
            seen[f"{name} second bind"] = code_of(lambda f=family: bind_again(f))  # type: ignore[misc]
            if family == FOUR:
                seen["reuseport"] = listener.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)
            with (
                socket.create_connection((loopback, PORT), 1) as client,
                listener.accept()[0] as peer,
            ):
                client.send(b"x")
                seen[f"{name} stream"] = (
                    peer.recv(9),
                    peer.getsockname()[0],
                    client.getpeername()[:2],
                )
                seen[f"{name} info"] = large_getsockopt(client)
                seen[f"{name} large"] = code_of(
                    lambda c=client: c.setsockopt(socket.IPPROTO_TCP, 13, b"reno" + bytes(LARGE))  # type: ignore[misc]
                )
        with socket.socket(family, DGRAM) as one, socket.socket(family, DGRAM) as other:
            one.bind((loopback, 0))
            other.settimeout(1)
            other.sendto(b"x", one.getsockname())
            data, where = one.recvfrom(9)
            seen[f"{name} datagram"] = (data, where[0])
            seen[f"{name} unreachable"] = code_of(
                lambda s=other, f=family: s.connect((lab.CLIENT[f], 9))  # type: ignore[misc]
            )
        with socket.socket(family) as strange:
            seen[f"{name} strange"] = code_of(
                lambda s=strange: s.bind(("192.0.2.1" if s.family == FOUR else "2001:db8::1", 0))  # type: ignore[misc]
            )
        seen[f"{name} closed"] = code_of(lambda a=loopback: socket.create_connection((a, 9), 1))  # type: ignore[misc]
    return seen


def large_getsockopt(made: socket.socket) -> tuple[int, bool]:
    """Read TCP_INFO into more than a page; return the result and whether anything came."""
    buffer = ctypes.create_string_buffer(LARGE)
    size = ctypes.c_uint(LARGE)
    libc = ctypes.CDLL(None)
    result = libc.getsockopt(made.fileno(), socket.IPPROTO_TCP, 11, buffer, ctypes.byref(size))
    return int(result), size.value > 100 and any(buffer.raw)


def bind_again(family: socket.AddressFamily) -> None:
    with socket.socket(family) as second:
        second.bind(("", PORT))


def code_of(work: Callable[[], object]) -> str:
    """Return the name of the errno with which `work` fails, or nothing."""
    try:
        work()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    return ""
