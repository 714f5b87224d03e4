from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from testbed.errors import TestbedError
from testbed.lifecycle.artefacts import versions
from testbed.lifecycle.bundle import Bundle
from testbed.lifecycle.checkout import ROOT
from testbed.lifecycle.replay import differences, pytest_command, require_test

BUNDLE = Bundle(
    test="scenarios/routing/test_reach.py::test_x[$(id); a]",
    tenants=("alpha",),
    whole=False,
    seed=7,
    versions={"testbed": "a" * 40, "scapy": "2.6.0", "host": "Linux 1", "SUT": "Linux 6.1"},
    failure="",
    topology="tenants: {alpha: {}}",
)


def test_what_differs_is_told_but_not_the_host_nor_what_only_one_side_knows() -> None:
    here = {"testbed": "b" * 40, "scapy": "2.7.0", "host": "Linux 2", "jinja2": "3"}
    assert [str(found) for found in differences(BUNDLE, here)] == [
        "scapy: 2.6.0 then, 2.7.0 here",
        f"testbed: {'a' * 40} then, {'b' * 40} here",
    ]
    assert not differences(BUNDLE, dict(BUNDLE.versions))


def test_changed_checkouts_of_one_commit_may_differ() -> None:
    changed = replace(BUNDLE, versions={"testbed": "abc+changes"})
    assert differences(changed, {"testbed": "abc+changes"})


def test_test_is_one_argument_and_no_shell_sees_it(tmp_path: Path) -> None:
    command = pytest_command(BUNDLE, tmp_path / "b", keep=True, opens_shell=True)
    assert f"--replay={tmp_path / 'b'}" in command
    assert command[-1] == BUNDLE.test
    assert {"--keep", "--shell-on-failure"} < set(command)


def test_clone_without_the_test_says_how_to_get_it() -> None:
    path = Path("/home/me/my bundle.testbed.tar.gz")
    require_test(BUNDLE, path)
    gone = replace(BUNDLE, test="scenarios/gone.py::test_x", changes="diff")
    with pytest.raises(TestbedError, match=r"has no scenarios/gone\.py") as caught:
        require_test(gone, path)
    assert (
        "git checkout aaaaaaaaaaaa; then its changes: tar -xzOf '/home/me/my " in caught.value.hint
    )


def test_link_out_of_the_clone_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "outside.py").write_text("")
    (tmp_path / "root" / "test_x.py").symlink_to(tmp_path / "outside.py")
    with pytest.raises(TestbedError):
        require_test(replace(BUNDLE, test="test_x.py::test_x"), tmp_path / "b", tmp_path / "root")


def test_versions_name_this_checkout() -> None:
    found = versions()
    assert len(found["testbed"].partition("+")[0]) == 40
    assert (ROOT / "pyproject.toml").is_file()
    assert found["scapy"]
