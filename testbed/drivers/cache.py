"""Everything that is kept in the cache, by name: who keeps something there has its name from here.

So whoever empties the cache knows all of it. $TESTBED_CACHE may be a folder with other things.
"""

from __future__ import annotations

import shutil
from enum import StrEnum
from pathlib import Path

from testbed.drivers import hostlock, store


class Family(StrEnum):
    """Folders of what `store` has built."""

    FIB = "fib"
    IMAGE = "image"
    PEERS = "peers"
    ROOTFS = "rootfs"
    SNAPSHOT = "snapshot"


class Folder(StrEnum):
    """Folders that are ours as a whole."""

    ACCELERATOR = "accelerator"
    PRIVATE_HOSTS = "private-hosts"


class File(StrEnum):
    """Files in the cache itself."""

    DOCKERD_LOG = "dockerd.log"
    DURATIONS = "durations.json"


IMAGES = "images"
"""What is locked while Docker images are built; they are in Docker's own store."""


def empty(cache: Path) -> tuple[str, ...]:
    """Remove what we keep in `cache`, and itself if nothing else is in it; return what else is."""
    for family in Family:
        store.clear(cache / family)
    for folder in Folder:
        if (cache / folder).is_dir():
            shutil.rmtree(cache / folder)
    for file in File:
        for path in (cache / file, *cache.glob(f".{file}.*")):  # what a kill left half-written
            path.unlink(missing_ok=True)
    hostlock.tidy(cache, f".{IMAGES}.lock")
    left = tuple(sorted(path.name for path in cache.iterdir())) if cache.is_dir() else ()
    if cache.is_dir() and not left:
        cache.rmdir()
    return left
