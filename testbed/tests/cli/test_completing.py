"""Completion as bash asks for it: with its own words, broken at colons."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from testbed.drivers import process
from testbed.lifecycle.store import Store

ROOT = Path(__file__).parents[3]
TESTBED = Path(sys.executable).with_name("testbed")
# What the shell does with a word that the person completes: the real script, in a real bash.
BASH = """
PATH="$1:$PATH"
eval "$(_TESTBED_COMPLETE=source_bash testbed)"
shift
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
_testbed_completion testbed
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def state(tmp_path: Path) -> Path:
    Store(tmp_path).create("proposal", ROOT / "topologies/proposal.yaml")
    return tmp_path


def completed(state: Path, *words: str) -> list[str]:
    argv = ["bash", "-c", BASH, "bash", str(TESTBED.parent), "testbed", *words]
    return process.run(argv, env={"TESTBED_STATE": str(state)}).stdout.split()


@pytest.mark.parametrize(
    ("words", "replies"),
    [
        (("sta",), ["status"]),
        (("down", "pro"), ["proposal"]),
        (("exec", "-n", "p"), ["proposal"]),
        (("exec", "al"), ["alpha:client", "alpha:dns", "alpha:ldap", "alpha:router"]),
        (("exec", "alpha", ":", "cl"), ["client"]),
        (("shell", "bravo", ":"), ["client", "dns", "kdc", "router"]),
        (("logs", "d"), ["daemon", "dockerd"]),
        (("capture", "ch"), ["charlie", "charlie:lan"]),
        (("inspect", "s"), ["sut"]),
        (("exec", "nobody"), []),
    ],
)
def test_bash_is_answered(state: Path, words: tuple[str, ...], replies: list[str]) -> None:
    assert completed(state, *words) == replies


def test_without_deployment_there_is_nothing_to_complete(tmp_path: Path) -> None:
    assert completed(tmp_path, "exec", "a") == []
