"""Leases: who may use which tenants of a running deployment, first come, first served.

Everyone who wants or holds something has a claim: a file in the deployment's folder that its
process keeps locked by flock(2). A claim is void the moment its process dies, whoever kills it, and
the next to look removes it. Decisions are made by the claimants themselves, one at a time under a
lock that is held for no longer than a decision takes.

A process that dies while it holds something may have changed it, and had no time to change it back.
Whoever finds its claim marks what it held as changed; the next holder restores it before use
(`testbed.lifecycle.restore`).

Fairness: a claim takes what is free, but nothing that an older claim waits for. One that waits for
the whole deployment is overtaken by nobody; one that waits for several tenants keeps those it could
use of the group that lacks least, so single ones that come and go cannot starve it. Only who holds
something already does not queue for more behind those that may wait for just that.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from testbed.deadline import Deadline, NotYet, wait_for
from testbed.lifecycle import history

DEFAULT_LIMIT_S = 600.0
_FOLDER, _DECISION = "leases", "decision.lock"
_CHANGED, _WHOLE = "changed-", "*"  # the asterisk is no tenant's name
_LONGEST_PAUSE_S = 0.03  # a scenario takes half a second: waiters look often
_SHOWN_GROUPS = 3

Group = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Claim:
    """What one process wants or holds: the `whole` deployment, or tenants (perhaps none).

    `groups` are what it may get, best first; `holds` is what it has got, None while it waits.
    """

    number: int
    pid: int
    purpose: str
    since_s: float
    whole: bool
    groups: tuple[Group, ...]
    holds: Group | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether it holds nothing yet."""
        return self.holds is None

    @property
    def told(self) -> str:
        """What it is on and what for, in words."""
        what = "the whole deployment" if self.whole else ", ".join(self.holds or ()) or "no tenant"
        return f"{what}: {self.purpose}" if self.purpose else what

    def __str__(self) -> str:
        if self.whole:
            what = "the whole deployment"
        elif self.holds is not None:
            what = ", ".join(self.holds) or "the deployment, with others"
        else:
            shown = [" and ".join(group) for group in self.groups[:_SHOWN_GROUPS]]
            what = " or ".join([*shown, *(["..."] if len(self.groups) > _SHOWN_GROUPS else [])])
        state = "waits for " if self.is_waiting else ""
        purpose = f", {self.purpose}" if self.purpose else ""
        return f"{state}{what} (pid {self.pid}{purpose})"


@contextmanager
def lease_tenants(
    folder: Path,
    candidates: Sequence[Sequence[str]],
    *,
    purpose: str = "",
    limit_s: float = DEFAULT_LIMIT_S,
) -> Iterator[Group]:
    """Hold the first free one of the groups of tenants in `candidates`, waiting if none is.

    An empty group holds no tenant, and still keeps the deployment from being held as a whole.

    Raises:
        WaitTimeoutError: when none became free in time, with who held them.
    """
    groups = tuple(tuple(group) for group in candidates)
    with _claimed(folder, purpose, limit_s, whole=False, groups=groups) as held:
        yield held


@contextmanager
def lease_deployment(
    folder: Path,
    tenants: Sequence[str] = (),
    *,
    purpose: str = "",
    limit_s: float = DEFAULT_LIMIT_S,
) -> Iterator[None]:
    """Hold the whole deployment alone, waiting until all older claims have ended.

    `tenants` are those that may be changed beside what all share.
    """
    with _claimed(folder, purpose, limit_s, whole=True, groups=(tuple(tenants),)):
        yield


@dataclass(frozen=True, slots=True)
class Changed:
    """What may not be as the plan wants it: tenants, and `whole` what they share, the SUT."""

    tenants: frozenset[str]
    whole: bool

    def __bool__(self) -> bool:
        return self.whole or bool(self.tenants)


def changed(folder: Path) -> Changed:
    """Return what is marked as changed."""
    names = {path.name.removeprefix(_CHANGED) for path in (folder / _FOLDER).glob(f"{_CHANGED}*")}
    return Changed(frozenset(names - {_WHOLE}), _WHOLE in names)


def mark_changed(folder: Path, tenants: Sequence[str], *, whole: bool, why: str = "") -> None:
    """Say that what the caller holds may not be as it was; `why` is for people."""
    for name in (*tenants, *([_WHOLE] if whole else [])):
        (folder / _FOLDER / f"{_CHANGED}{name}").write_text(why)


def mark_restored(folder: Path, found: Changed) -> None:
    """Say that what was `found` changed is as the plan wants it."""
    for name in (*found.tenants, *([_WHOLE] if found.whole else [])):
        (folder / _FOLDER / f"{_CHANGED}{name}").unlink(missing_ok=True)


def claims(folder: Path) -> tuple[Claim, ...]:
    """Return who holds and who waits for what, oldest first."""
    if not (folder / _FOLDER).is_dir():
        return ()

    def read() -> list[tuple[Claim, ...]]:
        with _deciding(folder):
            return [_read(folder)]

    return wait_for(read, Deadline.after(5), what="a look at the leases")[0]


