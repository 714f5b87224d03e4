"""What we made on the host itself, outside any deployment: noted before it is made, and undone.

A Docker daemon that we started leaves folders, mounts and control groups behind when it stops, and
named namespaces need a mount of /run/netns. None of that carries an id, so that a note says what was
not there before. The note is host-wide, like the things; take `LOCK` for reading and writing it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from testbed.drivers.hostlock import SHARED

LOCK = SHARED / "traces.lock"
_NOTE = SHARED / "made"
_MNT_DETACH = 2
_CGROUPS = Path("/sys/fs/cgroup")

_libc = ctypes.CDLL(None, use_errno=True)


def note_missing(paths: Iterable[Path]) -> None:
    """Note those of `paths` that do not exist, because we are about to make them."""
    known = noted()
    new = [path for path in paths if not path.exists() and path not in known]
    if new:
        SHARED.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _NOTE.open("a") as note:
            note.writelines(f"{path}\n" for path in new)


def note_mount(path: Path) -> None:
    """Note that we are about to mount something on `path`, on which nothing is mounted."""
    SHARED.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _NOTE.open("a") as note:
        note.write(f"mount {path}\n")


def noted() -> tuple[Path, ...]:
    """Return the paths noted so far."""
    return tuple(Path(line) for line in _lines() if not line.startswith("mount "))


def undo(prefixes: Iterable[Path]) -> None:
    """Remove what is noted at or below `prefixes`, mounts first, and its note."""
    chosen = tuple(prefixes)
    kept = []
    for line in _lines():
        path = Path(line.removeprefix("mount "))
        if not any(path.is_relative_to(prefix) for prefix in chosen):
            kept.append(line)
        elif line.startswith("mount "):
            unmount(path)
        else:
            _remove(path)
    if kept:
        beside = _NOTE.with_suffix(".new")
        beside.write_text("".join(f"{line}\n" for line in kept))
        beside.replace(_NOTE)
    else:
        _NOTE.unlink(missing_ok=True)


def control_groups(name: str) -> tuple[Path, ...]:
    """Return where the control group `name` is, or would be, in each hierarchy there is."""
    return tuple(root / name for root in _hierarchies())


def control_groups_like(pattern: str) -> tuple[Path, ...]:
    """Return the control groups at the top of each hierarchy whose names match."""
    return tuple(found for root in _hierarchies() for found in root.glob(pattern))


def _hierarchies() -> list[Path]:
    roots = [_CGROUPS, *_CGROUPS.glob("*")]
    return [root for root in roots if (root / "cgroup.procs").exists()]


def _lines() -> list[str]:
    # Mounts stand before the folders they are on, whatever the order of their making.
    try:
        lines = dict.fromkeys(_NOTE.read_text().splitlines())
    except FileNotFoundError:
        return []
    return sorted(lines, key=lambda line: not line.startswith("mount "))


def mount_points() -> list[str]:
    """Return all mount points, in the order of mounting."""
    rows = Path("/proc/self/mountinfo").read_text().splitlines()
    return [row.split()[4].encode().decode("unicode_escape") for row in rows]


def _remove(path: Path) -> None:
    if path.is_relative_to(_CGROUPS):
        with contextlib.suppress(OSError):  # somebody else uses it by now
            path.rmdir()
        return
    if path.is_dir() and not path.is_symlink():
        for point in reversed(mount_points()):
            if Path(point).is_relative_to(path):
                unmount(Path(point))
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def unmount(path: Path) -> None:
    """Detach what is mounted on `path`; nothing is no error."""
    if _libc.umount2(bytes(path), _MNT_DETACH) == 0:
        return
    number = ctypes.get_errno()
    # Not mounted (any more), or hidden below a later mount.
    if number not in {errno.EINVAL, errno.ENOENT}:
        raise OSError(number, os.strerror(number), str(path))
