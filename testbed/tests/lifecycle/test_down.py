from __future__ import annotations

from pathlib import Path

import pytest

from testbed.drivers import dockerd, hostlock, links, namespace
from testbed.events import Events
from testbed.lifecycle import down
from testbed.lifecycle.store import Store


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the host's own locks, mount and Docker daemon out of it."""
    monkeypatch.setattr(hostlock, "SHARED", tmp_path / "run")
    monkeypatch.setattr(hostlock, "IN_USE", tmp_path / "run" / "in-use.lock")
    monkeypatch.setattr(links, "are_anybodys", lambda: False)
    monkeypatch.setattr(dockerd, "remove_traces", lambda: None)
    monkeypatch.setattr(namespace, "remove_mount", lambda: None)


@pytest.mark.usefixtures("shared")
@pytest.mark.parametrize("is_ours", [True, False])
def test_log_of_a_docker_daemon_goes_with_it_whoever_has_ended_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_ours: bool
) -> None:
    store = Store(tmp_path / "state")
    store.root.mkdir(mode=0o700)
    log = store.root / "dockerd.log"
    log.touch()
    monkeypatch.setattr(dockerd, "is_ours", lambda: is_ours)
    monkeypatch.setattr(dockerd, "stop_ours", lambda: False)  # others use it
    down.stop_shared(store, Events())
    assert log.exists() == is_ours
