"""A checkout's changes as a patch: git takes it, and has the same files afterwards."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from testbed.lifecycle import checkout

FILES = {"tracked.py": b"one\n", "logo.png": b"\x89PNG\0\1"}
CHANGES = {
    "tracked.py": b"two\n",
    "logo.png": b"\x89PNG\0\2",
    "new.py": b"print()\n",
    "empty.py": b"",
    "-n ä'.txt": "grün\n".encode(),
}


def git(folder: Path, *arguments: str, stdin: str = "") -> str:
    name = ("-c", "user.name=t", "-c", "user.email=t@example.test")
    argv = ["git", "-C", str(folder), *name, *arguments]
    return subprocess.run(argv, input=stdin, text=True, check=True, capture_output=True).stdout


@pytest.fixture
def changed(tmp_path: Path) -> Path:
    """Return a repository of FILES, with CHANGES, beside a clone of it without them."""
    root = tmp_path / "changed"
    git(tmp_path, "init", "-q", str(root))
    write(root, FILES)
    git(root, "add", ".")
    git(root, "commit", "-qm", "first")
    git(tmp_path, "clone", "-q", str(root), str(tmp_path / "clone"))
    write(root, CHANGES)
    return root


def write(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (folder / name).write_bytes(content)


def test_patch_makes_the_same_files(changed: Path) -> None:
    git(changed, "config", "diff.noprefix", "true")
    git(changed, "config", "color.ui", "always")
    clone = changed.parent / "clone"
    assert not checkout.changes(clone)
    assert checkout.version(changed) == checkout.version(clone) + checkout.CHANGED
    git(clone, "apply", stdin=checkout.changes(changed))
    assert {name: (clone / name).read_bytes() for name in CHANGES} == CHANGES


@pytest.mark.parametrize("content", [b"\xd4\xc3\xb2\xa1\0frames", b"\xff\n", b"x" * 200_001])
def test_new_file_that_is_no_source_is_left_out_and_told(changed: Path, content: bytes) -> None:
    write(changed, {"alpha.pcap": content})
    clone = changed.parent / "clone"
    patch = checkout.changes(changed)
    assert patch.splitlines()[0] == "not in here, large or no text: ['alpha.pcap']"
    git(clone, "apply", stdin=patch)
    assert (clone / "new.py").exists()
    assert not (clone / "alpha.pcap").exists()


def test_what_is_too_much_for_a_patch_is_left_out_whole(
    changed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = checkout.changes(changed)
    monkeypatch.setattr(checkout, "_LARGEST_CHANGES", len(whole) - 1)
    clone = changed.parent / "clone"
    git(clone, "apply", stdin=checkout.changes(changed))
    assert (clone / "tracked.py").read_bytes() == b"two\n"


def test_no_repository_has_no_version_and_no_changes(tmp_path: Path) -> None:
    assert (checkout.version(tmp_path), checkout.changes(tmp_path)) == ("unknown", "")
