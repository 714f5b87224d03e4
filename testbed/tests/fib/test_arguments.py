from __future__ import annotations

import pytest

from testbed.fib import breakage
from testbed.fib.arguments import PIECES, parse
from testbed.fib.bpfmap import DROPS
from testbed.fib.cli import _COMMANDS


def manual(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as ended:
        parse([*arguments, "--help"])
    assert ended.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("name", sorted(_COMMANDS))
def test_every_command_has_a_manual(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = manual(capsys, name)
    assert text.startswith(f"usage: fibctl {name}")
    assert "exit codes: 0 done" in text
    assert name in manual(capsys)


def test_every_drop_counter_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    text = manual(capsys, "counters")
    assert [name for name in DROPS if f"  {name} " not in text] == []


def test_what_can_be_broken_is_told() -> None:
    assert breakage._PIECES.keys() | {"address"} == PIECES.keys()
