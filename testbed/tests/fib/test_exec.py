"""`fibctl exec`: why a command does not begin; what it does is the conformance suite's."""

from __future__ import annotations

import errno

import pytest

from testbed.fib import api, cli


@pytest.mark.parametrize(
    ("refused", "command", "told", "code"),
    [
        (errno.EPERM, ["true"], "a jail forbids FIB 7 here", 3),
        (errno.EINVAL, ["true"], "the FIB programs are not attached", 3),
        (
            0,
            ["no-such-command"],
            "exec: cannot run 'no-such-command': No such file or directory",
            2,
        ),
        (0, ["/etc/passwd"], "exec: cannot run '/etc/passwd': Permission denied", 2),
    ],
)
def test_reason_is_told(
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    *,
    refused: int,
    command: list[str],
    told: str,
    code: int,
) -> None:
    def set_fib(fib: int) -> None:
        assert fib == 7
        if refused:
            raise OSError(refused, "?")

    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr(api, "thread_fib", set_fib)
    assert cli.main(["exec", "7", "--", *command]) == code
    assert capfd.readouterr().err == f"fibctl: {told}\n"
