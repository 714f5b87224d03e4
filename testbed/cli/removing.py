"""The verbs `down` and `clean`: what they will remove is said before anything heavy is imported."""

from __future__ import annotations

import shutil
from pathlib import Path

from testbed.drivers import store
from testbed.errors import TestbedError, did_you_mean
from testbed.events import Events
from testbed.lifecycle.store import Record, Store, cache_root, several, state_root

_FAMILIES = ("fib", "image", "peers", "rootfs", "snapshot")
_FOLDERS = ("accelerator", "private-hosts")
_FILES = (".images.lock", "dockerd.log", "durations.json")
"""What is in the cache: what `drivers/store.py` has built, and what else has been put there."""


def take_down(events: Events, *, name: str, everything: bool) -> None:
    """Remove one deployment or all of them, and a Docker daemon of ours that nobody needs.

    One that is not there is fine: so a second `down` ends like the first.
    """
    records = Store(state_root())
    records.sweep()
    found = records.look()
    known = found.removable
    chosen = _chosen(known, name, everything=everything)
    if not chosen:
        names = [record.name for record in known]
        there_are = f"deployments: {', '.join(names) or 'none is recorded'}"
        events.note("nothing to remove", did_you_mean(name, names) or there_are)
    for record in chosen:
        events.note("remove", str(record))
    for one in found.unusable:
        if one.id not in {record.id for record in chosen}:
            events.note("left alone", str(one))
    from testbed.lifecycle.down import remove_deployment, stop_shared

    errors: list[Exception] = []
    for record in chosen:
        try:
            remove_deployment(records, record, events)
        except ExceptionGroup as group:
            errors.append(group)
    stop_shared(records, events)
    if errors:
        raise ExceptionGroup("some deployments could not be removed whole", errors)


def _chosen(known: tuple[Record, ...], name: str, *, everything: bool) -> tuple[Record, ...]:
    if everything or not known:
        return known
    if name:
        return tuple(record for record in known if name in {record.name, record.id})[:1]
    if len(known) > 1:
        raise several(known)
    return known


def clean(events: Events, *, cache: bool) -> None:
    """Remove all deployments and, if asked, everything that was built."""
    if cache:
        with events.step("remove built images"):
            _remove_built(events)
    take_down(events, name="", everything=True)


def _remove_built(events: Events) -> None:
    """Remove what was built; what a running deployment uses goes first, then the daemon of ours."""
    from testbed.drivers import dockerd, images
    from testbed.lifecycle.down import remove_deployment

    records = Store(state_root())
    for record in records.look().removable:
        remove_deployment(records, record, events)
    client = dockerd.ensure(events, records.root / "dockerd.log")
    left = images.remove_images(client)
    if left:
        raise TestbedError(
            f"{left} images are in use by deployments recorded elsewhere (TESTBED_STATE)",
            hint="remove those deployments first: testbed down --all",
        )
    _empty(cache_root(), events)


def _empty(cache: Path, events: Events) -> None:
    """Remove from the cache what we have put there: $TESTBED_CACHE may be a folder with other things."""
    for family in _FAMILIES:
        store.clear(cache / family)
    for folder in _FOLDERS:
        if (cache / folder).is_dir():
            shutil.rmtree(cache / folder)
    for file in _FILES:
        (cache / file).unlink(missing_ok=True)
    left = [path.name for path in cache.iterdir()] if cache.is_dir() else []
    if left:
        events.note("left alone", f"what else is in {cache}: {', '.join(sorted(left)[:4])}")
    elif cache.is_dir():
        cache.rmdir()
