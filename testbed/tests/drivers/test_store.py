from __future__ import annotations

import multiprocessing
import os
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from testbed.drivers import store
from testbed.errors import ResourceError

SPAWN = multiprocessing.get_context("spawn")


def write(directory: Path) -> None:
    (directory / "content").write_text("built")


def test_directory_is_built_once(tmp_path: Path) -> None:
    builds = []

    def build(directory: Path) -> None:
        builds.append(directory)
        write(directory)

    for _ in range(2):
        found = store.obtain(tmp_path / "family/key", build, limit_s=1)
        assert (found / "content").read_text() == "built"
    assert len(builds) == 1


def test_two_builds_of_one_key_are_told_apart(tmp_path: Path) -> None:
    first = store.build_id(store.obtain(tmp_path / "a/key", write, limit_s=1))
    second = store.build_id(store.obtain(tmp_path / "b/key", write, limit_s=1))
    assert first != second


def test_failed_build_leaves_nothing_that_could_be_used(tmp_path: Path) -> None:
    def fail(directory: Path) -> None:
        write(directory)
        raise ValueError("half-way")

    with pytest.raises(ValueError, match="half-way"):
        store.obtain(tmp_path / "key", fail, limit_s=1)
    assert not (tmp_path / "key").exists()


@pytest.mark.parametrize("error", [OSError(28, "No space left"), ResourceError("QEMU ended")])
def test_full_disk_is_told_and_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(directory: Path) -> None:
        write(directory)
        raise error

    def build_upon_another(_: Path) -> None:
        store.obtain(tmp_path / "base", fail, limit_s=1)

    with pytest.raises(type(error)):
        store.obtain(tmp_path / "base", fail, limit_s=1)
    monkeypatch.setattr(store, "_FULL_BYTES", 1 << 62)
    with pytest.raises(ResourceError, match=r"the disk is full: \d+ MiB were left in") as caught:
        store.obtain(tmp_path / "key", build_upon_another, limit_s=1)
    assert caught.value.message.count("the disk is full") == 1
    assert not list(tmp_path.glob("*.partial"))


def build_and_die(directory: Path) -> None:
    write(directory)
    os._exit(9)


def obtain_and_die(directory: Path) -> None:
    store.obtain(directory, build_and_die, limit_s=1)


def test_build_that_was_killed_is_started_afresh(tmp_path: Path) -> None:
    process = SPAWN.Process(target=obtain_and_die, args=(tmp_path / "key",))
    process.start()
    process.join()
    assert process.exitcode == 9
    assert not (tmp_path / "key").exists()

    def build(directory: Path) -> None:
        assert not list(directory.iterdir())
        write(directory)

    assert (store.obtain(tmp_path / "key", build, limit_s=1) / "content").exists()


def hold(directory: Path, held: Event, done: Event) -> None:
    with store.locked(directory, limit_s=1):
        held.set()
        done.wait(20)


def test_who_waits_too_long_for_another_builder_is_told(tmp_path: Path) -> None:
    held, done = SPAWN.Event(), SPAWN.Event()
    process = SPAWN.Process(target=hold, args=(tmp_path / "key", held, done))
    process.start()
    assert held.wait(20)
    with pytest.raises(ResourceError, match="built by another process"):
        store.obtain(tmp_path / "key", write, limit_s=0.05)
    done.set()
    process.join()


def test_pruning_keeps_what_was_asked_for_last(tmp_path: Path) -> None:
    for number, key in enumerate(("old", "older", "new", "newer")):
        directory = store.obtain(tmp_path / key, write, limit_s=1)
        os.utime(directory, (number, number))
    (tmp_path / "dead.partial").mkdir()
    store.prune(tmp_path, keep=2)
    assert {path.name for path in tmp_path.iterdir()} == {"new", "newer"}


def test_what_was_not_built_there_is_never_removed(tmp_path: Path) -> None:
    (tmp_path / "holidays").mkdir()
    (tmp_path / "yarn.lock").touch()
    store.obtain(tmp_path / "elsewhere" / "key", write, limit_s=1)
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere" / "key")
    store.obtain(tmp_path / "key", write, limit_s=1)
    store.prune(tmp_path, keep=0)
    assert not (tmp_path / "key").exists()
    store.obtain(tmp_path / "key", write, limit_s=1)
    store.clear(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "holidays",
        "yarn.lock",
        "elsewhere",
        "link",
    }
    store.clear(tmp_path / "elsewhere")
    assert not (tmp_path / "elsewhere").exists()


def test_pruning_bears_another_at_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = [tmp_path / "gone", store.obtain(tmp_path / "key", write, limit_s=1)]
    monkeypatch.setattr(store, "_built_in", lambda _: listed)
    store.prune(tmp_path, keep=0)
    assert list(tmp_path.iterdir()) == []


def test_pruning_spares_what_is_being_built(tmp_path: Path) -> None:
    held, done = SPAWN.Event(), SPAWN.Event()
    (tmp_path / "key.partial").mkdir()
    process = SPAWN.Process(target=hold, args=(tmp_path / "key", held, done))
    process.start()
    assert held.wait(20)
    store.prune(tmp_path, keep=0)
    assert (tmp_path / "key.partial").is_dir()
    done.set()
    process.join()


def test_locks_of_killed_builders_are_swept(tmp_path: Path) -> None:
    process = SPAWN.Process(target=obtain_and_die, args=(tmp_path / "key",))
    process.start()
    process.join()
    assert {path.name for path in tmp_path.iterdir()} == {".key.lock", "key.partial"}
    store.prune(tmp_path, keep=9)
    assert list(tmp_path.iterdir()) == []


def test_keys_tell_trees_apart_by_names_and_contents(tmp_path: Path) -> None:
    trees = {"a": ("x", "1"), "b": ("x", "2"), "c": ("y", "1")}
    keys = set()
    for tree, (name, content) in trees.items():
        (tmp_path / tree).mkdir()
        (tmp_path / tree / name).write_text(content)
        keys.add(store.key_of(store.tree_parts(tmp_path / tree)))
    assert len(keys) == 3


def test_byte_code_does_not_change_a_trees_key(tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text("")
    before = store.key_of(store.tree_parts(tmp_path))
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__/module.pyc").write_text("")
    assert store.key_of(store.tree_parts(tmp_path)) == before
