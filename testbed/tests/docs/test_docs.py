"""Every command that the README and docs/ show is run: here those that need no deployment.

A fenced block says by its info string who runs it: `sh` this test, `sh deployment` the scenario
scenarios/docs, `sh elsewhere` whatever COVERED names.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.drivers import process

ROOT = Path(__file__).parents[3]
SHOWN = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
PAGES = (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("to*/README.md"))
BLOCK = re.compile(r"^```(\w+)?([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
KINDS = ("", "deployment", "elsewhere")
COMMANDS = r"testbed|make|pytest|python3?|\.venv/bin|fibctl|tenant-request|ssh|docker|sudo|cd"
# What runs a command that no test of the docs can run, by the command's beginning.
COVERED = {
    "make testbed-up": "README's own check: the first command of every new clone",
    "make testbed-down": "the same",
    "make test": ".ci/run",
    "make clean": "testbed clean --cache, by hand: it would take everybody's images",
    "make setup": "make test",
    "make mutants": "by hand, for hours; testbed/tests/mutants shows that each can be made",
    "make conformance": "scenarios/conformance runs the same suite",
    "testbed up": "scenarios/resilience",
    "testbed down": "scenarios/resilience",
    ".venv/bin/testbed down": "the same",
    "testbed status": "scenarios/docs",
    "testbed shell": "testbed exec, which differs by the command alone",
    ".venv/bin/testbed replay": "testbed/tests/lifecycle/test_replay.py, and by hand with --shell",
    "ssh -p": "the user's own machine",
    "ssh -F": "testbed exec sut, in all scenarios",
    "cd /opt/fib && python3 -m fib.services.tenantd": "testbed/lifecycle/daemon.py, at each `up`",
    "tar -xzOf": "testbed/tests/lifecycle/test_bundle.py",
    ".venv/bin/python -m pytest": "make test",
    "TESTBED_KILLS=": "scenarios/resilience, which kills less often by itself",
    "TESTBED_SOAK=": "by hand: it is as long as it says",
    ".venv/bin/python -m testbed.lifecycle.inventory": "scenarios/resilience",
    "diff before after": "the same",
}


def blocks(path: Path) -> Iterator[tuple[str, str, str]]:
    for found in BLOCK.finditer(path.read_text(encoding="utf-8")):
        yield found[1] or "", found[2].strip(), found[3]


def of_kind(kind: str) -> list[object]:
    return [
        pytest.param(text, id=f"{path.stem}-{number}")
        for path in SHOWN
        for number, (language, words, text) in enumerate(blocks(path))
        if language == "sh" and words == kind
    ]


def clone_in(folder: Path) -> Path:
    """Return a folder that looks like the clone; files that commands make do not get into it."""
    for entry in ROOT.iterdir():
        (folder / entry.name).symlink_to(entry)
    return folder


@pytest.mark.parametrize("text", of_kind(""))
def test_command_works_as_shown(text: str, tmp_path: Path) -> None:
    (tmp_path / "clone").mkdir()
    folder = clone_in(tmp_path / "clone")
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "TESTBED_STATE": str(tmp_path / "state"),
    }
    process.run(["bash", "-euo", "pipefail", "-c", text], cwd=folder, env=environment)


@pytest.mark.parametrize("path", SHOWN, ids=lambda path: path.stem)
def test_every_block_says_who_runs_it(path: Path) -> None:
    for language, words, text in blocks(path):
        assert language != "bash", "blocks of commands are `sh`"
        if language == "sh":
            assert words in KINDS
        if words == "elsewhere":
            for line in text.splitlines():
                assert any(line.startswith(known) for known in COVERED), line


@pytest.mark.parametrize("path", SHOWN, ids=lambda path: path.stem)
def test_no_command_hides_in_an_indented_block(path: Path) -> None:
    plain = BLOCK.sub("", path.read_text(encoding="utf-8"))
    assert not re.findall(rf"^    (?:\w+=\S+ )*(?:{COMMANDS})\b.*", plain, re.MULTILINE)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), target


def test_named_files_exist() -> None:
    for path in SHOWN:
        for name in re.findall(r"`((?:testbed|docs|scenarios)/[\w./]+\.\w+)`", path.read_text()):
            assert (ROOT / name).exists() or name == "scenarios/routing/test_first.py", name
