"""What is told of a part that cannot be asked: not that it is gone."""

from __future__ import annotations

from pathlib import Path

from testbed.lifecycle import status
from testbed.model.load import load_topology
from testbed.plan.build import build_plan
from testbed.plan.identity import parse_deployment_id

PROPOSAL = Path(__file__).parents[3] / "topologies" / "proposal.yaml"
TENANT = build_plan(load_topology(PROPOSAL), parse_deployment_id("abcdef")).tenants[0]


def test_services_are_not_said_to_be_missing_when_docker_cannot_be_asked() -> None:
    told = status._tenant(None, TENANT, {}, is_wired=True, is_idle=False)
    assert {one.problem for one in told.services} == {"not known without a Docker daemon"}
    assert not told.ok


def test_services_that_start_on_lease_have_no_problem_before() -> None:
    told = status._tenant(None, TENANT, {}, is_wired=True, is_idle=True)
    assert told.ok
    assert not status._tenant(None, TENANT, {}, is_wired=False, is_idle=True).ok
