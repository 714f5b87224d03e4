from __future__ import annotations

import socket
from collections.abc import Mapping

from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.fib.entries import GOTO, TO_TABLE, UNREACHABLE, Rule
from testbed.fib.rules import ENTRY, TABLE_BASE, SourceTree, build_rules, building_order

FAMILIES: dict[int, int] = {socket.AF_INET: 4, socket.AF_INET6: 16}
FIB_0 = [255, 254, 253]


def visited(rules: set[Rule], *, mark: int, source: bytes) -> list[int]:
    """Tables the kernel looks into, in order, when none of them has a route; ends at unreachable."""
    ordered = sorted(rules, key=lambda rule: rule.preference)
    tables: list[int] = []
    start = 0
    for rule in ordered:
        if rule.preference < start or not matches(rule, mark, source):
            continue
        if rule.action == UNREACHABLE:
            return tables
        if rule.action == GOTO:
            assert rule.target > rule.preference
            assert any(other.preference == rule.target for other in rules)
            start = rule.target
        elif rule.action == TO_TABLE:
            tables.append(rule.table)
    return tables


def matches(rule: Rule, mark: int, source: bytes) -> bool:
    if (mark ^ rule.mark) & rule.mask:
        return False
    shift = len(source) * 8 - rule.prefix_length
    if not rule.prefix_length:
        return True
    return int.from_bytes(source, "big") >> shift == int.from_bytes(rule.source, "big") >> shift


@st.composite
def configurations(draw: st.DrawFn) -> tuple[int, set[int], dict[bytes, int]]:
    family = draw(st.sampled_from(list(FAMILIES)))
    fibs = draw(st.sets(st.integers(1, 65535), min_size=1, max_size=40))
    # Few leading and trailing values: addresses that share long prefixes are the hard case.
    size = FAMILIES[family]
    head = st.sampled_from(
        [bytes(size - 2), b"\x0a" * (size - 2), b"\xfd\x0a" + b"\x0a" * (size - 4)]
    )
    address = st.builds(lambda a, b: a + b, head, st.binary(min_size=2, max_size=2))
    sources = draw(st.dictionaries(address, st.sampled_from(sorted(fibs)), max_size=60))
    return family, fibs, sources


def check(family: int, rules: set[Rule], fibs: set[int], sources: Mapping[bytes, int]) -> None:
    nowhere = bytes(FAMILIES[family])
    for fib in fibs:
        for source in (nowhere, *sources):
            assert visited(rules, mark=fib, source=source) == [TABLE_BASE + fib]
    for source, fib in sources.items():
        assert visited(rules, mark=0, source=source) == [TABLE_BASE + fib]
    for mark in ({1, 2, 16, 17, 4096, 65535} - fibs) | {
        65536,
        1 << 31,
        65536 + min(fibs, default=1),
    }:
        assert visited(rules, mark=mark, source=nowhere) == []
    stranger = b"\xee" * FAMILIES[family]
    expected = FIB_0 if family == socket.AF_INET else FIB_0[:2]
    assert visited(rules, mark=0, source=stranger) == expected
    assert visited(rules, mark=0, source=nowhere) == (
        expected if nowhere not in sources else [TABLE_BASE + sources[nowhere]]
    )


@settings(max_examples=60, deadline=None)
@given(configurations())
def test_every_mark_and_source_finds_its_table_and_no_other(
    configuration: tuple[int, set[int], dict[bytes, int]],
) -> None:
    family, fibs, sources = configuration
    check(family, build_rules(family, fibs, sources), fibs, sources)


@settings(max_examples=60, deadline=None)
@given(configurations(), st.data())
def test_change_keeps_the_blocks_and_both_states_hold_while_it_is_made(
    configuration: tuple[int, set[int], dict[bytes, int]], data: st.DataObject
) -> None:
    family, fibs, sources = configuration
    kept = data.draw(st.sets(st.sampled_from(sorted(sources)), max_size=60)) if sources else set()
    before = {source: sources[source] for source in kept}
    old = build_rules(family, fibs, before)
    new = build_rules(family, fibs, sources, old)
    check(family, new, fibs, sources)
    # All additions are made before the first removal: what was right stays right.
    for source, fib in before.items():
        assert set(visited(old | new, mark=0, source=source)) == {TABLE_BASE + fib}
    assert build_rules(family, fibs, sources, new) == new


def test_few_rules_are_passed_for_thousands_of_fibs() -> None:
    sources = {(0x0A400001 + 8 * k).to_bytes(4, "big"): k for k in range(1, 4001)}
    rules = build_rules(socket.AF_INET, range(1, 4001), sources)
    assert len(rules) < 5 * 4000
    by_preference: dict[int, int] = {}
    for rule in rules:
        by_preference[rule.preference] = by_preference.get(rule.preference, 0) + 1
    assert max(by_preference.values()) <= 16
    assert min(by_preference) == ENTRY


@settings(max_examples=60, deadline=None)
@given(configurations(), st.data())
def test_no_packet_goes_astray_while_rules_are_added(
    configuration: tuple[int, set[int], dict[bytes, int]], data: st.DataObject
) -> None:
    family, fibs, sources = configuration
    kept = data.draw(st.sets(st.sampled_from(sorted(sources)), max_size=60)) if sources else set()
    before = {source: sources[source] for source in kept}
    old = build_rules(family, fibs, before)
    new = building_order(build_rules(family, fibs, sources, old) - old)
    done = data.draw(st.integers(0, len(new)))
    present = old | set(new[:done])
    for source, fib in before.items():
        assert set(visited(present, mark=0, source=source)) == {TABLE_BASE + fib}
    for fib in fibs:
        assert visited(present, mark=fib, source=bytes(FAMILIES[family])) == [TABLE_BASE + fib]


@settings(max_examples=100, deadline=None)
@given(configurations(), st.data())
def test_one_address_at_a_time_comes_to_the_same_tree(
    configuration: tuple[int, set[int], dict[bytes, int]], data: st.DataObject
) -> None:
    family, fibs, sources = configuration
    kept = data.draw(st.sets(st.sampled_from(sorted(sources)), max_size=60)) if sources else set()
    before = {source: sources[source] for source in kept}
    rules = build_rules(family, fibs, before)
    tree = SourceTree(family, before, rules)
    present = dict(before)
    for source in data.draw(st.permutations(sorted(sources))):
        if source in present:
            del present[source]
            added, removed = tree.discard(source)
        else:
            present[source] = sources[source]
            added, removed = tree.add(source, sources[source])
        assert removed <= rules
        assert not added & rules
        # What is added comes first: others find their table all the while.
        for other in set(present) - {source}:
            assert set(visited(rules | added, mark=0, source=other)) == {
                TABLE_BASE + sources[other]
            }
        rules = (rules | added) - removed
        assert rules == build_rules(family, fibs, present, rules)
    check(family, rules, fibs, present)
