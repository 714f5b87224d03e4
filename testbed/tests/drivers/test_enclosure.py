from __future__ import annotations

import os
from pathlib import Path

import pytest

from testbed.drivers import enclosure, process, traces


def test_control_groups_of_killed_owners_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traces, "_CGROUPS", tmp_path)
    (tmp_path / "cgroup.procs").touch()
    us, began = os.getpid(), process.started_at(os.getpid())
    dead = f"testbed-host-{us}-{began - 1}-0123"  # the pid was given anew
    others = {"cgroup.procs", f"testbed-host-{us}-{began}-0123", "testbed-host-lab", "docker"}
    for name in (f"{dead}/container/init", *(others - {"cgroup.procs"})):
        (tmp_path / name).mkdir(parents=True)
    enclosure._remove_control_groups(enclosure._dead())
    assert {path.name for path in tmp_path.iterdir()} == others
