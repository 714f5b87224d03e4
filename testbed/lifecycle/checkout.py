"""The checkout that this code is of: its commit, and what differs from it as a patch."""

from __future__ import annotations

from pathlib import Path

from testbed.drivers import process
from testbed.errors import TestbedError

ROOT = Path(__file__).parents[2]
CHANGED = "+changes"
"""Ends the version of a checkout that differs from its commit."""
_MOST_NEW_FILES, _LARGEST_NEW_FILE, _LARGEST_CHANGES = 50, 200_000, 8 << 20

# As `git apply` wants it, whatever the user's configuration makes of a diff.
_DIFF = (
    *("diff", "--no-ext-diff", "--no-textconv", "--no-color", "--no-renames", "--binary"),
    *("--src-prefix=a/", "--dst-prefix=b/"),
)


def version(root: Path = ROOT) -> str:
    """Return the commit of `root`, marked when files differ from it; "unknown" without."""
    try:
        commit = _git(root, "rev-parse", "HEAD").strip()
        return commit + (CHANGED if _git(root, "status", "--porcelain").strip() else "")
    except TestbedError:
        return "unknown"


def changes(root: Path = ROOT) -> str:
    """Return how `root` differs from its commit, as a patch for `git apply`, new files too.

    New files that are no text or large are no source: captures, say. They are left out, as is what
    exceeds the 8 MiB of a patch; a line before the patch, which git overlooks, says so.
    """
    try:
        patches: list[tuple[str, str | None]] = [("changes of files", _git(root, *_DIFF, "HEAD"))]
        new = _git(root, "ls-files", "-z", "--others", "--exclude-standard").split("\0")
        for name in filter(None, new):
            is_taken = len(patches) <= _MOST_NEW_FILES and _is_source(root / name)
            patches.append((name, _added(root, name) if is_taken else None))
    except TestbedError:
        return ""
    taken: list[str] = []
    missing: list[str] = []
    room = _LARGEST_CHANGES
    for name, patch in patches:
        if patch is None or len(patch) > room:
            missing.append(name)
        else:
            taken.append(patch)
            room -= len(patch)
    text = "".join(taken)
    return f"not in here, large or no text: {missing}\n{text}" if text and missing else text


def _added(root: Path, name: str) -> str:
    # It exits 1, which says that there is a difference.
    return _git(root, *_DIFF, "--no-index", "--", "/dev/null", name, check=False)


def _is_source(path: Path) -> bool:
    if not path.is_file() or path.stat().st_size > _LARGEST_NEW_FILE:
        return False
    try:
        return "\0" not in path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False


def _git(root: Path, *arguments: str, check: bool = True) -> str:
    # The checkout may be another user's: we only read.
    argv = ["git", "-c", f"safe.directory={root}", "-C", str(root), *arguments]
    return process.run(argv, check=check).stdout
