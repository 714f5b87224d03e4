"""Takes what needs root, then gives up root and every capability for good.

The daemon works for all tenants and must not be able to change any FIB: what it does with FIBs
(its threads' and its sockets') needs no privilege, and this process has none to fall back on.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import resource
from dataclasses import dataclass
from pathlib import Path

# linux/prctl.h
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_NR_OPEN = Path("/proc/sys/fs/nr_open")
_LAST_CAP = Path("/proc/sys/kernel/cap_last_cap")
_STATUS = Path("/proc/self/status")
_WANTED_DESCRIPTORS = 1 << 20
_CAPABILITY_SETS = ("CapInh", "CapPrm", "CapEff", "CapAmb")


class PrivilegeError(Exception):
    """Privileges could not be given up, or there is no user to become."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A user to become."""

    name: str
    uid: int
    gid: int


def find_user(*names: str) -> Identity:
    """Return the first of these users that exists.

    Raises:
        PrivilegeError: when none does.
    """
    for name in names:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Identity(name, entry.pw_uid, entry.pw_gid)
    raise PrivilegeError(f"there is no user {' or '.join(map(repr, names))}")


def raise_descriptor_limit() -> int:
    """Raise the number of descriptors as far as we are allowed; return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    ceiling = min(_WANTED_DESCRIPTORS, int(_NR_OPEN.read_text()))
    if soft >= ceiling:
        return soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (ceiling, max(ceiling, hard)))
    except (ValueError, OSError):  # more than the hard limit takes CAP_SYS_RESOURCE
        ceiling = min(ceiling, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (ceiling, hard))
    return ceiling


def drop_privileges(identity: Identity) -> None:
    """Become `identity` without a way back; does nothing when not root.

    To be called before any other thread exists: libc gives a new uid to all threads, but the
    bounding set and no_new_privs are a thread's own.

    Raises:
        PrivilegeError: when a capability is left afterwards, root or not.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if os.geteuid() == 0:
        for capability in range(int(_LAST_CAP.read_text()) + 1):
            _prctl(libc, _PR_CAPBSET_DROP, capability)
        os.setgroups([])
        os.setresgid(identity.gid, identity.gid, identity.gid)
        os.setresuid(identity.uid, identity.uid, identity.uid)
    _prctl(libc, _PR_SET_NO_NEW_PRIVS, 1)
    left = {name: mask for name, mask in _capabilities().items() if mask}
    if left or os.geteuid() == 0:
        raise PrivilegeError(f"privileges are left: uid {os.geteuid()}, {left}")


def _prctl(libc: ctypes.CDLL, option: int, argument: int) -> None:
    unsigned = ctypes.c_ulong
    if libc.prctl(option, unsigned(argument), unsigned(0), unsigned(0), unsigned(0)):
        number = ctypes.get_errno()
        raise PrivilegeError(f"prctl({option}, {argument}): {os.strerror(number)}")


def _capabilities() -> dict[str, int]:
    lines = (line.partition(":") for line in _STATUS.read_text().splitlines())
    return {name: int(mask, 16) for name, _, mask in lines if name in _CAPABILITY_SETS}
