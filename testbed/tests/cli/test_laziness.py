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
OF_STEPS = OF_TYPER | {"rich"}
OF_TOPOLOGIES = OF_TYPER | {"ruamel"}
# The command ends with its first output: nothing is made or removed that comes later.
CALL = f"""
import io, json, os, sys
class First(io.TextIOWrapper):
    def write(self, text):
        super().write(text)  # which takes no bytes, as typer tries
        if text:
            found = [name for name in {HEAVY!r} if name in sys.modules]
            os.write(3, json.dumps([text, found]).encode())
            os._exit(0)
sys.stdout, sys.stderr = First(sys.stdout.detach()), First(sys.stderr.detach())
from testbed.cli import main
main.main()
"""


def first_output(state: Path, *arguments: str) -> tuple[str, set[str]]:
    """Return the first that the command printed, and the heavy modules that it had by then."""
    told = state.parent / "told"
    argv = ["sh", "-c", 'exec "$0" "$@" 3>"$TOLD"', sys.executable, "-c", CALL, *arguments]
    process.run(argv, env={"TESTBED_STATE": str(state), "TOLD": str(told)}, cwd=ROOT)
    text, modules = json.loads(told.read_text())
    return text, set(modules)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Return a folder of records with one deployment, of which nothing else exists."""
    Store(tmp_path / "state").create("proposal", ROOT / "topologies/proposal.yaml")
    return tmp_path / "state"


def test_help_needs_nothing_at_all(state: Path) -> None:
    assert first_output(state, "--help")[1] == set()


@pytest.mark.parametrize(
    ("arguments", "told", "allowed"),
    [
        ("up --help", "Usage: ", OF_TYPER),
        ("upp", "error: No such command", OF_TYPER),
        ("status", "deployment proposal (", OF_TYPER),
        ("events nobody", "error: nobody: no such deployment", OF_TYPER),
        ("up nowhere.yaml", "· bring up: nowhere.yaml", OF_STEPS),
        ("down nobody", "· nothing to remove", OF_STEPS),
        ("down", "· remove: proposal (", OF_STEPS),
        ("doctor", "✔", OF_STEPS),
        ("exec alpha:clint true", "error: alpha:clint: no such part", OF_TOPOLOGIES),
        ("shell nobody:client", "error: nobody: no such tenant", OF_TOPOLOGIES),
        ("logs sut", "error: there is no log of 'sut'", OF_TOPOLOGIES),
        ("capture alpha:x", "error: alpha:x: no frames", OF_TOPOLOGIES),
        ("inspect alpha", "tenant            alpha", OF_TOPOLOGIES),
        ("inspect sut", "system under test", OF_TOPOLOGIES),
        ("graph", "SUT eth0", OF_TOPOLOGIES),
        ("replay README.md", "error: README.md: cannot read it", OF_TOPOLOGIES),
        ("plan -f json", "{", OF_TOPOLOGIES),
        ("plan", "", OF_TOPOLOGIES | OF_STEPS),
    ],
)
def test_first_output_waits_for_nothing_heavy(
    arguments: str, told: str, allowed: set[str], state: Path
) -> None:
    text, modules = first_output(state, *arguments.split())
    assert text.startswith(told)
    assert modules <= allowed
