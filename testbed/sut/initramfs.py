"""The SUT's initramfs, reduced to what finds the root file system: busybox, one script, drivers.

Debian's own tools would put udev and every driver in; under emulation each of those costs boot
time. The archive is the kernel's "newc" cpio (Documentation/driver-api/early-userspace/
buffer-format.rst), uncompressed: reading it costs less than unpacking it.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

# The disk must be there before the root is mounted; the rest only spares the guest a search.
DRIVERS = ("virtio_pci", "virtio_blk", "virtio_net", "virtio_rng")
_DIRECTORIES = ("dev", "proc", "root", "modules")
_CHARACTER_DEVICES = {"dev/console": (5, 1)}
_TRAILER = "TRAILER!!!"


def build(root: Path, release: str, script: str) -> bytes:
    """Return the archive made of busybox and kernel `release`'s drivers below `root`.

    `script` becomes /init; it finds the drivers as /modules/NUMBER-NAME.ko, in loading order.
    """
    modules = root / "lib/modules" / release
    paths = load_order(DRIVERS, (modules / "modules.dep").read_text().splitlines())
    files: dict[str, tuple[int, bytes]] = {
        "init": (0o755, script.encode()),
        "busybox": (0o755, (root / "usr/bin/busybox").read_bytes()),
    }
    for number, path in enumerate(paths):
        name = f"modules/{number:02}-{PurePosixPath(path).name}"
        files[name] = (0o644, (modules / path).read_bytes())
    return archive(files)


def load_order(drivers: Iterable[str], dependencies: Iterable[str]) -> list[str]:
    """Return the module files that `drivers` need, each after those that it needs itself.

    `dependencies` are the lines of modules.dep: a file, a colon, and what it needs, nearest first.

    Raises:
        KeyError: when the kernel has no such driver as a module.
    """
    needs: dict[str, list[str]] = {}
    for line in dependencies:
        path, _, needed = line.partition(":")
        needs[path] = needed.split()
    by_name = {_module_name(path): path for path in needs}
    order: dict[str, None] = {}  # ordered, each once
    for driver in drivers:
        path = by_name[driver]
        for needed in (*reversed(needs[path]), path):
            order[needed] = None
    return list(order)


def _module_name(path: str) -> str:
    # The kernel takes - and _ in module names for the same.
    return PurePosixPath(path).name.partition(".")[0].replace("-", "_")


def archive(files: Mapping[str, tuple[int, bytes]]) -> bytes:
    """Return a newc archive of `files` (name: permissions, content) and the fixed directories."""
    entries = [_entry(name, stat.S_IFDIR | 0o755) for name in _DIRECTORIES]
    entries += [
        _entry(name, stat.S_IFCHR | 0o600, device=device)
        for name, device in _CHARACTER_DEVICES.items()
    ]
    entries += [
        _entry(name, stat.S_IFREG | mode, content) for name, (mode, content) in files.items()
    ]
    entries.append(_entry(_TRAILER, 0))
    return b"".join(entries)


def _entry(
    name: str, mode: int, content: bytes = b"", *, device: tuple[int, int] = (0, 0)
) -> bytes:
    encoded = name.encode() + b"\0"
    inode = uid = gid = modified = device_major = device_minor = checksum = 0
    links = 1
    fields = [inode, mode, uid, gid, links, modified, len(content)]
    fields += [device_major, device_minor, *device, len(encoded), checksum]
    header = b"070701" + b"".join(f"{field:08x}".encode() for field in fields)
    return _padded(header + encoded) + _padded(content)


def _padded(content: bytes) -> bytes:
    return content + b"\0" * (-len(content) % 4)
