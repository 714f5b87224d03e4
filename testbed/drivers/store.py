"""Things built once and kept outside the tree, in directories named by what they are made from.

A directory in the store is complete or absent: it is built beside its final name and renamed, under
a lock that the kernel drops when the builder dies, so a killed build is never used and the next one
starts afresh.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shlex
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from testbed.drivers import hostlock
from testbed.errors import ResourceError, TestbedError, WaitTimeoutError

_KEY_DIGITS = 16
_PARTIAL = ".partial"
_LOCK = ".{}.lock"
_FULL_BYTES = 8 << 20  # file systems keep a little back, and a large write fails before a small one
BUILD_ID = "build-id"
"""The one file that the store adds to each directory."""


def key_of(parts: Iterable[str | bytes]) -> str:
    """Return a short hash of `parts`, which keeps ("a", "bc") and ("ab", "c") apart.

    >>> key_of(["a", "bc"]) == key_of(["ab", "c"])
    False
    """
    digest = hashlib.sha256()
    for part in parts:
        content = part.encode() if isinstance(part, str) else part
        digest.update(len(content).to_bytes(8, "big") + content)
    return digest.hexdigest()[:_KEY_DIGITS]


def tree_parts(root: Path) -> Iterator[str | bytes]:
    """Yield what `key_of` needs to tell the tree below `root` apart: names and contents, sorted."""
    for path in sorted(root.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            yield str(path.relative_to(root))
            yield path.read_bytes()


def obtain(directory: Path, build: Callable[[Path], None], *, limit_s: float) -> Path:
    """Return `directory`, built by `build(partial directory)` unless it is already there.

    Builders of the same directory wait for one another, at most `limit_s`. The directory's time of
    change tells when it was last asked for, which `prune` goes by.

    Raises:
        ResourceError: when another builder holds the lock for longer than that, or the disk is full.
    """
    with locked(directory, limit_s=limit_s):
        if not directory.is_dir():
            partial = directory.with_name(directory.name + _PARTIAL)
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(mode=0o700)
            with _told_if_full(partial):
                build(partial)
                (partial / BUILD_ID).write_text(secrets.token_hex(8))
                _write_through(partial)
            partial.rename(directory)
        os.utime(directory)
    return directory


class _DiskFullError(ResourceError):
    """There was no room for a build."""


@contextmanager
def _told_if_full(partial: Path) -> Iterator[None]:
    """Say so when a build has failed for want of room, and give back what it took.

    Who meets a full disk may say anything: QEMU, whose memory is mapped from a file, dies of SIGBUS.
    """
    try:
        yield
    except _DiskFullError:  # of what this is made from
        shutil.rmtree(partial, ignore_errors=True)
        raise
    except (OSError, TestbedError) as error:
        free = shutil.disk_usage(partial).free
        if free > _FULL_BYTES:
            raise
        shutil.rmtree(partial, ignore_errors=True)
        family = partial.parent
        said = getattr(error, "strerror", None) or str(error)
        raise _DiskFullError(
            f"the disk is full: {free >> 20} MiB were left in {family} ({said})",
            hint="make room there, or set TESTBED_CACHE to a folder that has some",
        ) from error


def build_id(directory: Path) -> str:
    """Return what tells this build from another with the same key.

    What refers to the files of a directory is keyed by this: packages change without their recipe.
    """
    return (directory / BUILD_ID).read_text()


def prune(family: Path, *, keep: int) -> None:
    """Remove all directories of `family` but the `keep` last asked for, and what kills left there.

    A process that has files of a removed directory open keeps them; one that is being built or is
    about to be used is locked, and stays.
    """
    directories = _built_in(family)
    directories.sort(key=_asked_for_s, reverse=True)
    complete = [path for path in directories if not path.name.endswith(_PARTIAL)]
    partial = [path for path in directories if path.name.endswith(_PARTIAL)]
    for path in (*complete[keep:], *partial):
        try:
            with locked(path.with_name(path.name.removesuffix(_PARTIAL)), limit_s=0):
                shutil.rmtree(path)
        except ResourceError:
            continue  # in use: the next pruning may find it free
        except FileNotFoundError:
            continue  # another pruning was there first
    hostlock.tidy(family, _LOCK.format("*"))


def _asked_for_s(directory: Path) -> float:
    try:
        return directory.stat().st_mtime
    except FileNotFoundError:  # another pruning is at work
        return 0.0


def clear(family: Path) -> None:
    """Remove all that was built in `family`; the folder too if nothing else is in it."""
    for path in _built_in(family):
        shutil.rmtree(path)
    hostlock.tidy(family, _LOCK.format("*"))
    with suppress(OSError):
        family.rmdir()


def _built_in(family: Path) -> list[Path]:
    """Return the directories that `obtain` has made there, whole or not: others may be anybody's."""
    found = family.iterdir() if family.is_dir() else ()
    return [
        path
        for path in found
        if path.is_dir()
        and not path.is_symlink()
        and ((path / BUILD_ID).is_file() or path.name.endswith(_PARTIAL))
    ]


@contextmanager
def locked(directory: Path, *, limit_s: float) -> Iterator[None]:
    """Hold the lock of `directory`; it is free again the moment its holder dies."""
    lock = directory.with_name(_LOCK.format(directory.name))
    with ExitStack() as stack:
        try:
            stack.enter_context(hostlock.held(lock, limit_s=limit_s))
        except WaitTimeoutError as error:
            raise ResourceError(
                f"{directory} is being built by another process for over {limit_s:g} s",
                hint=f"see who holds it: fuser -v {shlex.quote(str(lock))}",
            ) from error
        yield


def _write_through(directory: Path) -> None:
    """Write the files out, so that a power cut cannot leave a complete name with holes inside."""
    for path in directory.rglob("*"):
        if path.is_file() and not path.is_symlink():
            handle = os.open(path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
