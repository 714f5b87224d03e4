"""The soak runs when it is asked for: TESTBED_SOAK=SECONDS."""

from __future__ import annotations

import os

collect_ignore = [] if os.environ.get("TESTBED_SOAK") else ["test_soak.py"]
