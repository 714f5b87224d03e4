"""`replay` killed at any moment: the next one passes and ends what it started, and so does `down`.

One kill, drawn by --seed, in every run; TESTBED_KILLS=all kills at each second, by each signal.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Iterator
from signal import SIGINT, SIGKILL, Signals

import pytest

from scenarios.resilience.host import assert_as_before, assert_nothing_survives, take_down
from scenarios.resilience.killed import MENDED
from scenarios.resilience.test_leases import ARTEFACTS, SUITE, pytest_on
from testbed.api import Command, PrivateHost, private_host

ALL = os.environ.get("TESTBED_KILLS") == "all"
USUAL_S = 18.0
LONGEST_S = 60


def moments(seed: int) -> Iterator[tuple[float, Signals]]:
    """Yield after how long, and by which signal, it is killed."""
    if ALL:
        yield from ((float(s), signal) for s in range(LONGEST_S) for signal in (SIGKILL, SIGINT))
    else:
        source = random.Random(seed)  # noqa: S311 - no secret
        yield source.uniform(0.5, USUAL_S), source.choice((SIGKILL, SIGINT))


def failed_test(host: PrivateHost) -> str:
    """Have a test fail; return its bundle. From now on it passes."""
    code, said = pytest_on(host, "-n", "0", f"{SUITE}::test_fails_until_mended", keeps=False)
    assert code == 1, said
    assert "not mended yet" in said
    host.run("touch", str(MENDED))
    return host.run("find", ARTEFACTS, "-name", "*.testbed.tar.gz").stdout.strip()


def begin(host: PrivateHost, bundle: str) -> Command:
    return host.begin("replay", bundle)


def was_killed(command: Command, after_s: float, signal: Signals) -> bool:
    """Kill it after a time, by SIGINT as Ctrl-C does; whether it had not ended by itself."""
    timer = threading.Timer(after_s, lambda: command.kill(signal, group=signal is SIGINT))
    timer.start()
    code = command.wait()
    timer.cancel()
    return code != 0


@pytest.mark.timeout(3600 if ALL else 400)
def test_replay_killed_at_any_moment(seed: int) -> None:
    with private_host() as host:
        bundle = failed_test(host)
        before = host.inventory()
        for number, (after_s, signal) in enumerate(moments(seed)):
            killed = was_killed(begin(host, bundle), after_s, signal)
            print(f"{signal.name} after {after_s:.1f} s: {killed}", flush=True)  # noqa: T201
            assert_nothing_survives(host)
            if number % 2 == 0:
                again = begin(host, bundle)
                assert again.wait() == 0, again.said
            take_down(host)
            assert_as_before(host, before)
            # Python drops a SIGINT that comes while it cleans up after an import.
            if ALL and signal is SIGKILL and not killed:
                return
