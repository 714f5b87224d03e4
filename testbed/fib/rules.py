"""The policy rules: which table a packet or socket is looked up in, in O(log n) steps.

    0           nothing                         (see below)
    10          everything -> 1000000          (so no rule of the system's comes in between)
    1000000     mark 0 -> 2000000              (IPv6: the one table of routes by source, then local)
    1000002     else -> 100000100
    2000000...  IPv4: tree by source address   (leaf: table of its FIB, then unreachable)
    100000100.. tree by mark, 4 bits a level   (leaf: table of the FIB; unknown mark: unreachable)
    200000000   local, main, default            (FIB 0 alone: P1)

`goto` only leads to a higher preference. Rules of one preference form a block that is entered
at its first rule; what ends a block has the next preference, because a rule added later comes
after the others of its preference. The source tree is path-compressed; which block a prefix has
is read back from the kernel, so a change touches only the rules around the changed address.

What a rule costs decides the shape (Linux 6.1, fib_nl_newrule and fib_nl_delrule):

- A new rule's place is searched from the start of the list: rules are added last first.
- The target of *every* rule is searched, 0 for one that is no goto; one without is counted as
  unresolved, and from then on each new rule costs a walk over all. The rule 0 is that target.
- A rule that goes costs a walk over all as long as there is a goto among them.
- Any change of an IPv6 rule costs a walk over all IPv6 tables (fib6_rule_flush_cache), which are
  never freed. So IPv6 has no rules by source, and rules by mark come in blocks of 16 numbers, some
  ahead, and stay: one of a number that is no FIB leads to an empty table, then to `unreachable`.
  A FIB without IPv6 needs none: a mark without a rule is unreachable, too.
"""

from __future__ import annotations

import bisect
import socket
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import groupby
from typing import Final

from .entries import GOTO, NOTHING, TO_TABLE, UNREACHABLE, Rule

TABLE_BASE: Final = 100_000
"""Table of FIB k is TABLE_BASE + k: above 65,535 and spread over the kernel's 256 buckets."""

TABLES: Final = range(TABLE_BASE, TABLE_BASE + 65536)
"""All tables of ours."""

SOURCE_TABLE: Final = TABLE_BASE
"""Table of all FIBs' IPv6 routes, each for the packets from one of the FIB's addresses alone."""

ENTRY: Final = 10
_START = 1_000_000
_MARK_ROOT = 100_000_100
_MARK_LEVELS = (
    (12, 0xFFFFF000, 100_001_000),
    (8, 0xFFFFFF00, 100_002_000),
    (4, 0xFFFFFFF0, 100_010_000),
)
_MARK_BITS, _MARK_BLOCKS = 4, 4096
_AHEAD = 16  # one block more for so many
_SOURCE_ROOT = 2_000_000
_LEVEL_SPAN = 4_000_000
_BLOCK = 3  # leaves and gotos, unreachables, end of the block
_REST: Final = 200_000_000
_LOCAL_TABLE, _MAIN_TABLE, _DEFAULT_TABLE = 255, 254, 253
_ALL_BITS = 0xFFFFFFFF
_IPV4 = socket.AF_INET

Blocks = dict[tuple[bytes, int], int]
"""Prefix and length of a node of the source tree -> preference of its block."""


def stock_local_rule(family: int) -> Rule:
    """Return the kernel's own first rule, which must go (P1) and come back on detach."""
    return Rule(family, 0, TO_TABLE, table=_LOCAL_TABLE)


def source_bypass_rule(family: int) -> Rule:
    """Return a rule by which a packet without mark misses the rules by source: a defect."""
    return Rule(family, 1, GOTO, mask=_ALL_BITS, target=_REST)


def build_rules(
    family: int, fibs: Iterable[int], sources: Mapping[bytes, int], present: Iterable[Rule] = ()
) -> set[Rule]:
    """Return all rules of a family for the FIBs and the addresses (packed) that belong to them."""
    present = [rule for rule in present if rule.family == family]
    rules = {
        Rule(family, 0, NOTHING),
        Rule(family, ENTRY, GOTO, target=_START),
        Rule(family, _MARK_ROOT + 1, UNREACHABLE),
        Rule(family, _REST, TO_TABLE, table=_LOCAL_TABLE),
        Rule(family, _REST + 1, TO_TABLE, table=_MAIN_TABLE),
    }
    for block in mark_blocks(fibs, present_blocks(present)):
        rules.update(mark_rules(family, block))
    if family == socket.AF_INET:
        rules.add(Rule(family, _REST + 2, TO_TABLE, table=_DEFAULT_TABLE))
        rules.update(SourceTree(sources, present).rules())
    else:  # no default table
        rules.add(Rule(family, _START, TO_TABLE, mask=_ALL_BITS, table=SOURCE_TABLE))
        rules.add(Rule(family, _START + 1, GOTO, mask=_ALL_BITS, target=_REST))
    return rules