def holders(folder: Path) -> tuple[str, ...]:
    """Return the same for people: "alpha, bravo (pid 7, purpose)"."""
    return tuple(str(claim) for claim in claims(folder))


@contextmanager
def _claimed(
    folder: Path, purpose: str, limit_s: float, *, whole: bool, groups: tuple[Group, ...]
) -> Iterator[Group]:
    deadline = Deadline.after(limit_s)
    (folder / _FOLDER).mkdir(mode=0o700, exist_ok=True)

    def enter() -> _Own:
        with _deciding(folder):
            return _Own.new(folder, Claim(0, os.getpid(), purpose, time.time(), whole, groups))

    own = wait_for(enter, deadline, what="a place in the queue of leases", pause_s=_LONGEST_PAUSE_S)
    try:
        what = "a lease on the deployment" if whole else "a lease on tenants"
        held = wait_for(own.take, deadline, what=what, pause_s=_LONGEST_PAUSE_S)[0]
        history.note(folder, "lease taken", own.claim.told)
        yield held
    finally:
        own.end()
        if own.claim.holds is not None:
            history.note(folder, "lease ended", own.claim.told)


@dataclass(slots=True)
class _Own:
    """Our own claim: its file, locked as long as `handle` is open."""

    folder: Path
    path: Path
    handle: int
    claim: Claim

    @classmethod
    def new(cls, folder: Path, claim: Claim) -> _Own:
        """Join the queue at its end, under the lock of decisions."""
        number = 1 + max((other.number for other in _read(folder)), default=0)
        path = folder / _FOLDER / f"{number:08d}.claim"
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        own = cls(folder, path, handle, replace(claim, number=number))
        own.write()
        return own

    def write(self) -> None:
        text = json.dumps(asdict(self.claim)).encode()
        os.pwrite(self.handle, text, 0)
        os.ftruncate(self.handle, len(text))

    def take(self) -> list[Group]:
        """Take a group if we may, alone in a list, which is true even if the group is empty."""
        with _deciding(self.folder):
            others = [c for c in _read(self.folder) if c.number != self.claim.number]
            group = decide(self.claim, others)
            if group is None:
                raise NotYet("; ".join(map(str, others)) or "no tenants to choose from")
            self.claim = replace(self.claim, holds=group)
            self.write()
            return [group]

    def end(self) -> None:
        """Leave: nobody needs the lock of decisions to see that we have gone."""
        self.path.unlink(missing_ok=True)
        os.close(self.handle)


def decide(own: Claim, others: Sequence[Claim]) -> Group | None:
    """Return the group that `own` may take now, given all `others`; None while it must wait."""
    holding = [claim for claim in others if not claim.is_waiting]
    older = [claim for claim in others if claim.is_waiting and claim.number < own.number]
    if any(claim.pid == own.pid for claim in holding):
        older = []
    if any(claim.whole for claim in (*holding, *older)):
        return None
    if own.whole:
        return None if holding or older else own.groups[0]
    busy = {tenant for claim in holding for tenant in claim.holds or ()}
    for claim in sorted(older, key=lambda claim: claim.number):
        # Two that both could do with the same group: the younger looks for another.
        busy |= set(_least_lacking(claim.groups, busy))
    return next((group for group in own.groups if busy.isdisjoint(group)), None)


def _least_lacking(groups: Sequence[Group], busy: set[str]) -> Group:
    """Return the group that lacks the fewest tenants: what it lacks can only become less."""
    return min(groups, key=lambda group: len(busy.intersection(group)), default=())


def _read(folder: Path) -> tuple[Claim, ...]:
    """Return all living claims, oldest first, and remove the dead; under the lock of decisions."""
    found = []
    for path in sorted((folder / _FOLDER).glob("*.claim")):
        with suppress(FileNotFoundError):  # its owner has just left
            handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                if _try_lock(handle):
                    _bury(folder, path)
                else:
                    found.append(_parse(path.read_text()))
            finally:
                os.close(handle)
    return tuple(found)


def _bury(folder: Path, path: Path) -> None:
    """Remove the claim of a process that has died; what it held it may have changed."""
    try:
        dead = _parse(path.read_text())
    except ValueError:
        dead = None  # it died before it had written its claim: it held nothing
    except FileNotFoundError:
        return  # it has ended properly, between our two looks
    if dead is not None and dead.holds is not None:
        mark_changed(folder, dead.holds, whole=dead.whole)
        history.note(folder, "lease lost", f"{dead.told} (process {dead.pid} has died)")
    path.unlink(missing_ok=True)


def _parse(text: str) -> Claim:
    fields = json.loads(text)
    fields["groups"] = tuple(tuple(group) for group in fields["groups"])
    if fields["holds"] is not None:
        fields["holds"] = tuple(fields["holds"])
    return Claim(**fields)


@contextmanager
def _deciding(folder: Path) -> Iterator[None]:
    """Hold the lock of decisions, or say that somebody else is deciding."""
    path = folder / _FOLDER / _DECISION
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if not _try_lock(handle):
            raise NotYet("another process is deciding")
        yield
    finally:
        os.close(handle)


def _try_lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
