"""How much the suite does of what has no end: random sequences, stress, frames of all kinds.

FIB_SECONDS is the time that each such test may take (20; `make test` says 10); above 60 the long
form is run: all frames, 100,000 threads. FIB_SEED repeats what a run has drawn; each run prints its own.
"""

from __future__ import annotations

import os
import random
from typing import Final

SECONDS: Final = float(os.environ.get("FIB_SECONDS", "20"))
SEED: Final = int(os.environ.get("FIB_SEED") or random.SystemRandom().randrange(1 << 32))


def chance() -> random.Random:
    """Return what a test draws from: the same for the same seed, whatever ran before."""
    return random.Random(SEED)  # noqa: S311 - nothing secret


def is_long() -> bool:
    """Whether there is time for the long form."""
    return SECONDS > 60
