"""Which heavy modules a command imports before its first output: guards what makes it slow."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from testbed.drivers import process
from testbed.lifecycle.store import Store

ROOT = Path(__file__).parents[3]
HEAVY = (
    "docker",
    "jinja2",
    "pydantic",
    "pyroute2",
    "pytest",
    "requests",
    "rich",
    "ruamel",
    "scapy",
)
OF_TYPER = {"pydantic"}  # typer needs it as soon as a verb has options
CALL = f"""
import json, sys
HEAVY = {HEAVY!r}
def found():
    return sorted(name for name in HEAVY if name in sys.modules)
from testbed.cli import main, status
def examined(store, record):
    print(json.dumps(found()))
    raise SystemExit
status._examine = examined
try:
    main.main()
except SystemExit:
    print(json.dumps(found()))
"""


def imported(state: Path, *arguments: str) -> tuple[str, list[str]]:
    """Return what the command printed, and the heavy modules that it had imported by then."""
    done = process.run(
        [sys.executable, "-c", CALL, *arguments], env={"TESTBED_STATE": str(state)}, cwd=ROOT
    )
    lines = done.stdout.splitlines()
    modules = next(line for line in lines if line.startswith("["))
    return lines[0], json.loads(modules)


@pytest.mark.parametrize(
    "arguments",
    [["up", "--help"], ["status"], ["events"], ["upp"]],
)
def test_nothing_heavy_for_help_and_errors(arguments: list[str], tmp_path: Path) -> None:
    assert set(imported(tmp_path, *arguments)[1]) <= OF_TYPER


def test_help_needs_nothing_at_all(tmp_path: Path) -> None:
    assert imported(tmp_path, "--help")[1] == []


def test_first_line_of_status_waits_for_nothing_heavy(tmp_path: Path) -> None:
    Store(tmp_path).create("proposal", ROOT / "topologies/proposal.yaml")
    first, modules = imported(tmp_path, "status")
    assert first.startswith("deployment proposal (")
    assert set(modules) <= OF_TYPER


def test_what_goes_inside_a_deployment_needs_no_docker_library(tmp_path: Path) -> None:
    Store(tmp_path).create("proposal", ROOT / "topologies/proposal.yaml")
    _, modules = imported(tmp_path, "exec", "alpha:clint", "true")
    assert not {"docker", "requests", "rich", "scapy", "pytest"} & set(modules)


def test_first_finding_of_doctor_waits_for_nothing_heavy() -> None:
    script = f"""
import sys
from pathlib import Path
from testbed.cli import doctor
from testbed.lifecycle import preflight
print(next(preflight.examine(Path("/"), Path("/"))).subject)
print([name for name in {HEAVY!r} if name in sys.modules])
"""
    done = process.run([sys.executable, "-c", script], cwd=ROOT)
    assert done.stdout.splitlines() == ["privilege", "[]"]
