"""Who is killed inside a fault leaves it behind: the next to lease the tenants finds them whole.

Two that may be killed: a worker, whose run goes on with another one, and a whole run, after which
another one begins. Some kinds of fault, drawn by --seed, in every run; all with TESTBED_KILLS=all.
"""

from __future__ import annotations

import os
import random
import re
import sys
from pathlib import Path
from signal import SIGKILL

import pytest

from scenarios.resilience.host import assert_as_before, deployments
from scenarios.resilience.killed import KINDS, NOTE
from testbed.api import PrivateHost, faults, private_host

SUITE = Path(__file__).with_name("killed.py")
TOPOLOGY = SUITE.with_name("two.yaml")
ARTEFACTS = "/run/tmp/artifacts"
KEPT = "/run/tmp/pytest-of-* /run/home/.cache /run/home/.config"
"""What pytest and scapy keep for their users: no resource of ours."""
ALL = os.environ.get("TESTBED_KILLS") == "all"


def pytest_on(host: PrivateHost, *arguments: str, keeps: bool = True) -> tuple[int, str]:
    """Run pytest on the private host; return its exit code, and what it has said."""
    # fmt: off
    argv = [
        sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--no-judgement",
        "--topology", str(TOPOLOGY), "--artifacts", ARTEFACTS, "--rootdir", str(SUITE.parents[2]),
    ]
    # fmt: on
    command = host.begin_command(*argv, *["--keep"] * keeps, *arguments)
    code = command.wait()
    return code, "".join(command.said)


def drawn(count: int, seed: int) -> list[str]:
    return list(KINDS) if ALL else random.Random(seed).sample(list(KINDS), count)  # noqa: S311


def killing(kind: str) -> str:
    return f"{SUITE}::test_killed[{kind}]"


def assert_whole(host: PrivateHost) -> None:
    code, said = pytest_on(host, "-n", "0", f"{SUITE}::test_whole")
    assert code == 0, said


def end(host: PrivateHost) -> None:
    (found,) = deployments(host)
    assert not found["leases"]
    finished = host.testbed("down")
    assert finished.returncode == 0, finished.stdout + finished.stderr
    host.run("sh", "-c", f"rm -rf {ARTEFACTS} {NOTE} {KEPT}")


def test_every_fault_is_among_those_killed_in() -> None:
    assert set(faults.__all__) == KINDS.keys()


@pytest.mark.timeout(1200)
def test_next_worker_finds_whole_what_a_killed_one_had_broken(seed: int) -> None:
    kinds = drawn(5, seed)
    with private_host() as host:
        before = host.inventory()
        restarts = f"--max-worker-restart={len(kinds)}"
        _, said = pytest_on(host, "-n", "1", restarts, *map(killing, kinds))
        killed = set(re.findall(r"worker '\w+' crashed while running '.*\[(\w+)\]'", said))
        assert killed == set(kinds), said
        assert_whole(host)
        end(host)
        assert_as_before(host, before)


@pytest.mark.timeout(400)
def test_next_test_finds_whole_what_could_not_be_undone() -> None:
    with private_host() as host:
        left = f"{SUITE}::test_goes_on_although_it_cannot_be_undone"
        code, said = pytest_on(host, "-n", "0", left, f"{SUITE}::test_whole")
        assert code == 0, said
        end(host)


@pytest.mark.timeout(1200)
def test_next_run_finds_whole_what_a_killed_one_had_broken(seed: int) -> None:
    kinds = drawn(2, seed)
    with private_host() as host:
        before = host.inventory()
        for kind in kinds:
            code, said = pytest_on(host, "-n", "0", killing(kind))
            assert code in {-SIGKILL, 128 + SIGKILL}, f"{kind}: {said}"
        assert_whole(host)
        end(host)
        assert_as_before(host, before)
