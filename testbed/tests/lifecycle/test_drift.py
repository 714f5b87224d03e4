"""Drift: what differs from the plan is told, each with what puts it right; nothing else is."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from testbed.lifecycle.deployment import recorded_topology
from testbed.lifecycle.drift import of_fibs, of_names, of_recipes, of_topology
from testbed.lifecycle.store import Store
from testbed.model.load import load_topology
from testbed.plan.build import build_plan
from testbed.plan.identity import parse_deployment_id

PROPOSAL = Path(__file__).parents[3] / "topologies" / "proposal.yaml"
PLAN = build_plan(load_topology(PROPOSAL), parse_deployment_id("abcdef"))


@pytest.fixture
def shown() -> dict[str, Any]:
    """Return what `fibctl show` tells where all is as planned."""
    return {
        "interface": PLAN.sut.interface,
        "default_fib": PLAN.sut.default_fib,
        "broken": [],
        "missing_programs": [],
        "unknown_addresses": [],
        "fibs": [
            {
                "id": fib.fib,
                "name": fib.name,
                "addresses": [str(address) for address in fib.addresses],
                "routes": [
                    {"to": str(route.to), **({"via": str(route.via)} if route.via else {})}
                    for route in fib.routes
                ],
            }
            for fib in PLAN.sut.fibs
        ],
    }


def told(shown: dict[str, Any]) -> list[str]:
    return [f"{drift.subject}: {drift.found}" for drift in of_fibs(PLAN, shown)]


def test_nothing_is_told_where_all_is_as_planned(shown: dict[str, Any]) -> None:
    assert told(shown) == []


def test_each_difference_of_a_fib_is_told(shown: dict[str, Any]) -> None:
    changed = copy.deepcopy(shown)
    changed["fibs"][0]["addresses"].remove("10.64.0.1/29")
    changed["fibs"][1]["routes"].append({"to": "192.0.2.0/24", "via": "10.64.0.14"})
    changed["fibs"][2]["id"] = 9
    changed["default_fib"] = 0
    changed["broken"] = ["egress-guard"]
    changed["unknown_addresses"] = ["10.64.0.77"]
    assert told(changed) == [
        "sut: the interface's FIB is 0, not 3",
        "sut: egress-guard is broken on purpose",
        "sut: 10.64.0.77 is an address of no FIB",
        "alpha: address 10.64.0.1/29 is missing",
        "bravo: route 192.0.2.0/24 via 10.64.0.14 is not planned",
        "charlie: FIB 3 is missing",
        "charlie: FIB 9 is not planned",
    ]


def test_file_that_has_changed_is_told_and_how_it_takes_effect(tmp_path: Path) -> None:
    file, store = tmp_path / "t.yaml", Store(tmp_path / "state")
    file.write_text("tenants: {a: {}}\n")
    record = store.create("other", file)
    recorded = recorded_topology(store, record)
    assert list(of_topology(record, recorded)) == []
    file.write_text("tenants: {a: {}, b: {}}\n")
    (drift,) = of_topology(record, recorded)
    assert drift.mend == f"testbed up {file} --name other (replaces the deployment)"
    file.write_text("tenants: {a: {colour: red}}\n")
    (drift,) = of_topology(record, recorded)
    assert "is wrong now" in drift.found
    file.unlink()
    assert list(of_topology(record, recorded)) == []


def test_what_carries_the_id_and_is_not_planned_is_told() -> None:
    (drift,) = of_names("containers", ["a", "b"], ["b", "c"])
    assert drift.found == "c is not planned"


def test_container_of_an_older_recipe_is_told() -> None:
    (drift,) = of_recipes({"a": "1", "b": "2", "c": "3"}, {"a": "1", "b": "old"})
    assert (drift.subject, drift.mend) == ("b", "testbed up")
