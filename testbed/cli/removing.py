"""The verbs `down` and `clean`: what they will remove is said before anything heavy is imported."""

from __future__ import annotations

from testbed.errors import TestbedError, did_you_mean
from testbed.events import Events
from testbed.lifecycle.store import Record, Store, cache_root, several, state_root


def take_down(events: Events, *, name: str, everything: bool, leave_sut: bool = False) -> None:
    """Remove one deployment or all of them, and a Docker daemon of ours that nobody needs.

    One that is not there is fine: so a second `down` ends like the first. `leave_sut` leaves machines of
    the user's as they are.
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
            remove_deployment(records, record, events, leave_sut=leave_sut)
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
    from testbed.drivers import cache, dockerd, images
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
    others = cache.empty(cache_root())
    if others:
        events.note("left alone", f"what else is in {cache_root()}: {', '.join(others[:4])}")
