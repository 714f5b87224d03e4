"""Every kind of bad topology has a file and the exact message people get for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.errors import ExitCode, TopologyError
from testbed.model.load import load_topology
from testbed.tests.conftest import Golden

ERRORS = Path(__file__).parents[1] / "golden" / "errors"


@pytest.mark.parametrize("name", sorted(path.stem for path in ERRORS.glob("*.yaml")))
def test_bad_topology_gives_exactly_these_errors(
    name: str, golden: Golden, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ERRORS)
    with pytest.raises(TopologyError) as caught:
        load_topology(Path(f"{name}.yaml"))
    assert caught.value.exit_code == ExitCode.BAD_INPUT
    golden(ERRORS / f"{name}.txt", f"{caught.value}\n")


def test_missing_file_is_a_topology_error(tmp_path: Path) -> None:
    with pytest.raises(TopologyError, match=r"gone\.yaml:1:1: cannot read it: No such file"):
        load_topology(tmp_path / "gone.yaml")


def test_directory_is_a_topology_error(tmp_path: Path) -> None:
    with pytest.raises(TopologyError, match="cannot read it: Is a directory"):
        load_topology(tmp_path)


def test_name_with_nul_is_a_topology_error() -> None:
    with pytest.raises(TopologyError, match="cannot read it: embedded null byte"):
        load_topology(Path("a\0b"))


def test_endless_file_is_a_topology_error() -> None:
    with pytest.raises(TopologyError, match="no regular file"):
        load_topology(Path("/dev/zero"))


def test_undecodable_file_name_can_be_printed(tmp_path: Path) -> None:
    with pytest.raises(TopologyError) as caught:
        load_topology(tmp_path / "\udcff.yaml")
    assert str(caught.value).encode()


def test_bad_file_name_is_no_topology_name(tmp_path: Path) -> None:
    path = tmp_path / "My Topology.yaml"
    path.write_text("tenants: {alpha: {}}")
    with pytest.raises(TopologyError, match="'My Topology' is no name"):
        load_topology(path)
    assert load_topology(path, name="mine").name == "mine"


def test_passwords_are_in_no_message_and_no_repr(tmp_path: Path) -> None:
    path = tmp_path / "t.yaml"
    path.write_text("tenants: {alpha: {users: {ann: 'hunter2', bob: \"hunter2\\u0007\"}}}")
    with pytest.raises(TopologyError) as caught:
        load_topology(path)
    assert "hunter2" not in str(caught.value)
    path.write_text("tenants: {alpha: {users: {ann: 'hunter2'}}}")
    assert "hunter2" not in repr(load_topology(path))
