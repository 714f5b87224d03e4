from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from testbed.errors import ExitCode, InputError
from testbed.lifecycle.bundle import Bundle, read_bundle, write_bundle

BUNDLE = Bundle(
    test="scenarios/routing/test_reach.py::test_x[a b/../c]",
    tenants=("bravo", "alpha"),
    whole=False,
    seed=7,
    versions={"testbed": "abc"},
    failure="it failed",
    topology="tenants: {alpha: {fib: 4}, bravo: {fib: 2, users: {ann: secret}}}\n",
    changes="diff\n",
)
MANIFEST: dict[str, Any] = {
    "format": 1,
    "test": "scenarios/test_x.py::test_x",
    "tenants": ["alpha"],
    "whole": False,
    "seed": 1,
    "versions": {},
    "failure": "",
}


def packed(path: Path, files: Mapping[str, bytes], **kinds: bytes) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            entry.type = kinds.get(name, tarfile.REGTYPE)
            entry.linkname = "/etc/passwd"
            tar.addfile(entry, io.BytesIO(data))
    return path


def with_manifest(path: Path, **changes: Any) -> Path:
    manifest = json.dumps(MANIFEST | changes).encode()
    return packed(path, {"bundle.json": manifest, "topology.yaml": b"tenants: {alpha: {}}"})


def test_bundle_is_read_as_it_was_written_and_is_private(tmp_path: Path) -> None:
    path = tmp_path / "x.testbed.tar.gz"
    write_bundle(BUNDLE, path)
    assert read_bundle(path) == BUNDLE
    assert path.stat().st_mode & 0o077 == 0
    assert "secret" not in repr(BUNDLE)


def test_plain_bundle_is_fine(tmp_path: Path) -> None:
    assert read_bundle(with_manifest(tmp_path / "b")).tenants == ("alpha",)


@pytest.mark.parametrize(
    "test",
    [
        "../outside/test_x.py::test_x",
        "/etc/test_x.py::test_x",
        "scenarios/../../x.py::test_x",
        "--collect-only.py::test_x",
        "-p.py::x",
        "scenarios/test_x.py",
        "scenarios/$(id).py::x",
        "scenarios/test_x.py::a\nb",
        "scenarios/test_x.txt::a",
    ],
)
def test_test_that_is_none_of_a_clone_is_refused(tmp_path: Path, test: str) -> None:
    with pytest.raises(InputError, match=r"no test of a clone|no name of a test") as caught:
        read_bundle(with_manifest(tmp_path / "b", test=test))
    assert caught.value.exit_code is ExitCode.BAD_INPUT


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"format": 2}, "format 2"),
        ({"format": None}, "format None"),
        ({"tenants": ["zulu"]}, "lacks tenant 'zulu'"),
        ({"tenants": "alpha"}, "'tenants' must be of type list"),
        ({"tenants": [["alpha"]]}, "list of different names"),
        ({"tenants": ["alpha", "alpha"]}, "list of different names"),
        ({"seed": True}, "'seed' must be of type int"),
        ({"whole": 1}, "'whole' must be of type bool"),
        ({"versions": {"a": 1}}, "'versions' must be texts"),
        ({"test": "x" * 5000}, "too long"),
    ],
)
def test_wrong_manifest_is_told(tmp_path: Path, change: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        read_bundle(with_manifest(tmp_path / "b", **change))


@pytest.mark.parametrize(
    "name", ["../x", "/etc/x", "sub/bundle.json", "./bundle.json", "other.txt"]
)
def test_other_members_are_refused_and_nothing_is_written(tmp_path: Path, name: str) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    with pytest.raises(InputError, match="which no bundle does"):
        read_bundle(packed(inside / "b", {name: b"x"}))
    assert [path.name for path in inside.iterdir()] == ["b"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(tmp_path: Path, kind: bytes) -> None:
    path = packed(
        tmp_path / "b", {"bundle.json": b"", "topology.yaml": b""}, **{"bundle.json": kind}
    )
    with pytest.raises(InputError, match="which no bundle does"):
        read_bundle(path)


def test_bomb_is_not_read(tmp_path: Path) -> None:
    path = packed(tmp_path / "b", {"bundle.json": b" " * (33 << 20)})
    assert path.stat().st_size < 1 << 20
    with pytest.raises(InputError, match="larger than any bundle"):
        read_bundle(path)


def test_topology_errors_have_their_place(tmp_path: Path) -> None:
    files = {"bundle.json": json.dumps(MANIFEST).encode(), "topology.yaml": b"tenants: {alpha: 7}"}
    with pytest.raises(InputError, match=r"b: topology\.yaml:1:18"):
        read_bundle(packed(tmp_path / "b", files))


def test_machine_of_the_senders_choice_is_refused(tmp_path: Path) -> None:
    ssh = "{host: example.test, interface: eth0, uplink: eth1, mac: '02:00:00:00:00:01'}"
    topology = f"sut: {{ssh: {ssh}}}\ntenants: {{alpha: {{}}}}\n".encode()
    files = {"bundle.json": json.dumps(MANIFEST).encode(), "topology.yaml": topology}
    with pytest.raises(InputError, match="reached by ssh"):
        read_bundle(packed(tmp_path / "b", files))


@pytest.mark.parametrize("content", [b"", b"no bundle", b"\x1f\x8b\x08\x00damaged"])
def test_other_files_are_no_bundles(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "b"
    path.write_bytes(content)
    with pytest.raises(InputError, match="cannot read it"):
        read_bundle(path)
    with pytest.raises(InputError, match="No such file"):
        read_bundle(tmp_path / "missing")
    with pytest.raises(InputError, match="no regular file"):
        read_bundle(tmp_path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_damaged_bundle_is_bad_input_or_the_same(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "x"
    write_bundle(BUNDLE, path)
    read = read_bundle(path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    with suppress(InputError):
        assert read_bundle(path) == read
