"""Going into a deployment of which something is not there, or hangs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from testbed.cli import inside
from testbed.drivers import process
from testbed.errors import ResourceError, TestbedError
from testbed.lifecycle.store import Store
from testbed.sut.vm import LinuxVm

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def deployment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESTBED_STATE", str(tmp_path))
    Store(tmp_path).create("proposal", ROOT / "topologies/proposal.yaml")


@pytest.mark.parametrize("command", [["true"], []])
def test_hung_sut_is_told_and_not_asked_for_more(
    monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    def hang(_vm: LinuxVm) -> None:
        raise ResourceError("QEMU does not answer within 10 s")

    def attend(*_: object, check: Callable[[], None], **__: object) -> int:
        check()
        pytest.fail("ssh would wait")

    monkeypatch.setattr(LinuxVm, "is_running", lambda _: True)
    monkeypatch.setattr(LinuxVm, "require_answer", hang)
    monkeypatch.setattr(process, "attend", attend)
    monkeypatch.setattr("os.execvp", lambda *_: pytest.fail("ssh would wait"))
    with pytest.raises(TestbedError) as caught:
        inside.go_inside("", "sut", command)
    assert caught.value.message == "the SUT cannot be reached: QEMU does not answer within 10 s"
    assert caught.value.hint == "what repairs it: testbed status proposal"


@pytest.mark.parametrize(
    "go",
    [partial(inside.show_log, "", "daemon", 1), partial(inside.go_inside, "", "sut", ["true"])],
)
def test_absent_sut_is_told(go: Callable[[], None]) -> None:
    with pytest.raises(TestbedError, match="the SUT cannot be reached: not running"):
        go()
