"""The log: one JSON object a line."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Mapping


class Log:
    """Writes lines to a descriptor, each with the time; from any thread."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()

    def write(self, line: Mapping[str, object]) -> None:
        """Write one line, whole."""
        text = json.dumps({"time": round(time.time(), 6), **line}, separators=(",", ":")) + "\n"
        left = text.encode("ascii")
        # Nobody reads the log any more: that must not stop the service.
        with self._lock, contextlib.suppress(OSError):
            while left:
                left = left[os.write(self._descriptor, left) :]
