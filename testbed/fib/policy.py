"""Policies of cgroups: a jail of allowed FIBs, and "accept sets the thread's FIB"."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from . import bpfmap
from .failure import EnvironmentFailure

ROOT: Final = Path("/sys/fs/cgroup")


def set_policy(
    cgroup: Path, *, accept_sets_thread: bool = False, jail: Iterable[int] | None = None
) -> None:
    """Set what holds for a cgroup and all below it; nothing at all takes its policy away.

    Raises:
        EnvironmentFailure: there is no such cgroup.
    """
    identity = _identity(cgroup)
    allowed = None if jail is None else set(jail)
    flags = (bpfmap.ACCEPT_SETS_THREAD if accept_sets_thread else 0) | (
        bpfmap.JAIL if allowed is not None else 0
    )
    with bpfmap.permit_map() as permits, bpfmap.policy_map() as policies:
        _set_permits(permits, identity, allowed or set())
        if flags:
            policies.put(identity, struct.pack("=I", flags))
        else:
            policies.discard(identity)
        bpfmap.set_flag(bpfmap.POLICIES, on=bool(policies.items()))


def _set_permits(permits: bpfmap.BpfMap, identity: bytes, allowed: set[int]) -> None:
    wanted = {identity + struct.pack("=II", fib, 0) for fib in allowed}
    present = {key for key in permits.items() if key[:8] == identity}
    for key in wanted - present:
        permits.put(key, struct.pack("=I", 1))
    for key in present - wanted:
        permits.discard(key)


def _identity(cgroup: Path) -> bytes:
    """Return a cgroup's id, which is its directory's inode number (64-bit kernels)."""
    path = cgroup if cgroup.is_absolute() else ROOT / cgroup
    if not (path / "cgroup.procs").exists():
        raise EnvironmentFailure(f"'{path}' is not a cgroup")
    return struct.pack("=Q", path.stat().st_ino)
