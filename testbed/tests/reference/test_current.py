"""The references in docs/reference are what the code says now, and output keeps to its schemas."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from testbed.cli.views import DoctorView, StatusView, UpView, data_of, deployment_view
from testbed.events import Event, Phase
from testbed.lifecycle.check import Verdict
from testbed.lifecycle.drift import Drift
from testbed.lifecycle.history import event_in, fields_of
from testbed.lifecycle.lease import Claim
from testbed.lifecycle.preflight import examine
from testbed.lifecycle.status import PartStatus, ServiceStatus, Status, TenantStatus
from testbed.lifecycle.store import Store
from testbed.plan.resources import FibId
from testbed.reference.output import schemas
from testbed.reference.pages import FOLDER, pages
from testbed.sut.protocol import Capability

ROOT = Path(__file__).parents[3]
STATUS = Status(
    id="abcdef",
    name="proposal",
    parts=(PartStatus("sut", ok=True, detail="runs"),),
    tenants=(
        TenantStatus(
            "alpha", FibId(1), ("10.64.0.1",), (ServiceStatus("dns", "192.168.0.53", "silent"),), ""
        ),
    ),
    leases=(
        Claim(1, 7, "a test", 1.5, whole=False, groups=(("alpha",),), holds=("alpha",)),
        Claim(2, 8, "another", 2.5, whole=True, groups=((),)),
    ),
    drift=(Drift("alpha", "route is missing", "testbed up"),),
    gaps=(Capability("thread FIB", supported=False, reason="no BPF LSM"),),
)


def test_references_are_current() -> None:
    wanted = pages()
    assert {path for path in FOLDER.rglob("*") if path.is_file()} == set(wanted)
    stale = [path.name for path, text in wanted.items() if path.read_text() != text]
    assert not stale, "run: make reference"


def check(schema: str, data: Any) -> None:
    shape = json.loads(schemas()[schema])
    jsonschema.Draft202012Validator.check_schema(shape)
    jsonschema.validate(json.loads(json.dumps(data)), shape)


@pytest.fixture
def record(tmp_path: Path) -> Any:
    return Store(tmp_path).create("proposal", ROOT / "topologies/proposal.yaml")


def test_status_keeps_to_its_schema(record: Any) -> None:
    deployments = (deployment_view(record, STATUS), deployment_view(record, STATUS))
    check("status.1", data_of(StatusView("testbed.status/1", ok=False, deployments=deployments)))


def test_up_keeps_to_its_schema(record: Any) -> None:
    verdicts = (Verdict("alpha", ok=True, detail="accepted"),)
    view = UpView("testbed.up/1", ok=False, deployment=deployment_view(record, STATUS), logins=())
    check("up.1", data_of(view))
    check("up.1", data_of(replace(view, logins=verdicts)))


def test_doctor_keeps_to_its_schema(tmp_path: Path) -> None:
    findings = tuple(examine(tmp_path, tmp_path))
    check("doctor.1", data_of(DoctorView("testbed.doctor/1", ok=True, findings=findings)))


def test_event_keeps_to_its_schema() -> None:
    event = Event(Phase.END, "wire", "alpha", "", 1.5, 2.5)
    check("event.1", fields_of(event))
    assert event_in(json.dumps(fields_of(event))) == event
    assert event_in("wire: alpha") is None
    assert event_in(json.dumps(fields_of(event))[:-20]) is None


def test_schema_tells_wrong_output(record: Any) -> None:
    view = data_of(
        StatusView("testbed.status/1", ok=False, deployments=(deployment_view(record, STATUS),))
    )
    view["deployments"][0]["leases"][0]["pid"] = "7"
    with pytest.raises(jsonschema.ValidationError, match="'7' is not of type 'integer'"):
        check("status.1", view)
