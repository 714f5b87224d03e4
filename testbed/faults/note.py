"""What is said on disk while something is broken on purpose, and how that is undone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from testbed.lifecycle.lease import Changed, changed, mark_changed, mark_restored
from testbed.probe.journal import Journal
from testbed.running import Running, Tenant


@dataclass(frozen=True, slots=True)
class Note:
    """What is said on disk about a fault: which tenants, or the whole, may not be as planned.

    In `journal` it is told between the scenario's questions.
    """

    folder: Path
    journal: Journal
    what: str
    tenants: tuple[str, ...]
    whole: bool = False


def note(tenant: Tenant, what: str) -> Note:
    """Return a note about one tenant."""
    return Note(tenant.folder, tenant.journal, what, (tenant.name,))


def whole_note(deployment: Running, what: str, tenants: Sequence[Tenant]) -> Note:
    """Return a note about what all share, and about `tenants`."""
    names = tuple(tenant.name for tenant in tenants)
    return Note(deployment.deployment.folder, deployment.journal, what, names, whole=True)


@contextmanager
def fault(note: Note, undo: Callable[[], None]) -> Iterator[None]:
    """Write `note` down, let the block cause the fault, undo it; the note goes when that worked."""
    before = changed(note.folder)
    # Of a fault around this one: that one's to take away.
    new = Changed(frozenset(note.tenants) - before.tenants, note.whole and not before.whole)
    mark_changed(note.folder, tuple(new.tenants), whole=new.whole, why=note.what)
    place = ", ".join(note.tenants) or "all"
    note.journal.tell(place, "fault", note.what)
    try:
        yield
    finally:
        undo()
        note.journal.tell(place, "fault undone", note.what)
        mark_restored(note.folder, new)
