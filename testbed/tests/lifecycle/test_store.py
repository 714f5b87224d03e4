from __future__ import annotations

from pathlib import Path

import pytest

from testbed.errors import TestbedError
from testbed.events import Events
from testbed.lifecycle.store import Store


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text("tenants: {a: {}}\n")
    return path


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "state")


def test_record_comes_back_with_its_topology(store: Store, source: Path) -> None:
    record = store.create("small", source)
    assert store.all() == (record,)
    assert store.topology(record.id).read_bytes() == source.read_bytes()


def test_found_by_name_or_id(store: Store, source: Path) -> None:
    record = store.create("small", source)
    assert store.get("small") == store.get(record.id) == store.get() == record


def test_absent_deployment_is_an_error_that_names_those_there_are(
    store: Store, source: Path
) -> None:
    with pytest.raises(TestbedError, match="no deployment is up"):
        store.get()
    store.create("small", source)
    with pytest.raises(TestbedError, match="large: no such deployment") as caught:
        store.get("large")
    assert "small" in caught.value.message


def test_two_deployments_must_be_told_apart(store: Store, source: Path) -> None:
    store.create("one", source)
    store.create("two", source)
    with pytest.raises(TestbedError, match="several deployments"):
        store.get()


def test_foreign_folders_are_no_deployments(store: Store, source: Path) -> None:
    record = store.create("small", source)
    foreign = store.root / "notes"
    foreign.mkdir()
    (foreign / "record.json").write_text('{"id": "../../etc"}')
    broken = store.root / "zzzzzz"
    broken.mkdir()
    (broken / "record.json").write_text("{")
    assert store.all() == (record,)


def test_forgotten_deployment_leaves_nothing(store: Store, source: Path) -> None:
    record = store.create("small", source)
    (store.folder(record.id) / "leases").mkdir()
    (store.folder(record.id) / "link").symlink_to(source.parent)
    store.forget(record.id)
    store.forget(record.id)
    assert list(store.root.iterdir()) == []
    assert source.exists()


def test_half_written_record_of_a_killed_process_is_swept(store: Store, source: Path) -> None:
    record = store.create("small", source)
    left = store.root / ".new-abcdef-4194303-1"
    left.mkdir()
    store.sweep()
    assert not left.exists()
    assert store.all() == (record,)


def test_lock_of_a_removed_deployment_is_refused(store: Store, source: Path) -> None:
    record = store.create("small", source)
    store.forget(record.id)
    with pytest.raises(TestbedError, match="has just been removed"), store.locked(record, Events()):
        pass
