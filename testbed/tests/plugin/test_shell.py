"""The shell at a failure."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from testbed.pytest_plugin.failure import open_shell


def test_shell_at_a_failure_has_testbed_and_is_about_the_deployment_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shell = tmp_path / "shell"
    shell.write_text(f'#!/bin/sh\necho "$TESTBED_DEPLOYMENT $PATH" >{tmp_path}/said\n')
    shell.chmod(0o755)
    monkeypatch.setenv("SHELL", str(shell))
    monkeypatch.setenv("TESTBED_DEPLOYMENT", "another")
    open_shell("benchx", ["a hint"])
    name, _, path = (tmp_path / "said").read_text().partition(" ")
    assert name == "benchx"
    assert path.startswith(f"{Path(sys.executable).parent}:")
    assert "    a hint\n" in capsys.readouterr().err
