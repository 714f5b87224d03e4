"""Whether a process of ours has ended, asked of the kernel (proc(5))."""

from __future__ import annotations

from pathlib import Path


def has_ended(pid: int) -> bool:
    """Whether process `pid` is gone, or only waits to be reaped."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    # The state follows the program's name, which may itself hold any character but is in ().
    return status.rpartition(")")[2].split()[0] in "ZX"
