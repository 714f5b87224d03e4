from __future__ import annotations

import json
from pathlib import Path

import pytest

from testbed.fib.services import tenantd
from testbed.fib.services.privileges import PrivilegeError, find_user
from testbed.fib.services.settings import Defect
from testbed.fib.services.state import StateDirectory
from testbed.tests.services.test_config import ldap_tenant, text


def test_checking_tells_a_good_file_from_a_bad_one(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "config.json"
    file.write_text(text(ldap_tenant()))
    assert tenantd.main(["--config", str(file), "--check"]) == 0
    file.write_text(text(ldap_tenant(0, ""), colour=1))
    assert tenantd.main(["--config", str(file), "--check"]) == 2
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert [line["event"] for line in lines] == ["fatal"] * 3
    assert str(file) in lines[0]["error"]


@pytest.mark.parametrize(
    "option", ["--workers=0", "--idle-timeout=0", "--defect=none-such", "--conf=x", "--user"]
)
def test_wrong_usage_is_exit_code_2(option: str) -> None:
    with pytest.raises(SystemExit) as caught:
        tenantd.main(["--config", "/nonexistent", option])
    assert caught.value.code == 2


def test_every_defect_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        tenantd.main(["--help"])
    shown = capsys.readouterr().out
    assert all(f"{defect} " in shown and defect.meaning in shown for defect in Defect)


def test_there_must_be_a_user_to_become() -> None:
    assert find_user("no-such-user", "root").uid == 0
    with pytest.raises(PrivilegeError, match="no-such-user"):
        find_user("no-such-user")


def test_the_ready_file_is_whole_or_absent(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path / "state")
    state.create(find_user("root"))
    ready = tmp_path / "state" / "ready.json"
    state.announce({"generation": 1})
    state.announce({"generation": 2})
    assert json.loads(ready.read_text()) == {"generation": 2}
    state.create(find_user("root"))  # after a daemon that was killed
    assert not ready.exists()
