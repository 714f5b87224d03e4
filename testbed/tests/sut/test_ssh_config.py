from __future__ import annotations

from pathlib import Path

import pytest

from testbed.drivers.process import run
from testbed.errors import PreflightError
from testbed.sut.remote import parse_options
from testbed.sut.ssh_config import Account, ssh_config

ACCOUNT = Account(
    address="127.5.0.1",
    port=22,
    user="root",
    key=Path("/c/100% mine/key"),
    known_hosts=Path("/c/known hosts"),
    key_alias="sut",
)


def as_ssh_reads(text: str, folder: Path) -> dict[str, str]:
    """Return the options that ssh itself finds in the configuration."""
    file = folder / "ssh_config"
    file.write_text(text)
    printed = run(["ssh", "-G", "-F", str(file), "sut"]).stdout
    return dict(line.split(" ", 1) for line in printed.splitlines() if " " in line)


def test_ssh_understands_the_account(tmp_path: Path) -> None:
    options = as_ssh_reads(ssh_config(ACCOUNT, Path("/s/ssh.sock")), tmp_path)
    expected = {
        "hostname": "127.5.0.1",
        "port": "22",
        "user": "root",
        "batchmode": "yes",
        "controlpath": "/s/ssh.sock",
        "hostkeyalias": "sut",
        "stricthostkeychecking": "true",
        "identitiesonly": "yes",
    }
    assert {name: options[name] for name in expected} == expected


def test_odd_paths_reach_ssh_whole(tmp_path: Path) -> None:
    options = as_ssh_reads(ssh_config(ACCOUNT, Path("/s/ssh.sock")), tmp_path)
    assert options["identityfile"].replace("%%", "%") == "/c/100% mine/key"
    assert "known hosts" in options["userknownhostsfile"]


def test_host_key_must_be_the_images() -> None:
    text = ssh_config(ACCOUNT, Path("/s/ssh.sock"))
    assert "StrictHostKeyChecking yes" in text
    assert "GlobalKnownHostsFile /dev/null" in text


def test_users_machine_is_reached_with_the_users_options(tmp_path: Path) -> None:
    account = Account("lab7", 2222, "me", options=(("identityfile", "~/.ssh/lab"),))
    options = as_ssh_reads(ssh_config(account, Path("/s/ssh.sock")), tmp_path)
    assert (options["hostname"], options["port"], options["user"]) == ("lab7", "2222", "me")
    assert options["identityfile"] == "~/.ssh/lab"
    assert options["stricthostkeychecking"] != "false"


def test_socket_path_that_the_kernel_would_refuse_is_refused_with_advice() -> None:
    with pytest.raises(PreflightError) as caught:
        ssh_config(ACCOUNT, Path("/" + "x" * 100))
    assert "TESTBED_STATE" in caught.value.hint


def test_options_of_the_users_configuration_are_kept_and_the_rest_left() -> None:
    printed = "user me\nhostname 10.0.0.7\nproxyjump gate\nidentityfile ~/.ssh/a\nbatchmode no\n"
    assert parse_options(printed) == (
        "10.0.0.7",
        (("proxyjump", "gate"), ("identityfile", "~/.ssh/a")),
    )
