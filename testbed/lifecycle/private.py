"""Files and folders for their owner alone: configurations and captures hold the tenants' passwords."""

from __future__ import annotations

import os
from pathlib import Path


def make_private(folder: Path) -> Path:
    """Make `folder` and what is missing above it, for its owner alone, and return it."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(mode=0o700, exist_ok=True)
    return folder


def write_private(path: Path, content: str | bytes) -> None:
    """Write a file that its owner alone may read."""
    data = content.encode() if isinstance(content, str) else content
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(data)
