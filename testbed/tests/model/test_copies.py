"""`count:` and `mix:`: what copies are called, what they differ in, how large they may get."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.model.load import load_topology, parse_topology
from testbed.model.topology import Topology

TOPOLOGIES = Path(__file__).parents[3] / "topologies"


def read(text: str) -> Topology:
    return parse_topology(text, where="t.yaml", name="t")


@given(st.integers(1, 1200))
@settings(max_examples=20, deadline=None)
def test_names_have_the_digits_of_the_count(count: int) -> None:
    names = list(read(f"tenants: {{a: {{count: {count}}}}}").tenants)
    assert len(names) == count
    assert {len(name) for name in names} == {len(f"a-{count}")}
    assert names[-1] == f"a-{count}"


def test_name_pattern_and_order_among_others() -> None:
    topology = read("tenants: {first: {}, 'n{n:3}-x': {count: 2}, last: {}}")
    assert list(topology.tenants) == ["first", "n001-x", "n002-x", "last"]


def test_placeholders_in_text_keys_and_addresses() -> None:
    topology = read(
        """
tenants:
  a:
    count: 3
    domain: "d{n}.{name}.test"
    users: {"u{n}": "{{{n:4}}}"}
    servers: [{v4: "{10.96.0.250 + 8}", v6: "{fd00:96::1 + 256}"}]
    services: {dns: {records: {"www.{name}.test": ["{10.0.0.1 + 1}"]}}}
"""
    )
    last = topology.tenants["a-3"]
    assert last.domain == "d3.a-3.test"
    assert last.users == {"u3": "{0003}"}
    assert last.servers[0].v4 == IPv4Address("10.96.1.10")
    assert last.servers[0].v6 == IPv6Address("fd00:96::201")
    assert last.services.dns is not None
    assert last.services.dns.records == {"www.a-3.test": (IPv4Address("10.0.0.3"),)}


def test_braces_elsewhere_are_text() -> None:
    assert read("tenants: {a: {users: {ann: '{n}'}}}").tenants["a"].users == {"ann": "{n}"}


def test_mix_goes_by_turns_and_overrides() -> None:
    topology = read(
        """
defaults: {services: {kdc}, users: {ann: x}}
tenants:
  a:
    count: 7
    services: {ldap}
    mix: [{share: 2, services: {dns}}, {users: {bob: "{n}"}}]
"""
    )
    kinds = ["".join(tenant.services.present()) for tenant in topology.tenants.values()]
    assert kinds == ["dns", "dns", "ldap", "dns", "dns", "ldap", "dns"]
    assert topology.tenants["a-6"].users == {"bob": "6"}
    assert topology.tenants["a-7"].users == {"ann": "x"}


@pytest.mark.parametrize(("name", "count"), [("thousand", 1000), ("ten-thousand", 10000)])
def test_topologies_of_size(name: str, count: int) -> None:
    topology = load_topology(TOPOLOGIES / f"{name}.yaml")
    assert len(topology.tenants) == count
    assert topology.starts_on_lease


def test_small_topologies_start_their_services_unless_they_say_otherwise() -> None:
    assert not load_topology(TOPOLOGIES / "proposal.yaml").starts_on_lease
    assert read("{services_start: lease, tenants: {a: {}}}").starts_on_lease
    assert not read("{services_start: up, tenants: {a: {count: 100}}}").starts_on_lease
