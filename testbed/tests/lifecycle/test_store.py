from __future__ import annotations

from pathlib import Path

import pytest

from testbed.errors import TestbedError
from testbed.events import Events
from testbed.lifecycle.store import Store, cache_root, state_root


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
    assert store.all() == store.look().removable == (record,)
    assert store.look().unusable == ()


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


def test_sweep_touches_nothing_that_is_called_otherwise(store: Store) -> None:
    store.root.mkdir(mode=0o700)
    foreign = (".new-kernels-6-12", ".new-abcdef-x-1", ".gone-fishing", ".gone-", "poetry.lock")
    for name in (*foreign, ".naming.lock", ".session-small.lock", ".gone-abcdef"):
        path = store.root / name
        path.touch() if name.endswith("lock") else path.mkdir()
    store.sweep()
    assert {path.name for path in store.root.iterdir()} == set(foreign)


def test_lock_of_a_removed_deployment_is_refused(store: Store, source: Path) -> None:
    record = store.create("small", source)
    store.forget(record.id)
    with pytest.raises(TestbedError, match="has just been removed"), store.locked(record, Events()):
        pass


@pytest.mark.parametrize(
    "text", ["", "{", "null", "[]", '{"id": 5}', "\xff", '{"id": "%s", "format": 1, "name": 5}']
)
def test_record_that_is_damaged_is_told_with_what_removes_its_deployment(
    store: Store, source: Path, text: str
) -> None:
    whole, record = store.create("whole", source), store.create("small", source)
    path = store.folder(record.id) / "record.json"
    path.write_bytes((text.replace("%s", record.id)).encode("latin-1"))
    assert store.all() == (whole,)
    (told,) = store.look().unusable
    assert str(told) == (
        f"{path} is cut off or damaged: remove the deployment: testbed down {record.id}"
    )
    assert [one.id for one in store.look().removable] == [whole.id, record.id]


def test_deployment_whose_record_is_lost_can_be_removed(store: Store, source: Path) -> None:
    record = store.create("small", source)
    (store.folder(record.id) / "record.json").unlink()
    with pytest.raises(TestbedError, match="No such file") as caught:
        store.get(record.id)
    assert caught.value.hint == f"remove the deployment: testbed down {record.id}"
    (stand_in,) = store.look().removable
    with store.locked(stand_in, Events()):
        store.forget(stand_in.id)
    assert (store.look().unusable, store.look().removable) == ((), ())


def test_what_is_being_removed_is_not_told_as_damaged(store: Store, source: Path) -> None:
    record = store.create("small", source)
    store.folder(record.id).rename(store.root / f".gone-{record.id}")
    assert store.look().unusable == ()


def test_folders_may_be_named_from_where_we_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for variable, root in (("TESTBED_STATE", state_root), ("TESTBED_CACHE", cache_root)):
        monkeypatch.setenv(variable, "here")
        assert root() == tmp_path / "here"
