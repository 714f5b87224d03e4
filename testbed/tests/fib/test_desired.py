from __future__ import annotations

import socket
import struct
from functools import partial

from testbed.fib import bpfmap
from testbed.fib.desired import ANCHOR_IPV4, ANCHOR_IPV6, build_desired, map_key
from testbed.fib.document import parse_document
from testbed.fib.entries import LOCAL
from testbed.fib.rules import TABLE_BASE
from testbed.tests.fib.test_document import document, fib

INDEX = 3


def packed(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def test_every_table_has_local_routes_of_its_own_addresses_and_of_no_others() -> None:
    desired = build_desired(parse_document(document()), INDEX)
    for number in (1, 2):
        local = {
            route.destination
            for route in desired.routes
            if route.kind == LOCAL and route.table == TABLE_BASE + number
        }
        assert local == {packed(f"10.64.0.{8 * number + 1}"), packed(f"fd00:64:0:{number}::1")}


def test_routes_prefer_the_first_address_of_their_family() -> None:
    addresses = ["10.64.0.12/29", "10.64.0.9/29"]
    desired = build_desired(parse_document(document(fib(1, addresses=addresses))), INDEX)
    assert {route.source for route in desired.routes if route.kind != LOCAL} == {
        packed("10.64.0.12")
    }


def test_unassigned_addresses_follow_the_interface() -> None:
    stranger = packed("10.64.255.1")
    for default in (0, 2):
        parsed = parse_document(document(unassigned=["10.64.255.1/32"], default_fib=default))
        desired = build_desired(parsed, INDEX)
        assert desired.maps.addresses[map_key(stranger)] == struct.pack("=I", bpfmap.OF_INTERFACE)
        tables = {route.table for route in desired.routes if route.destination == stranger}
        assert tables == ({TABLE_BASE + 2} if default else set())


def test_anchors_are_in_no_fib() -> None:
    desired = build_desired(parse_document(document(default_fib=1)), INDEX)
    for anchor in (ANCHOR_IPV4, ANCHOR_IPV6):
        assert desired.maps.addresses[map_key(anchor.address)] == bytes(4)
    assert ANCHOR_IPV4 in desired.addresses


def test_tenants_ipv6_addresses_are_never_chosen_for_fib_0() -> None:
    parsed = parse_document(document(unassigned=["fd00:99::1/128"], default_fib=0))
    deprecated = {
        entry.address: entry.is_deprecated
        for entry in build_desired(parsed, INDEX).addresses
        if entry.family == socket.AF_INET6
    }
    assert deprecated == {
        packed("fd00:64:0:1::1"): True,
        packed("fd00:64:0:2::1"): True,
        packed("fd00:99::1"): False,
    }


def test_routers_are_known_by_fib_and_as_such() -> None:
    desired = build_desired(parse_document(document()), INDEX)
    mac = bytes.fromhex("02fb00000001")
    assert struct.pack("=I6sxx", 1, mac) in desired.maps.routers
    assert struct.pack("=I6sxx", bpfmap.OF_INTERFACE, mac) in desired.maps.routers
    assert struct.pack("=I6sxx", 2, mac) not in desired.maps.routers


def test_a_fib_without_ipv6_has_no_rule_of_ipv6_by_its_mark() -> None:
    other = partial(fib, 20, neighbours=[])
    single = other(addresses=["10.64.0.161/29"])
    for fibs, families in (
        ([fib(1), single], {socket.AF_INET}),
        ([fib(1), other()], {socket.AF_INET, socket.AF_INET6}),
    ):
        rules = build_desired(parse_document(document(*fibs)), INDEX).rules
        assert {rule.family for rule in rules if rule.table == TABLE_BASE + 20} == families
