"""Network sysctls of thousands of namespaces, through a procfs of one's own.

The kernel keeps a directory entry of /proc/sys/net/ipv4 for every network namespace that was ever
asked through one mount of procfs, all under one name, and walks them all at each look-up: 10,000
namespaces took minutes. A procfs that nobody else sees, and that is thrown away after some dozen
namespaces, has short lists. It is mounted nowhere, so a kill leaves nothing. Source: fsopen(2)
and fsmount(2); Linux 5.8 gave each mount of procfs its own entries (proc_sys_compare).
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from testbed.errors import ResourceError

# The same on all architectures since they came together: asm-generic/unistd.h.
_FSOPEN, _FSCONFIG, _FSMOUNT = 430, 431, 432
_CLOEXEC, _CREATE = 1, 6

_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def private_proc() -> Iterator[int]:
    """Yield a descriptor of a new procfs; it vanishes with the block."""
    context = _call("fsopen", _FSOPEN, b"proc", _CLOEXEC)
    try:
        _call("fsconfig", _FSCONFIG, context, _CREATE, None, None, 0)
        root = _call("fsmount", _FSMOUNT, context, _CLOEXEC, 0)
    finally:
        os.close(context)
    try:
        yield root
    finally:
        os.close(root)


def write(proc: int, values: Mapping[str, bytes]) -> None:
    """Write settings, named below /proc/sys/net, of the calling thread's network namespace.

    One that this kernel has not is left out: a host may have no IPv6 at all.
    """
    for key, value in values.items():
        try:
            handle = os.open(f"sys/net/{key}", os.O_WRONLY | os.O_CLOEXEC, dir_fd=proc)
        except FileNotFoundError:
            continue
        try:
            os.write(handle, value)
        finally:
            os.close(handle)


def read(proc: int, key: str) -> bytes:
    """Return a setting of the calling thread's network namespace, without its newline."""
    handle = os.open(f"sys/net/{key}", os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc)
    try:
        return os.read(handle, 256).strip()
    finally:
        os.close(handle)


def _call(name: str, number: int, *arguments: object) -> int:
    result: int = _libc.syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        raise ResourceError(f"{name}: {os.strerror(ctypes.get_errno())}")
    return result
