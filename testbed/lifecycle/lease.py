"""Leases: who may use which tenant of a running deployment, held by the kernel.

A lease is a flock(2) on a file of the deployment's folder: it is free the moment its process dies.
A scenario holds the whole deployment shared and its tenants exclusively; one that needs the SUT
for itself holds the deployment exclusively. The holder writes its pid into the file, for `status`.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from testbed.deadline import Deadline, NotYet, wait_for

_FOLDER, _WHOLE, _GATE = "leases", "deployment", "gate"
DEFAULT_LIMIT_S = 300.0


@contextmanager
def lease_tenants(
    folder: Path, candidates: Sequence[Sequence[str]], *, limit_s: float = DEFAULT_LIMIT_S
) -> Iterator[tuple[str, ...]]:
    """Hold the first of the groups of tenants in `candidates` that is free, waiting if none is.

    Raises:
        WaitTimeoutError: when none became free in time, with who held them.
    """
    with ExitStack() as held:
        held.enter_context(_locked(folder, _WHOLE, fcntl.LOCK_SH, limit_s))
        chosen = wait_for(
            lambda: _try_groups(folder, candidates, held),
            Deadline.after(limit_s),
            what="a lease on tenants",
        )
        yield chosen


@contextmanager
def lease_deployment(folder: Path, *, limit_s: float = DEFAULT_LIMIT_S) -> Iterator[None]:
    """Hold the whole deployment alone, waiting until all other leases have ended.

    The gate keeps newcomers from overtaking one who waits for everybody to leave.
    """
    with (
        _locked(folder, _GATE, fcntl.LOCK_EX, limit_s),
        _locked(folder, _WHOLE, fcntl.LOCK_EX, limit_s, gate=False),
    ):
        yield


def holders(folder: Path) -> tuple[str, ...]:
    """Return who holds what, as "tenant (pid 7)", for people."""
    found = []
    for path in sorted((folder / _FOLDER).glob("*.lock")):
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            found.append(f"{path.stem} (pid {path.read_text().strip() or '?'})")
        finally:
            os.close(handle)
    return tuple(found)


def _try_groups(
    folder: Path, candidates: Sequence[Sequence[str]], held: ExitStack
) -> tuple[str, ...]:
    for group in candidates:
        with ExitStack() as attempt:
            if all(_try_tenant(folder, tenant, attempt) for tenant in sorted(group)):
                held.push(attempt.pop_all())
                return tuple(group)
    raise NotYet(", ".join(holders(folder)) or "no tenants to choose from")


def _try_tenant(folder: Path, tenant: str, attempt: ExitStack) -> bool:
    handle = _open(folder, f"tenant-{tenant}")
    attempt.callback(os.close, handle)
    return _try_lock(handle, fcntl.LOCK_EX)


@contextmanager
def _locked(
    folder: Path, name: str, kind: int, limit_s: float, *, gate: bool = True
) -> Iterator[None]:
    if gate and name != _GATE:
        # Pass through the gate: closed while somebody waits for the whole deployment.
        with _locked(folder, _GATE, fcntl.LOCK_SH, limit_s):
            pass
    handle = _open(folder, name)
    try:
        what = f"a lease on the {name}"
        wait_for(lambda: _try_lock(handle, kind), Deadline.after(limit_s), what=what)
        yield
    finally:
        os.close(handle)


def _open(folder: Path, name: str) -> int:
    place = folder / _FOLDER
    place.mkdir(exist_ok=True)
    return os.open(place / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _try_lock(handle: int, kind: int) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    os.ftruncate(handle, 0)
    os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
    return True
