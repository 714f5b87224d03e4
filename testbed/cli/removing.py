"""The verbs `down` and `clean`."""

from __future__ import annotations

import shutil

from testbed.drivers import dockerd, images
from testbed.errors import TestbedError, did_you_mean
from testbed.events import Events
from testbed.lifecycle.down import remove_deployment, stop_shared
from testbed.lifecycle.store import Store, cache_root, state_root


def take_down(events: Events, *, name: str, everything: bool) -> None:
    """Remove one deployment or all of them, and a Docker daemon of ours that nobody needs.

    One that is not there is fine: so a second `down` ends like the first.
    """
    records = Store(state_root())
    records.sweep()
    known = records.all()
    if everything or not known:
        chosen = known
    elif name:
        found = records.find(name)
        chosen = () if found is None else (found,)
    else:
        chosen = (records.get(),)
    if not chosen:
        names = [record.name for record in known]
        there_are = f"deployments: {', '.join(names) or 'none is recorded'}"
        events.note("nothing to remove", did_you_mean(name, names) or there_are)
    for told in records.of_other_versions():
        events.note("left alone", f"{told}: remove it by that version's `testbed down`")
    errors: list[Exception] = []
    for record in chosen:
        try:
            remove_deployment(records, record, events)
        except ExceptionGroup as group:
            errors.append(group)
    stop_shared(records, events)
    if errors:
        raise ExceptionGroup("some deployments could not be removed whole", errors)


def clean(events: Events, *, cache: bool) -> None:
    """Remove all deployments and, if asked, everything that was built."""
    if cache:
        with events.step("remove built images"):
            _remove_built(events)
    take_down(events, name="", everything=True)


def _remove_built(events: Events) -> None:
    """Remove what was built; what a running deployment uses goes first, then the daemon of ours."""
    records = Store(state_root())
    for record in records.all():
        remove_deployment(records, record, events)
    client = dockerd.ensure(events, records.root / "dockerd.log")
    left = images.remove_images(client)
    if left:
        raise TestbedError(
            f"{left} images are in use by deployments recorded elsewhere (TESTBED_STATE)",
            hint="remove those deployments first: testbed down --all",
        )
    if cache_root().is_dir():
        shutil.rmtree(cache_root())
