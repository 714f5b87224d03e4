from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.model.load import load_topology, parse_topology
from testbed.model.part import part_of
from testbed.model.topology import Topology
from testbed.plan.build import build_plan
from testbed.plan.identity import parse_deployment_id
from testbed.tests.conftest import Golden
from testbed.tests.plan.topologies import topologies

ROOT = Path(__file__).parents[3]
GOLDEN = Path(__file__).parents[1] / "golden" / "part"
ID = parse_deployment_id("aaaaaa")


def reread(text: str) -> Topology:
    return parse_topology(text, where="part.yaml", name="other")


def test_part_is_as_reviewed(golden: Golden) -> None:
    whole = load_topology(ROOT / "topologies" / "proposal.yaml")
    golden(GOLDEN / "bravo.yaml", part_of(whole, ["bravo"], name="part"))


def test_fib_of_a_tenant_decides_over_its_place_and_its_addresses_follow() -> None:
    plan = build_plan(reread("tenants: {a: {fib: 7}, b: {}}"), ID)
    assert [tenant.fib for tenant in plan.tenants] == [7, 2]
    assert [str(t.server_addresses[0].ip) for t in plan.tenants] == ["10.64.0.49", "10.64.0.9"]


@given(topologies(), st.data())
def test_tenants_of_a_part_are_those_of_the_whole(whole: Topology, data: st.DataObject) -> None:
    names = data.draw(st.lists(st.sampled_from(list(whole.tenants)), min_size=1, unique=True))
    plan = build_plan(whole, ID)
    part = build_plan(reread(part_of(whole, names, name="part")), ID)
    kept = [t for t in plan.tenants if t.name in {*names, whole.sut.interface_fib}]
    assert list(part.tenants) == kept
    assert part.sut.default_fib == plan.sut.default_fib
    assert list(part.sut.fibs) == [f for f in plan.sut.fibs if f.fib in {t.fib for t in kept}]


def test_large_topology_has_small_parts() -> None:
    whole = load_topology(ROOT / "topologies" / "thousand.yaml")
    part = reread(part_of(whole, ["customer-0777", "customer-0005"], name="part"))
    assert [(index, name) for index, name, _ in part.numbered()] == [
        (5, "customer-0005"),
        (777, "customer-0777"),
    ]
    assert part.starts_on_lease


def test_stranger_is_told() -> None:
    with pytest.raises(KeyError, match="nobody"):
        part_of(reread("tenants: {a: {}}"), ["nobody"], name="part")
