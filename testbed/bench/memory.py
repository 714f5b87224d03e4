"""The host's memory, before and after something is made."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from testbed.deadline import Deadline, wait_for

_SETTLED_LIMIT_S = 60
_SETTLED_KIB = 8 << 10  # more in between two readings is still being freed
_APART_S = 1.0


def available_kib() -> int:
    """Return the memory of the host that is free or can be freed."""
    return _read()["MemAvailable"]


def kernel_kib() -> int:
    """Return what the host's kernel has for its objects; of processes and files it holds nothing."""
    rows = _read()
    return sum(rows[key] for key in ("Slab", "Percpu", "VmallocUsed"))


def settled(reading: Callable[[], int]) -> int:
    """Return a `reading` in KiB once the kernel has freed what it still frees of what was before.

    Thousands of namespaces take it seconds after their removal, in which whatever is measured would
    seem to give memory back.
    """
    last_s, last_kib = time.monotonic(), reading()

    def unchanged() -> int | None:
        nonlocal last_s, last_kib
        if time.monotonic() - last_s < _APART_S:
            return None
        before_kib, last_s, last_kib = last_kib, time.monotonic(), reading()
        return last_kib if abs(last_kib - before_kib) < _SETTLED_KIB else None

    what = "the kernel to have freed what is gone"
    return wait_for(unchanged, Deadline.after(_SETTLED_LIMIT_S), what=what)


def _read() -> dict[str, int]:
    Path("/proc/sys/vm/drop_caches").write_text("2")  # slab: what it holds is not in use
    rows = (row.split(":") for row in Path("/proc/meminfo").read_text().splitlines())
    return {name: int(rest.split()[0]) for name, rest in rows}
