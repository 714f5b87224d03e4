"""Removes the artefacts of old runs: they hold packets and logs, and would fill the disk one day.

Only folders that are called like a run of ours and hold its records or its report are touched. One
without a report is still at work, or was killed: it goes when it is a day old.
"""

from __future__ import annotations

import re
import shutil
import time
from pathlib import Path

from testbed.report.render import RECORDS, REPORT

DEFAULT_KEPT = 20
_RUN = re.compile(r"\d{8}-\d{6}-[0-9a-f]{4}")
_A_DAY_S = 86400


def prune_runs(folder: Path, keep: int) -> int:
    """Remove all runs in `folder` but the last `keep`, none if that is 0; return how many."""
    if keep <= 0:
        return 0
    runs = sorted(path for path in folder.iterdir() if _is_run(path))
    ended = [path for path in runs[:-keep] if _has_ended(path)]
    for path in ended:
        shutil.rmtree(path)
    return len(ended)


def _is_run(path: Path) -> bool:
    is_named_so = _RUN.fullmatch(path.name) and path.is_dir() and not path.is_symlink()
    return bool(is_named_so) and ((path / RECORDS).is_dir() or (path / REPORT).is_file())


def _has_ended(path: Path) -> bool:
    return (path / REPORT).is_file() or time.time() - path.stat().st_mtime > _A_DAY_S
