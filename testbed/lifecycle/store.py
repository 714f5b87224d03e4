"""What is recorded of deployments: an id on disk before its first resource, and a lock.

A record is the only state of ours that is trusted, and only for *which ids exist*; what exists of
each id is asked of the kernel and of Docker.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType

from testbed.deadline import Deadline, wait_for
from testbed.drivers import hostlock, process
from testbed.errors import InputError, PreflightError, Problem, TestbedError, did_you_mean
from testbed.events import Events
from testbed.plan.identity import (
    ID_ALPHABET,
    ID_LENGTH,
    ID_PATTERN,
    DeploymentId,
    parse_deployment_id,
)

DEFAULT_STATE = Path("/var/lib/testbed")
DEFAULT_CACHE = Path("/var/cache/testbed")

_RECORD, _TOPOLOGY, _LOCK = "record.json", "topology.yaml", "lock"
_NEW, _GONE = ".new", ".gone"
_NAMING, _SESSION = ".naming.lock", ".session-{}.lock"
_FORMAT = 1


def state_root() -> Path:
    """Return where deployments are recorded: $TESTBED_STATE, or /var/lib/testbed."""
    return Path(os.environ.get("TESTBED_STATE") or DEFAULT_STATE).absolute()  # QEMU runs elsewhere


def cache_root() -> Path:
    """Return where built images are kept: $TESTBED_CACHE, or /var/cache/testbed."""
    return Path(os.environ.get("TESTBED_CACHE") or DEFAULT_CACHE).absolute()


class RemovedError(TestbedError):
    """The deployment was removed by another process while we waited for it."""


@dataclass(frozen=True, slots=True)
class Record:
    """One deployment: its id, its name (the topology's unless given), when it was made."""

    id: DeploymentId
    name: str
    source: str
    created_s: float
    format: int = _FORMAT

    def __str__(self) -> str:
        return f"{self.name} ({self.id})"


@dataclass(frozen=True, slots=True)
class Unusable:
    """A deployment of which we know no more than its id: `what` is wrong, what `mend`s it.

    `record` stands in for the one that cannot be read, as far as a removal needs one; of another
    version's we know too little even for that, and it is None.
    """

    id: DeploymentId
    what: str
    mend: str
    record: Record | None = None

    def __str__(self) -> str:
        return f"{self.what}: {self.mend}"


@dataclass(frozen=True, slots=True)
class Found:
    """What one look at the records has found: the deployments, oldest first, and what is unusable."""

    records: tuple[Record, ...]
    unusable: tuple[Unusable, ...]

    @property
    def removable(self) -> tuple[Record, ...]:
        """All that we can remove: every deployment but those of other versions."""
        return (*self.records, *(one.record for one in self.unusable if one.record is not None))


@dataclass(frozen=True, slots=True)
class Store:
    """The records under one folder. Several processes may use it at once."""

    root: Path

    def folder(self, deployment: DeploymentId) -> Path:
        """Return the folder of a deployment's own files."""
        return self.root / deployment

    def topology(self, deployment: DeploymentId) -> Path:
        """Return the deployment's own copy of its topology."""
        return self.folder(deployment) / _TOPOLOGY

    @contextmanager
    def naming(self) -> Iterator[None]:
        """Keep others from recording a deployment: between the look for a name and its record."""
        with hostlock.held(self.root / _NAMING):
            yield

    def session_lock(self, name: str) -> Path:
        """Return the lock of whoever looks, for all of a test run, whether `name` is whole."""
        return self.root / _SESSION.format(name)

    def create(
        self, name: str, source: Path, marks: Mapping[str, str] = MappingProxyType({})
    ) -> Record:
        """Record a new deployment of the topology file `source`, before anything of it exists.

        `marks` are further files of its folder, there from the beginning like the record itself.
        """
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        text = source.read_bytes()
        while True:
            chosen = "".join(secrets.choice(ID_ALPHABET) for _ in range(ID_LENGTH))
            record = Record(DeploymentId(chosen), name, str(source.resolve()), time.time())
            try:
                self._write(record, text, marks)
            except FileExistsError:  # another process drew the same id
                continue
            return record

    def _write(self, record: Record, topology: bytes, marks: Mapping[str, str]) -> None:
        """Make the folder whole under another name first: a kill leaves no half record."""
        folder = self.folder(record.id)
        beside = self.root / f"{_NEW}-{record.id}-{os.getpid()}-{process.started_at(os.getpid())}"
        beside.mkdir(mode=0o700)
        (beside / _TOPOLOGY).write_bytes(topology)
        (beside / _RECORD).write_text(json.dumps(asdict(record), indent=2) + "\n")
        (beside / _LOCK).touch()
        for mark, text in marks.items():
            (beside / mark).write_text(text)
        if folder.exists():
            shutil.rmtree(beside)
            raise FileExistsError(folder)
        beside.rename(folder)

    def require_ours(self) -> None:
        """Refuse a folder of records that somebody else may have put things in.

        Raises:
            PreflightError: when it is no folder, another user's, or others may write to it.
        """
        if not self.root.exists():
            return
        if not self.root.is_dir():
            raise PreflightError(
                f"deployments are recorded in {self.root}, which is no folder",
                hint="point TESTBED_STATE at a folder of your own, or at one to be made",
            )
        if not os.access(self.root, os.R_OK | os.X_OK):
            message = f"deployments are recorded in {self.root}, which only its owner may read"
            raise PreflightError(message, hint="run it with sudo")
        found = self.root.stat()
        if found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            whose = f"uid {found.st_uid}, mode {stat.S_IMODE(found.st_mode):o}"
            raise PreflightError(
                f"deployments are recorded in {self.root}, where others may write ({whose})",
                hint="point TESTBED_STATE at a folder of your own: chmod 700, chown to who runs it",
            )

    def look(self) -> Found:
        """Return every deployment there is, also those whose record cannot be used.

        Raises:
            PreflightError: when we may not look, or others may write there.
        """
        self.require_ours()
        # A link would lead out of the folder: whatever it is, we have not made it.
        ours = (
            folder
            for folder in self.root.glob("*")
            if not folder.is_symlink() and not (folder / _RECORD).is_symlink()
        )
        found = [_read(folder) for folder in ours]
        records = [one for one in found if isinstance(one, Record)]
        unusable = [one for one in found if isinstance(one, Unusable)]
        return Found(
            tuple(sorted(records, key=lambda record: record.created_s)),
            tuple(sorted(unusable, key=str)),
        )

    def all(self) -> tuple[Record, ...]:
        """Return every recorded deployment that can be used, oldest first.

        Raises:
            PreflightError: as of `look`.
        """
        return self.look().records

    def find(self, name: str) -> Record | None:
        """Return the deployment that `name` is the name or id of, or None."""
        return _called(name, self.all())

    def get(self, name: str = "") -> Record:
        """Return the deployment called `name`, or the only one there is.

        Raises:
            InputError: when there is none of that name, or several to choose from.
            TestbedError: when there is none at all, or none that can be used.
        """
        found = self.look()
        if not name and len(found.records) > 1:
            raise several(found.records)
        chosen = _called(name, found.records) if name else next(iter(found.records), None)
        if chosen is None:
            raise _none(name, found)
        return chosen

    def forget(self, deployment: DeploymentId) -> None:
        """Remove the record and files of a deployment, when nothing else of it is left.

        The record goes at one stroke: until then the next `down` can go on.
        """
        gone = self.root / f"{_GONE}-{deployment}"
        try:
            self.folder(deployment).rename(gone)
        except FileNotFoundError:
            return
        shutil.rmtree(gone, ignore_errors=True)  # a sweep may be at it too, or come for the rest

    def sweep(self) -> None:
        """Remove half-written records and half-removed folders that a kill left behind.

        Only what is called as we call it: the folder may be somebody's home.
        """
        hostlock.tidy(self.root, _NAMING, _SESSION.format("*"))
        for path in self.root.glob(f"{_GONE}-*"):
            if re.fullmatch(rf"{_GONE}-{ID_PATTERN}", path.name):
                shutil.rmtree(path, ignore_errors=True)
        for path in self.root.glob(f"{_NEW}-*"):
            made = re.fullmatch(rf"{_NEW}-{ID_PATTERN}-(\d+)-(\d+)", path.name)
            if made and process.started_at(int(made[1])) != int(made[2]):
                shutil.rmtree(path, ignore_errors=True)

    def close(self) -> None:
        """Remove the folder of records if it is the default one, which we made, and empty."""
        if self.root == DEFAULT_STATE and self.root.is_dir() and not any(self.root.iterdir()):
            self.root.rmdir()

    @contextmanager
    def locked(self, record: Record, events: Events, *, limit_s: float = 600) -> Iterator[None]:
        """Hold the deployment's lock: one `up` or `down` of it at a time. Dies with the process.

        Raises:
            RemovedError: when the deployment was removed while we waited.
        """
        path = self.folder(record.id) / _LOCK
        try:
            handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise RemovedError(f"deployment {record.name!r} has just been removed") from error
        try:
            if not _try_lock(handle):
                events.note("wait", f"another command is at work on {record.name!r}")
                wait_for(
                    lambda: _try_lock(handle), Deadline.after(limit_s), what="the deployment's lock"
                )
            if not path.exists():
                raise RemovedError(f"deployment {record.name!r} has just been removed")
            yield
        finally:
            os.close(handle)


def _try_lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def several(records: Sequence[Record]) -> InputError:
    """Return what is wrong where one of several deployments would have to be guessed."""
    known = ", ".join(record.name for record in records)
    hint = f"say which, by NAME, -n NAME or TESTBED_DEPLOYMENT: {known}"
    return InputError([Problem("name", "several deployments are up", hint)])


def _none(name: str, found: Found) -> TestbedError:
    """Return what is wrong where there is no deployment called `name`, or none at all."""
    meant = [one for one in found.unusable if name in {"", one.id}]
    if len(meant) == 1:
        return TestbedError(meant[0].what, hint=meant[0].mend)
    if meant:
        return TestbedError("no deployment can be used", hint="\n".join(map(str, meant)))
    if not name:
        return TestbedError("no deployment is up", hint="start one: testbed up")
    names = [record.name for record in found.records]
    listed = f"running deployments: {', '.join(names) or 'none'}"
    return InputError([Problem(name, "no such deployment", did_you_mean(name, names) or listed)])


def _called(name: str, records: Iterable[Record]) -> Record | None:
    return next((one for one in records if name in {one.name, one.id}), None)


def _read(folder: Path) -> Record | Unusable | None:
    """Return what is recorded in `folder`; None if that is not ours, or was removed meanwhile."""
    path = folder / _RECORD
    try:
        fields = json.loads(path.read_bytes())
        identity = parse_deployment_id(fields["id"])
        version = fields["format"]
        if identity != folder.name:
            return None
        if version != _FORMAT:
            what = f"{identity} in {folder.parent} is of another version (format {version})"
            return Unusable(identity, what, "remove it by that version's `testbed down`")
        name, source, created_s = fields["name"], fields["source"], float(fields["created_s"])
        if isinstance(name, str) and isinstance(source, str):
            return Record(identity, name, source, created_s)
    except OSError as error:
        return _broken(folder, f"cannot be read: {error.strerror}")
    except (ValueError, KeyError, TypeError):
        pass
    return _broken(folder, "is cut off or damaged")


def _broken(folder: Path, why: str) -> Unusable | None:
    """Return what tells of a deployment whose record is lost, None when the folder is not ours.

    A record is made and removed with its whole folder: in ours are a lock and a topology as well.
    """
    try:
        identity = parse_deployment_id(folder.name)
    except ValueError:
        return None
    if not ((folder / _LOCK).is_file() and (folder / _TOPOLOGY).is_file()):
        return None
    record = Record(identity, identity, str(folder / _TOPOLOGY), folder.stat().st_ctime)
    what, mend = f"{folder / _RECORD} {why}", f"remove the deployment: testbed down {identity}"
    return Unusable(identity, what, mend, record)
