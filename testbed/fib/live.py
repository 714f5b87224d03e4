"""FIBs added, changed and deleted one at a time, while all the others are left alone.

What one FIB brings along is worked out from an index of what the others have, so the work does not
grow with their number; the kernel is not read again. The kernel's own part grows little: IPv4's list of
rules is walked a few times. Rules by mark are there already but for one FIB in 16 at most.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, Self

from . import bpfmap, store
from .apply import RETIRED, abort_former, apply_document, interface_index, locked
from .change import compare, execute
from .desired import (
    ANCHOR_IPV4,
    FAMILIES,
    Objects,
    build_config,
    build_parts,
    router_key,
    sources_of,
)
from .document import Document, Fib, InputError, conflicts, parse_document, parse_fibs
from .entries import Rule
from .failure import EnvironmentFailure
from .netlink import Rtnetlink
from .retired import Retired
from .rules import Change, SourceTree, mark_blocks, mark_rules, present_blocks


class Live:
    """The FIBs in force, ready to be changed. Close it, or use it as a context manager.

    Others may run `fibctl apply` meanwhile: the state is then loaded again, which takes seconds
    where there are thousands of FIBs.
    """

    def __init__(self) -> None:
        self._generation: tuple[int, ...] = ()
        self._netlink: Rtnetlink | None = None
        with locked():
            self._refresh()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the routing socket."""
        if self._netlink is not None:
            self._netlink.close()
            self._netlink = None

    def add(self, data: object) -> dict[str, object]:
        """Add decoded FIBs of the document's form, or change those of the same number and name.

        Returns:
            what was changed, as `fibctl apply` says it; nothing where all is so already.

        Raises:
            InputError: with all problems; nothing was changed.
            ExceptionGroup: the kernel refused something; all was taken back.
        """
        fibs = parse_fibs(data)
        raw = data if isinstance(data, list) else [data]
        with locked():
            self._refresh()
            former = tuple(self._fibs[fib.id] for fib in fibs if fib.id in self._fibs)
            self._check(fibs)
            if len(former) == len(fibs) and set(former) == set(fibs):
                return {}
            taken_back = [self._raw[fib.id] for fib in former]
            return self._change(former, fibs, add=raw, undo=taken_back)

    def delete(self, numbers: Iterable[int]) -> dict[str, object]:
        """Delete FIBs, aborting their sockets; those that are not there are no error.

        Raises:
            InputError: one of them is the interface's FIB.
        """
        with locked():
            self._refresh()
            fibs = tuple(self._fibs[number] for number in set(numbers) if number in self._fibs)
            if any(fib.id == self._header.default_fib for fib in fibs):
                raise InputError([f"FIB {self._header.default_fib} is the interface's FIB"])
            if not fibs:
                return {}
            return self._change(fibs, (), add=[], undo=[self._raw[fib.id] for fib in fibs])

    # One change

    def _change(
        self, former: tuple[Fib, ...], fibs: tuple[Fib, ...], *, add: list[Any], undo: list[Any]
    ) -> dict[str, object]:
        before, after = self._part(former), self._part(fibs)
        changed = self._retired.changed_owners(before, after)
        aborted = abort_former(before, after, changed)
        gone = [fib.id for fib in former if fib.id not in {each.id for each in fibs}]
        store.open_change(add=add, delete=gone)
        present, desired = self._objects(former, fibs)
        difference = compare(desired, present)
        config = build_config(self._part(tuple(self._fibs.values())[:1]))
        try:
            maps = execute(self._connection, desired, present, difference, config)
        except (ExceptionGroup, OSError):
            with contextlib.suppress(ExceptionGroup, OSError):
                back = compare(present, desired)
                execute(self._connection, present, desired, back, config)
            store.undo_change(add=undo, delete=[fib.id for fib in fibs])
            self._generation = ()  # rules and index are those of what was refused
            raise
        aborted += abort_former(before, after, changed)  # what came meanwhile
        if former or self._retired.addresses or self._retired.fibs:
            self._retired.note(before, after)
            self._retired.save(RETIRED)
        for fib, entry in zip(fibs, add, strict=True):
            self._raw[fib.id] = entry
        store.close_change()
        self._generation = store.generation()
        summary: dict[str, object] = {"map_entries": maps} if maps else {}
        summary |= difference.counts()
        return summary | ({"aborted_sockets": aborted} if aborted else {})

    def _part(self, fibs: tuple[Fib, ...]) -> Document:
        """Return a document with these FIBs alone."""
        return self._header._replace(fibs=fibs)

    @property
    def _connection(self) -> Rtnetlink:
        if self._netlink is None:
            raise EnvironmentFailure("closed")
        return self._netlink

    def _check(self, fibs: tuple[Fib, ...]) -> None:
        """Refuse what conflicts: only FIBs that have a name, address or next hop in common can."""
        replaced = {
            fib.id for fib in fibs if fib.id in self._fibs and self._fibs[fib.id].name == fib.name
        }
        related = {number for fib in fibs for number in self._related(fib)} - replaced
        part = self._part((*(self._fibs[number] for number in sorted(related)), *fibs))
        if part.default_fib not in {fib.id for fib in part.fibs}:
            part = part._replace(default_fib=0)
        problems = list(conflicts(part))
        if problems:
            raise InputError(problems)
        self._retired.check(self._part(fibs))

    def _related(self, fib: Fib) -> Iterator[int]:
        if fib.id in self._fibs:
            yield fib.id
        for key in _keys(fib):
            yield from self._users.get(key, ())

    def _objects(self, former: tuple[Fib, ...], fibs: tuple[Fib, ...]) -> tuple[Objects, Objects]:
        """Return what these FIBs have and shall have; the index is of the new state afterwards."""
        before, after = self._part(former), self._part(fibs)
        present = build_parts(before, former, self._index)
        desired = build_parts(after, fibs, self._index)
        for fib in former:
            self._forget(fib)
        for fib in fibs:
            self._learn(fib)
        for objects in (present, desired):
            objects.addresses.add(ANCHOR_IPV4)
        self._keep_shared(present, desired)
        added, removed = self._changed_rules(before, after)
        present.rules.update(removed)
        desired.rules.update(added)
        return present, desired

    def _keep_shared(self, present: Objects, desired: Objects) -> None:
        """Leave out what another FIB has as well, so that it stays."""
        present.neighbours.difference_update(
            entry for entry in present.neighbours - desired.neighbours if self._named[entry.address]
        )
        routers = present.maps.routers
        for key in routers.keys() - desired.maps.routers.keys():
            mac = key[4:10]
            if self._named[mac] and key == router_key(bpfmap.OF_INTERFACE, mac):
                del routers[key]

    def _changed_rules(self, before: Document, after: Document) -> tuple[set[Rule], set[Rule]]:
        net = _Net()
        net.take((self._new_mark_rules(after), set()))
        had = sources_of(before, before.fibs, 4)
        has = sources_of(after, after.fibs, 4)
        for address in [a for a, fib in had.items() if has.get(a) != fib]:
            net.take(self._tree.discard(address))
        for address in [a for a, fib in has.items() if had.get(a) != fib]:
            net.take(self._tree.add(address, has[address]))
        return net.added, net.removed

    def _new_mark_rules(self, part: Document) -> set[Rule]:
        wanted: set[Rule] = set()
        for version, family in FAMILIES.items():
            blocks = self._blocks[family]
            new = mark_blocks(sources_of(part, part.fibs, version).values(), blocks) - blocks
            wanted.update(rule for block in new for rule in mark_rules(family, block))
            blocks |= new
        rules = wanted - self._by_mark
        self._by_mark |= rules
        return rules

    # The index

    def _refresh(self) -> None:
        if self._netlink is not None and self._generation == store.generation():
            return
        document = parse_document(store.load())
        if not store.is_closed():  # whoever made that change was killed
            apply_document(document)
            store.close_change()
        self.close()
        self._index = interface_index(document.interface)
        self._netlink = Rtnetlink(self._index)
        self._header = document._replace(fibs=())
        self._raw = {entry["id"]: entry for entry in store.load()["fibs"]}
        self._retired = Retired.load(RETIRED)
        self._fibs: dict[int, Fib] = {}
        self._users: dict[object, set[int]] = {}
        self._named: Counter[bytes] = Counter()
        for fib in document.fibs:
            self._learn(fib)
        present = {rule for rule, ours in self._netlink.rules() if ours}
        self._blocks = {
            family: present_blocks(rule for rule in present if rule.family == family)
            for family in FAMILIES.values()
        }
        self._by_mark = {rule for rule in present if not rule.prefix_length}
        self._tree = SourceTree(sources_of(document, document.fibs, 4), present)
        self._generation = store.generation()

    def _learn(self, fib: Fib) -> None:
        self._fibs[fib.id] = fib
        for key in _keys(fib):
            self._users.setdefault(key, set()).add(fib.id)
        self._named.update(_names(fib))

    def _forget(self, fib: Fib) -> None:
        del self._fibs[fib.id]
        for key in _keys(fib):
            users = self._users[key]
            users.discard(fib.id)
            if not users:
                del self._users[key]
        self._named.subtract(_names(fib))


class _Net:
    """The sum of changes: what one adds and the next removes is not in it."""

    def __init__(self) -> None:
        self.added: set[Rule] = set()
        self.removed: set[Rule] = set()

    def take(self, change: Change) -> None:
        added, removed = change
        self.added |= added - self.removed
        self.removed -= added
        self.removed |= removed - self.added
        self.added -= removed


def _keys(fib: Fib) -> set[object]:
    """Return all that only one FIB may have, or that FIBs may only share if they agree on it."""
    keys: set[object] = {fib.name}
    keys.update(entry.ip for entry in fib.addresses)
    keys.update(entry.address for entry in fib.neighbours)
    keys.update(route.via for route in fib.routes if route.via is not None)
    return keys


def _names(fib: Fib) -> set[bytes]:
    """Return the neighbours' addresses and MACs, which several FIBs may name."""
    return {part for entry in fib.neighbours for part in entry}
