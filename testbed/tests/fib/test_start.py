"""What fibctl loads before it does anything: on an emulated CPU each module more is felt."""

import subprocess
import sys
from pathlib import Path

import testbed.fib

_SLOW = {"dataclasses", "inspect", "site", "asyncio", "unittest"}


def test_fibctl_starts_without_modules_that_take_long() -> None:
    root = Path(testbed.fib.__file__).parent.parent
    code = (
        f"import sys; sys.path.insert(0, {str(root)!r}); import fib.cli, fib.apply, fib.live, fib.show;"
        "print(*sys.modules)"
    )
    command = [sys.executable, "-IS", "-c", code]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert "fib.apply" in loaded
    assert _SLOW & set(loaded) == set()
