"""Locks on files that vanish with their last holder: held by the kernel, free when a holder dies.

A lock file that others may remove at any moment is safe only if a holder makes sure that the file
it has locked is the one that the path still names. What is removed with it, such as the folder of
a deployment, is then decided by whoever holds the lock.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from testbed.deadline import Deadline, wait_for

SHARED = Path("/run/testbed")
"""Locks of the whole host: whatever TESTBED_STATE is, there is one Docker daemon."""

IN_USE = SHARED / "in-use.lock"
"""Shared: a deployment is being made. Alone: what deployments share is being removed."""


@contextmanager
def held(path: Path, *, shared: bool = False, limit_s: float = 60) -> Iterator[None]:
    """Hold the lock at `path` while the block lasts; file and folder are made, and removed again.

    The folder goes only if it is `SHARED`: others may be somebody's own.

    Raises:
        WaitTimeoutError: when others held it for all of `limit_s`.
    """
    what = f"the lock {path}"
    handle = wait_for(lambda: _take(path, shared=shared), Deadline.after(limit_s), what=what)
    try:
        yield
    finally:
        _leave(path, handle)


@contextmanager
def held_if_free(path: Path) -> Iterator[bool]:
    """Hold the lock at `path` alone while the block lasts, unless it is in use; yield whether."""
    handle = _take(path, shared=False)
    try:
        yield handle is not None
    finally:
        if handle is not None:
            _leave(path, handle)


def tidy(folder: Path, *names: str) -> None:
    """Remove the lock files in `folder` that killed holders left behind: of these names, or all."""
    for pattern in names or ("*.lock",):
        for path in folder.glob(pattern):
            with held_if_free(path):
                pass  # whoever leaves a lock last removes it


def _take(path: Path, *, shared: bool) -> int | None:
    """Return a handle that holds the lock, or None when others do. Never 0: that is stdin."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:  # the folder went with its last lock meanwhile
        return None
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
        if path.exists() and os.path.samestat(os.fstat(handle), path.stat()):
            return handle
    except (BlockingIOError, FileNotFoundError):
        pass  # in use, or removed by its last holder after we had opened it
    os.close(handle)
    return None


def _leave(path: Path, handle: int) -> None:
    """Let go; the last one out removes file and folder."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(handle), path.stat()):
            path.unlink()
            if path.parent == SHARED:
                SHARED.rmdir()
    except OSError:
        pass  # others hold it, or keep something in the folder
    finally:
        os.close(handle)