def building_order(rules: Iterable[Rule]) -> list[Rule]:
    """Return rules in the order in which they can be added to a working tree: inside first.

    That is last first; but each leaf of IPv6 creates a table, which rules after it walk over.
    """
    return sorted(rules, key=_building_key)


def removal_order(rules: Iterable[Rule]) -> list[Rule]:
    """Return rules in the order in which they can be removed: the ways into a block first.

    Once no goto is left, the kernel no longer walks over all rules for each.
    """
    return sorted(rules, key=lambda rule: (rule.action != GOTO, rule.preference))


def _building_key(rule: Rule) -> tuple[int, int]:
    if rule.action == NOTHING or rule.preference >= _REST:
        return (0, rule.preference)  # what all others lead to
    needs_no_table = rule.family == socket.AF_INET6 and rule.action == UNREACHABLE
    return (1 if needs_no_table else 2, -rule.preference)


def present_blocks(rules: Iterable[Rule]) -> set[int]:
    """Return the blocks of 16 numbers that have rules by mark."""
    return {rule.mark >> _MARK_BITS for rule in rules if rule.action == TO_TABLE and rule.mark}


def mark_blocks(fibs: Iterable[int], present: Collection[int]) -> set[int]:
    """Return the blocks of 16 numbers that shall have rules by mark, once these FIBs come.

    Where one is missing, a sixteenth more are made after the last: numbers are given in turn.
    """
    needed = {fib >> _MARK_BITS for fib in fibs}
    if needed <= set(present):
        return set(present)
    following = max(needed) + 1
    ahead = range(following, min(following + len(needed) // _AHEAD, _MARK_BLOCKS))
    return needed.union(present, ahead)


def mark_rules(family: int, block: int) -> Iterator[Rule]:
    """Yield the rules by mark of a block of 16 numbers, with the way to it, which others share."""
    first = block << _MARK_BITS
    preference = _MARK_ROOT
    yield Rule(family, _START + 2, GOTO, target=preference)
    for shift, mask, base in _MARK_LEVELS:
        child = base + 2 * (first >> shift)
        prefix = first >> shift << shift
        yield Rule(family, preference, GOTO, mark=prefix, mask=mask, target=child)
        yield Rule(family, child + 1, UNREACHABLE)
        preference = child
    for fib in range(max(first, 1), first + (1 << _MARK_BITS)):
        yield Rule(family, preference, TO_TABLE, mark=fib, mask=_ALL_BITS, table=TABLE_BASE + fib)


Change = tuple[set[Rule], set[Rule]]
"""Rules to add, rules to remove."""


class SourceTree:
    """The tree over packed IPv4 addresses; keeps the blocks that the kernel already has."""

    def __init__(self, sources: Mapping[bytes, int], present: Iterable[Rule]) -> None:
        self._sources = dict(sources)
        self._sorted = sorted(self._sources)
        self._blocks: Blocks = {
            (rule.source, rule.prefix_length): rule.target
            for rule in present
            if rule.family == _IPV4 and rule.action == GOTO and rule.prefix_length
        }
        self._taken: dict[int, set[int]] = {}
        for preference in self._blocks.values():
            level = (preference - _SOURCE_ROOT) // _LEVEL_SPAN
            self._taken.setdefault(level, set()).add(preference)
        self._next_free: dict[int, int] = {}

    def rules(self) -> list[Rule]:
        """Return all rules, the one that leads into the tree included."""
        found = [self._entry(is_empty=not self._sorted)]
        if self._sorted:
            self._node(found, _SOURCE_ROOT, 0, self._sorted)
        return found

    def _entry(self, *, is_empty: bool) -> Rule:
        target = _REST if is_empty else _SOURCE_ROOT
        return Rule(_IPV4, _START, GOTO, mask=_ALL_BITS, target=target)

    def add(self, address: bytes, fib: int) -> Change:
        """Take an address in; return what that changes."""
        self._sources[address] = fib
        change = self._branch(address)
        bisect.insort(self._sorted, address)
        return change

    def discard(self, address: bytes) -> Change:
        """Leave an address out; return what that changes."""
        del self._sorted[bisect.bisect_left(self._sorted, address)]
        added, removed = self._branch(address)
        del self._sources[address]
        present = {(rule.source, rule.prefix_length) for rule in removed if rule.action == GOTO}
        for rule in added:
            if rule.action == GOTO and rule.prefix_length:
                node = (rule.source, rule.prefix_length)
                if node not in present:
                    self._release(node)
        return removed, added

    def _branch(self, address: bytes) -> Change:
        """Return what changes with `address`, which is not in the sorted list."""
        if not self._sorted:
            added = {self._entry(is_empty=False), self._end(_SOURCE_ROOT)}
            return added | set(self._leaf(_SOURCE_ROOT, address)), {self._entry(is_empty=True)}
        block, length = _SOURCE_ROOT, 0
        while True:
            group = self._group(address, length + 4)
            if not group:
                return set(self._leaf(block, address)), set()
            first, last = group[0], group[-1]
            shared = _common_nibbles(first, last) * 4
            mine = min(_common_nibbles(first, address) * 4, shared)
            if mine < shared:
                return self._split(block, address, mine, group)
            block, length = self._block_of(_masked(first, shared), shared), shared

    def _split(self, block: int, address: bytes, length: int, group: list[bytes]) -> Change:
        """Return what changes when `address` leaves the way to a group after so many bits."""
        node = self._block_of(_masked(address, length), length)
        added = {
            Rule(_IPV4, block, GOTO, _masked(address, length), length, target=node),
            self._end(node),
            *self._leaf(node, address),
        }
        if len(group) == 1:
            return added | set(self._leaf(node, group[0])), set(self._leaf(block, group[0]))
        way = self._way(block, group)
        return added | {way._replace(preference=node)}, {way}

    def _group(self, address: bytes, length: int) -> list[bytes]:
        """Return the first and the last address that share so many bits with `address`, if any."""
        low = _masked(address, length)
        high = bytes(a | b for a, b in zip(low, _ones(len(address), length), strict=True))
        start = bisect.bisect_left(self._sorted, low)
        end = bisect.bisect_right(self._sorted, high)
        return (
            self._sorted[start:end]
            if end - start < 2
            else [self._sorted[start], self._sorted[end - 1]]
        )

    def _node(self, found: list[Rule], block: int, length: int, addresses: list[bytes]) -> None:
        """Add the rules of a block, and of those that it leads to."""
        found.append(self._end(block))
        for group in _by_nibble(addresses, length // 4):
            if len(group) == 1:
                found += self._leaf(block, group[0])
                continue
            way = self._way(block, group)
            found.append(way)
            self._node(found, way.target, way.prefix_length, group)

    def _way(self, block: int, group: list[bytes]) -> Rule:
        """Return the rule that leads to the block of a sorted group."""
        shared = _common_nibbles(group[0], group[-1]) * 4
        prefix = _masked(group[0], shared)
        target = self._block_of(prefix, shared)
        return Rule(_IPV4, block, GOTO, prefix, shared, target=target)

    def _end(self, block: int) -> Rule:
        return Rule(_IPV4, block + 2, GOTO, target=_REST)

    def _leaf(self, block: int, address: bytes) -> tuple[Rule, Rule]:
        table = TABLE_BASE + self._sources[address]
        return (
            Rule(_IPV4, block, TO_TABLE, address, 32, table=table),
            Rule(_IPV4, block + 1, UNREACHABLE, address, 32),
        )

    def _block_of(self, prefix: bytes, length: int) -> int:
        block = self._blocks.get((prefix, length))
        if block is None:
            level = length // 4
            taken = self._taken.setdefault(level, set())
            # Last first: the place of a new block's rules is near the start of the list.
            block = self._next_free.get(level, _SOURCE_ROOT + (level + 1) * _LEVEL_SPAN - _BLOCK)
            while block in taken:
                block -= _BLOCK
            taken.add(block)
            self._next_free[level] = block - _BLOCK
            self._blocks[prefix, length] = block
        return block

    def _release(self, node: tuple[bytes, int]) -> None:
        block = self._blocks.pop(node)
        level = node[1] // 4
        self._taken[level].discard(block)
        self._next_free[level] = max(block, self._next_free.get(level, block))


@lru_cache(maxsize=512)
def _ones(size: int, length: int) -> bytes:
    """Return an address whose bits after the first `length` are set."""
    return ((1 << (size * 8 - length)) - 1).to_bytes(size, "big")


def _by_nibble(addresses: list[bytes], index: int) -> Iterator[list[bytes]]:
    """Split a sorted list by its nibble number `index`."""
    byte = index >> 1

    def nibble(address: bytes) -> int:
        return address[byte] & 15 if index & 1 else address[byte] >> 4

    return (list(group) for _, group in groupby(addresses, nibble))


def _common_nibbles(first: bytes, last: bytes) -> int:
    """Count the leading nibbles that two addresses share."""
    pairs = zip(first.hex(), last.hex(), strict=True)
    differing = (index for index, (one, other) in enumerate(pairs) if one != other)
    return next(differing, 2 * len(first))


def _masked(address: bytes, length: int) -> bytes:
    keep, half = divmod(length, 8)
    kept = address[:keep]
    if half:
        kept += bytes([address[keep] & 0xF0])
    return kept + bytes(len(address) - len(kept))
