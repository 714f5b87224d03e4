from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from testbed.errors import WaitTimeoutError
from testbed.lifecycle.lease import holders, lease_deployment, lease_tenants

SPAWN = multiprocessing.get_context("spawn")


def test_first_free_group_is_taken(tmp_path: Path) -> None:
    with (
        lease_tenants(tmp_path, [["a", "b"]]) as first,
        lease_tenants(tmp_path, [["b", "c"], ["c"]]) as second,
    ):
        assert (first, second) == (("a", "b"), ("c",))


def test_held_tenant_is_waited_for_and_its_holder_named(tmp_path: Path) -> None:
    with (
        lease_tenants(tmp_path, [["a"]]),
        pytest.raises(WaitTimeoutError, match=rf"tenant-a \(pid {os.getpid()}\)"),
        lease_tenants(tmp_path, [["a"]], limit_s=0.05),
    ):
        pass


def test_partly_free_group_holds_nothing(tmp_path: Path) -> None:
    with lease_tenants(tmp_path, [["b"]]):
        with (
            pytest.raises(WaitTimeoutError),
            lease_tenants(tmp_path, [["a", "b"]], limit_s=0.05),
        ):
            pass
        with lease_tenants(tmp_path, [["a"]], limit_s=0.05) as free:
            assert free == ("a",)


def test_whole_deployment_excludes_everybody(tmp_path: Path) -> None:
    with (
        lease_deployment(tmp_path),
        pytest.raises(WaitTimeoutError),
        lease_tenants(tmp_path, [["a"]], limit_s=0.05),
    ):
        pass
    with (
        lease_tenants(tmp_path, [["a"]]),
        pytest.raises(WaitTimeoutError),
        lease_deployment(tmp_path, limit_s=0.05),
    ):
        pass


def test_lease_ends_with_its_block(tmp_path: Path) -> None:
    with lease_tenants(tmp_path, [["a"]]):
        assert holders(tmp_path)
    assert holders(tmp_path) == ()


def hold(folder: Path, ready: Connection) -> None:
    with lease_tenants(folder, [["a"]]):
        ready.send("here")
        signal.pause()


def wait_for_whole(folder: Path, ready: Connection) -> None:
    ready.send("here")
    with lease_deployment(folder, limit_s=20):
        ready.send("here")


def started(target: Callable[[Path, Connection], None], folder: Path) -> tuple[int, Connection]:
    ours, theirs = SPAWN.Pipe()
    process = SPAWN.Process(target=target, args=(folder, theirs), daemon=True)
    process.start()
    assert ours.recv()
    assert process.pid
    return process.pid, ours


def test_lease_of_a_killed_process_is_free_at_once(tmp_path: Path) -> None:
    pid, _ = started(hold, tmp_path)
    assert holders(tmp_path)
    os.kill(pid, signal.SIGKILL)
    with lease_tenants(tmp_path, [["a"]], limit_s=5) as names:
        assert names == ("a",)


def test_waiting_for_the_whole_deployment_is_not_overtaken(tmp_path: Path) -> None:
    with lease_tenants(tmp_path, [["a"]]):
        _, waiting = started(wait_for_whole, tmp_path)
        assert not waiting.poll(0.3)
        with (
            pytest.raises(WaitTimeoutError),
            lease_tenants(tmp_path, [["b"]], limit_s=0.2),
        ):
            pass
    assert waiting.recv()
