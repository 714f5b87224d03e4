"""The plans of our topologies, in full: a change of a name, an address or a FIB shows here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from testbed.model.load import load_topology
from testbed.plan.build import build_plan
from testbed.plan.daemon import daemon_config
from testbed.plan.fibstate import fib_state
from testbed.plan.identity import parse_deployment_id
from testbed.plan.render import plan_view
from testbed.tests.conftest import Golden

TOPOLOGIES = Path(__file__).parents[3] / "topologies"
GOLDEN = Path(__file__).parents[1] / "golden" / "plan"


@pytest.mark.parametrize("name", ["proposal", "twins"])
def test_plan_is_as_reviewed(name: str, golden: Golden) -> None:
    topology = load_topology(TOPOLOGIES / f"{name}.yaml")
    plan = build_plan(topology, parse_deployment_id("aaaaaa"))
    documents = {
        "": plan_view(plan),
        ".fibs": json.loads(fib_state(plan)),
        ".daemon": json.loads(daemon_config(plan)),
    }
    for suffix, document in documents.items():
        golden(GOLDEN / f"{name}{suffix}.json", json.dumps(document, indent=1) + "\n")
