"""What fibctl says where the system lacks what it calls."""

from __future__ import annotations

import pytest

from testbed.fib import cli, programs


def test_missing_tc_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(programs, "_TC", "/no/such/tc")
    monkeypatch.setitem(cli._COMMANDS, "detach", lambda _: int(programs.is_attached("lo")))
    assert cli.main(["detach", "lo"]) == cli.ENVIRONMENT
    said = capsys.readouterr().err
    assert said == "fibctl: '/no/such/tc' is missing; install the package that has it (iproute2)\n"
