from __future__ import annotations

import socket
from collections.abc import Mapping

from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.fib.entries import GOTO, NOTHING, TO_TABLE, UNREACHABLE, Rule
from testbed.fib.rules import (
    ENTRY,
    SOURCE_TABLE,
    TABLE_BASE,
    SourceTree,
    build_rules,
    building_order,
    mark_blocks,
    removal_order,
)

FAMILIES: dict[int, int] = {socket.AF_INET: 4, socket.AF_INET6: 16}
FIB_0: dict[int, list[int]] = {
    socket.AF_INET: [255, 254, 253],
    socket.AF_INET6: [SOURCE_TABLE, 255, 254],
}


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
def configurations(
    draw: st.DrawFn, families: tuple[int, ...] = tuple(FAMILIES)
) -> tuple[int, set[int], dict[bytes, int]]:
    family = draw(st.sampled_from(families))
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
        assert visited(rules, mark=0, source=source) == by_source(family, fib)
    for mark in {1, 2, 16, 17, 4096, 65535} - fibs:  # of a number to spare: an empty table
        assert visited(rules, mark=mark, source=nowhere) in ([], [TABLE_BASE + mark])
    for mark in (65536, 1 << 31, 65536 + min(fibs, default=1)):
        assert visited(rules, mark=mark, source=nowhere) == []
    stranger = b"\xee" * FAMILIES[family]
    assert visited(rules, mark=0, source=stranger) == FIB_0[family]
    assert visited(rules, mark=0, source=nowhere) == (
        FIB_0[family] if nowhere not in sources else by_source(family, sources[nowhere])
    )


def by_source(family: int, fib: int) -> list[int]:
    """Tables for a packet without mark from an address of `fib`: IPv6 has one for all."""
    return [TABLE_BASE + fib] if family == socket.AF_INET else FIB_0[family]


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
        assert set(visited(old | new, mark=0, source=source)) == set(by_source(family, fib))
    assert build_rules(family, fibs, sources, new) == new


def test_few_rules_are_passed_for_thousands_of_fibs() -> None:
    sources = {(0x0A400001 + 8 * k).to_bytes(4, "big"): k for k in range(1, 4001)}
    rules = build_rules(socket.AF_INET, range(1, 4001), sources)
    assert len(rules) < 5 * 4000
    by_preference: dict[int, int] = {}
    for rule in rules:
        by_preference[rule.preference] = by_preference.get(rule.preference, 0) + 1
    assert max(by_preference.values()) <= 16
    del by_preference[0]
    assert min(by_preference) == ENTRY


def test_every_rule_finds_its_target_when_it_is_added_and_its_place_at_the_start() -> None:
    """What makes the kernel's own work linear: fib_nl_newrule walks from the head to both."""
    sources = {(0x0A400001 + 8 * k).to_bytes(4, "big"): k for k in range(1, 4001)}
    for family in FAMILIES:
        rules = building_order(build_rules(family, range(1, 4001), sources))
        assert rules[0].action == NOTHING
        seen = {0}
        lower = 0
        for number, rule in enumerate(rules[1:]):
            assert rule.target in seen, rule
            seen.add(rule.preference)
            lower += rule.preference > rules[number].preference
            assert lower < 8
        ends = [rule.action == UNREACHABLE for rule in rules]
        first = ends.index(True)
        assert family == socket.AF_INET or all(ends[first : first + sum(ends)])


def test_last_goto_goes_before_what_is_no_goto() -> None:
    rules = removal_order(build_rules(socket.AF_INET, range(1, 100), {}))
    assert [rule.action == GOTO for rule in rules] == sorted(
        (rule.action == GOTO for rule in rules), reverse=True
    )
    assert rules[0].preference == ENTRY


def test_numbers_to_spare_come_with_every_sixteenth_fib_and_stay() -> None:
    assert mark_blocks([1], set()) == {0}
    assert mark_blocks([15, 16], {0, 7}) == {0, 1, 7}
    assert mark_blocks(range(1, 4001), set()) == set(range(266))
    assert mark_blocks(range(1, 4001), set(range(251))) == set(range(251))
    assert mark_blocks([65535], set()) == {4095}
    assert mark_blocks([], {3}) == {3}
    rules = build_rules(socket.AF_INET6, [5], {})
    assert build_rules(socket.AF_INET6, [], {}, rules) == rules
    assert visited(rules, mark=6, source=bytes(16)) == [TABLE_BASE + 6]


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
        assert set(visited(present, mark=0, source=source)) == set(by_source(family, fib))
    for fib in fibs:
        assert visited(present, mark=fib, source=bytes(FAMILIES[family])) == [TABLE_BASE + fib]


@settings(max_examples=60, deadline=None)
@given(configurations(), st.data())
def test_building_and_removing_all_is_safe_at_every_moment(
    configuration: tuple[int, set[int], dict[bytes, int]], data: st.DataObject
) -> None:
    family, fibs, sources = configuration
    rules = build_rules(family, fibs, sources)
    steps = data.draw(st.sampled_from([building_order(rules), removal_order(rules)[::-1]]))
    present = set(steps[: data.draw(st.integers(0, len(steps)))])
    if not any(rule.preference == ENTRY for rule in present):
        return  # as the system is without the extensions: nobody enters
    for fib in fibs:
        for source in (bytes(FAMILIES[family]), *sources):
            assert visited(present, mark=fib, source=source) in ([], [TABLE_BASE + fib])
    for source, fib in sources.items():
        assert set(visited(present, mark=0, source=source)) <= {
            *by_source(family, fib),
            *FIB_0[family],
        }


@settings(max_examples=100, deadline=None)
@given(configurations((socket.AF_INET,)), st.data())
def test_one_address_at_a_time_comes_to_the_same_tree(
    configuration: tuple[int, set[int], dict[bytes, int]], data: st.DataObject
) -> None:
    family, fibs, sources = configuration
    kept = data.draw(st.sets(st.sampled_from(sorted(sources)), max_size=60)) if sources else set()
    before = {source: sources[source] for source in kept}
    rules = build_rules(family, fibs, before)
    tree = SourceTree(before, rules)
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
