from __future__ import annotations

from pathlib import Path

import pytest

from testbed.drivers import links
from testbed.errors import PreflightError
from testbed.events import Events
from testbed.lifecycle import claim, up
from testbed.lifecycle.deployment import Deployment, open_deployment
from testbed.lifecycle.store import Store
from testbed.sut.remote import RemoteMachine

TOPOLOGY = """
sut: {ssh: {host: lab7, interface: eth1, mac: "52:54:00:12:34:56", uplink: vmtap7}}
tenants: {alpha: {}}
"""


@pytest.fixture
def deployment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Deployment:
    def make(*_: object) -> None:
        pytest.fail("nothing may be made")

    monkeypatch.setattr(up, "ThreadPoolExecutor", make)
    (tmp_path / "lab.yaml").write_text(TOPOLOGY)
    store = Store(tmp_path / "state")
    return open_deployment(store, store.create("lab", tmp_path / "lab.yaml"))


def test_missing_uplink_is_told_before_anything_is_made(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links, "exists", lambda _: False)
    with pytest.raises(PreflightError, match="this host has no interface 'vmtap7'") as caught:
        claim.reach(deployment, Events())
    assert caught.value.hint == "correct 'uplink:' in the topology"


def test_unfit_machine_is_told_and_leaves_no_record(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_machine: RemoteMachine, _events: Events) -> None:
        raise PreflightError("cannot reach root@lab7")

    monkeypatch.setattr(links, "exists", lambda _: True)
    monkeypatch.setattr(links, "namespaces_of", lambda _: {})
    monkeypatch.setattr(RemoteMachine, "start", refuse)
    store = Store(deployment.folder.parent)
    with pytest.raises(PreflightError, match="cannot reach root@lab7"):
        up._refuse_what_cannot_be(store, deployment, Events())
    assert store.all() == ()


@pytest.mark.parametrize("left", ["a router", "a claim"])
def test_record_stays_while_there_is_something_to_remove(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, left: str
) -> None:
    monkeypatch.setattr(links, "exists", lambda _: False)
    monkeypatch.setattr(links, "namespaces_of", lambda _: {"n": 1} if left == "a router" else {})
    if left == "a claim":
        (deployment.folder / claim.MARK).touch()
    store = Store(deployment.folder.parent)
    with pytest.raises(PreflightError):
        up._refuse_what_cannot_be(store, deployment, Events())
    assert store.all() == (deployment.record,)
