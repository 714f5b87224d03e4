"""The policy rules: which table a packet or socket is looked up in, in O(log n) steps.

    10          everything -> 1000000          (so no rule of the system's comes in between)
    1000000     mark 0 -> 2000000
    1000100...  tree by mark, 4 bits a level   (leaf: table of the FIB; unknown mark: unreachable)
    2000000...  tree by source address          (leaf: table of its FIB, then unreachable)
    200000000   local, main, default            (FIB 0 alone: P1)

`goto` only leads to a higher preference. Rules of one preference form a block that is entered
at its first rule; what ends a block has the next preference, because a rule added later comes
after the others of its preference. The source tree is path-compressed; which block a prefix has
is read back from the kernel, so a change touches only the rules around the changed address.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from .netlink import GOTO, TO_TABLE, UNREACHABLE, Rule

TABLE_BASE: Final = 100_000
"""Table of FIB k is TABLE_BASE + k: above 65,535 and spread over the kernel's 256 buckets."""

ENTRY: Final = 10
_START = 1_000_000
_MARK_ROOT = 1_000_100
_MARK_LEVELS = ((12, 0xFFFFF000, 1_001_000), (8, 0xFFFFFF00, 1_002_000), (4, 0xFFFFFFF0, 1_010_000))
_SOURCE_ROOT = 2_000_000
_LEVEL_SPAN = 4_000_000
_BLOCK = 3  # leaves and gotos, unreachables, end of the block
_REST: Final = 200_000_000
_LOCAL_TABLE, _MAIN_TABLE, _DEFAULT_TABLE = 255, 254, 253
_ALL_BITS = 0xFFFFFFFF

Blocks = dict[tuple[bytes, int], int]
"""Prefix and length of a node of the source tree -> preference of its block."""


def stock_local_rule(family: int) -> Rule:
    """Return the kernel's own first rule, which must go (P1) and come back on detach."""
    return Rule(family, 0, TO_TABLE, table=_LOCAL_TABLE)


def source_bypass_rule(family: int) -> Rule:
    """Return a rule by which a packet without mark misses the source tree: a defect."""
    return Rule(family, 1, GOTO, mask=_ALL_BITS, target=_REST)


def build_rules(
    family: int, fibs: Iterable[int], sources: Mapping[bytes, int], present: Iterable[Rule] = ()
) -> set[Rule]:
    """Return all rules of a family for the FIBs and the addresses (packed) that belong to them."""
    blocks = {
        (rule.source, rule.prefix_length): rule.target
        for rule in present
        if rule.family == family and rule.action == GOTO and rule.prefix_length
    }
    rules = {
        Rule(family, ENTRY, GOTO, target=_START),
        Rule(family, _START, GOTO, mask=_ALL_BITS, target=_SOURCE_ROOT if sources else _REST),
        Rule(family, _REST, TO_TABLE, table=_LOCAL_TABLE),
        Rule(family, _REST + 1, TO_TABLE, table=_MAIN_TABLE),
    }
    if family == socket.AF_INET:  # IPv6 has no default table
        rules.add(Rule(family, _REST + 2, TO_TABLE, table=_DEFAULT_TABLE))
    rules.update(_mark_tree(family, fibs))
    if sources:
        rules.update(_SourceTree(family, sources, blocks).rules())
    return rules


def _mark_tree(family: int, fibs: Iterable[int]) -> Iterator[Rule]:
    yield Rule(family, _MARK_ROOT + 1, UNREACHABLE)
    for fib in fibs:
        block = _MARK_ROOT
        for shift, mask, base in _MARK_LEVELS:
            child = base + 2 * (fib >> shift)
            prefix = fib >> shift << shift
            yield Rule(family, block, GOTO, mark=prefix, mask=mask, target=child)
            yield Rule(family, child + 1, UNREACHABLE)
            block = child
        yield Rule(family, block, TO_TABLE, mark=fib, mask=_ALL_BITS, table=TABLE_BASE + fib)


class _SourceTree:
    """Builds the tree over packed addresses; keeps the blocks that the kernel already has."""

    def __init__(self, family: int, sources: Mapping[bytes, int], blocks: Blocks) -> None:
        self._family = family
        self._sources = sources
        self._bits = 32 if family == socket.AF_INET else 128
        self._blocks = blocks
        self._taken: dict[int, set[int]] = {}
        for preference in blocks.values():
            level = (preference - _SOURCE_ROOT) // _LEVEL_SPAN
            self._taken.setdefault(level, set()).add(preference)
        self._next_free: dict[int, int] = {}

    def rules(self) -> Iterator[Rule]:
        return self._node(_SOURCE_ROOT, 0, sorted(self._sources))

    def _node(self, block: int, length: int, addresses: list[bytes]) -> Iterator[Rule]:
        yield Rule(self._family, block + 2, GOTO, target=_REST)
        for group in _by_nibble(addresses, length // 4):
            if len(group) == 1:
                yield from self._leaf(block, group[0])
                continue
            shared = _common_nibbles(group[0], group[-1]) * 4
            prefix = _masked(group[0], shared)
            child = self._block_of(prefix, shared)
            yield Rule(self._family, block, GOTO, prefix, shared, target=child)
            yield from self._node(child, shared, group)

    def _leaf(self, block: int, address: bytes) -> Iterator[Rule]:
        table = TABLE_BASE + self._sources[address]
        yield Rule(self._family, block, TO_TABLE, address, self._bits, table=table)
        yield Rule(self._family, block + 1, UNREACHABLE, address, self._bits)

    def _block_of(self, prefix: bytes, length: int) -> int:
        block = self._blocks.get((prefix, length))
        if block is None:
            level = length // 4
            taken = self._taken.setdefault(level, set())
            block = self._next_free.get(level, _SOURCE_ROOT + level * _LEVEL_SPAN)
            while block in taken:
                block += _BLOCK
            taken.add(block)
            self._next_free[level] = block + _BLOCK
            self._blocks[prefix, length] = block
        return block


def _nibble(address: bytes, index: int) -> int:
    byte = address[index >> 1]
    return byte & 15 if index & 1 else byte >> 4


def _by_nibble(addresses: list[bytes], index: int) -> Iterator[list[bytes]]:
    """Split a sorted list by its nibble number `index`."""
    start = 0
    for end in range(1, len(addresses) + 1):
        if end == len(addresses) or _nibble(addresses[end], index) != _nibble(
            addresses[start], index
        ):
            yield addresses[start:end]
            start = end


def _common_nibbles(first: bytes, last: bytes) -> int:
    """Count the leading nibbles that two different addresses share."""
    pairs = zip(first.hex(), last.hex(), strict=True)
    return next(index for index, (one, other) in enumerate(pairs) if one != other)


def _masked(address: bytes, length: int) -> bytes:
    keep, half = divmod(length, 8)
    kept = address[:keep]
    if half:
        kept += bytes([address[keep] & 0xF0])
    return kept + bytes(len(address) - len(kept))
