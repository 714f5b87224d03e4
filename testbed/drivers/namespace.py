"""Named network namespaces by system calls: create, enter in a thread of one's own, delete.

No process per namespace: setns(2) and /proc/sys/net act on the calling *thread*, so one worker
thread visits thousands of namespaces. Names are those of `ip netns` (/run/netns), for people.
Sources: setns(2), unshare(2), ip-netns(8).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from testbed.drivers import hostlock, traces
from testbed.errors import ResourceError

T = TypeVar("T")

RUN_NETNS = Path("/run/netns")
_CLONE_NEWNET = 0x40000000
_MS_BIND, _MS_REC, _MS_SHARED = 0x1000, 0x4000, 1 << 20
_MNT_DETACH = 2
_DELETING_THREADS = 4

_libc = ctypes.CDLL(None, use_errno=True)


def create_all(names: Iterable[str], prepare: Callable[[str], T]) -> list[T]:
    """Make namespaces and run `prepare(name)` inside each before anybody can see it by name.

    One thread makes them all, each by leaving the one before. Returns what `prepare` did.

    Raises:
        ResourceError: when one exists already or the kernel refuses; those before it stay.
    """
    _share_run_netns()

    def make() -> list[T]:
        return [_create(name, prepare) for name in names]

    return _in_own_thread(make)


def _create(name: str, prepare: Callable[[str], T]) -> T:
    _call("unshare", _libc.unshare(_CLONE_NEWNET))
    prepared = prepare(name)
    path = RUN_NETNS / name
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444))
    except FileExistsError as error:
        raise ResourceError(f"network namespace {name!r} exists already") from error
    _call("mount", _libc.mount(b"/proc/thread-self/ns/net", bytes(path), b"none", _MS_BIND, None))
    return prepared


def run_inside(name: str, action: Callable[[], T]) -> T:
    """Run `action` in a thread that has entered the namespace `name`, and return its result."""

    def enter_and_act() -> T:
        _enter(name)
        return action()

    return _in_own_thread(enter_and_act)


def visit(actions: Mapping[str, Callable[[], T]]) -> dict[str, T]:
    """Run each action inside the namespace of its name, all in one thread; return results by name.

    A name that stands for no namespace is left out.
    """

    def enter_each() -> dict[str, T]:
        results = {}
        for name, action in actions.items():
            try:
                _enter(name)
            except (OSError, ResourceError):
                continue
            results[name] = action()
        return results

    return _in_own_thread(enter_each)


def _enter(name: str) -> None:
    handle = os.open(RUN_NETNS / name, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _call("setns", _libc.setns(handle, _CLONE_NEWNET))
    finally:
        os.close(handle)


def run_in_passing(action: Callable[[], T]) -> T:
    """Run `action` in a nameless namespace that vanishes at its end, and return its result."""

    def leave_and_act() -> T:
        _call("unshare", _libc.unshare(_CLONE_NEWNET))
        return action()

    return _in_own_thread(leave_and_act)


def delete(name: str) -> None:
    """Remove the namespace `name`; the kernel takes its links along, a little later.

    Gone already is fine.
    """
    path = bytes(RUN_NETNS / name)
    if _libc.umount2(path, _MNT_DETACH) != 0:
        number = ctypes.get_errno()
        if number == errno.ENOENT:
            return
        if number != errno.EINVAL:  # a plain file, left by a kill between its making and the mount
            raise ResourceError(f"umount: {os.strerror(number)}")
    with contextlib.suppress(FileNotFoundError):
        (RUN_NETNS / name).unlink()


def delete_all(names: Iterable[str]) -> None:
    """Remove many namespaces.

    By some threads, since each waits for the kernel's grace period (1 ms), and they share it.
    """
    with ThreadPoolExecutor(_DELETING_THREADS) as pool:
        for _ in pool.map(delete, names):
            pass


def names() -> frozenset[str]:
    """Return the names of all namespaces there are, ours and others'."""
    try:
        return frozenset(entry.name for entry in RUN_NETNS.iterdir())
    except FileNotFoundError:
        return frozenset()


def remove_mount() -> None:
    """Remove the mount of /run/netns if we made it and no namespace needs it any more.

    Hold `hostlock.IN_USE` alone, so that nobody is about to make one.
    """
    with hostlock.held(traces.LOCK):
        if not names():
            traces.undo([RUN_NETNS])


def _share_run_netns() -> None:
    """Make /run/netns a shared mount, as ip-netns(8) does, so that all mount namespaces see it."""
    target = bytes(RUN_NETNS)
    if _libc.mount(b"", target, b"none", _MS_SHARED | _MS_REC, None) == 0:
        return
    with hostlock.held(traces.LOCK):
        traces.note_missing([RUN_NETNS])
        RUN_NETNS.mkdir(parents=True, exist_ok=True)
        traces.note_mount(RUN_NETNS)
        _call("mount", _libc.mount(target, target, b"none", _MS_BIND | _MS_REC, None))
        _call("mount", _libc.mount(b"", target, b"none", _MS_SHARED | _MS_REC, None))


def _in_own_thread(action: Callable[[], T]) -> T:
    """Run `action` in a fresh thread: its namespace dies with it and nobody else is moved."""
    results: list[T] = []
    errors: list[BaseException] = []

    def body() -> None:
        try:
            results.append(action())
        except BaseException as error:  # noqa: BLE001 - handed to the caller below
            errors.append(error)

    thread = threading.Thread(target=body, name="namespace")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def _call(what: str, result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise ResourceError(f"{what}: {os.strerror(number)}")
