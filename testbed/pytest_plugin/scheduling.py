"""Which worker runs which test: those that need one deployment for themselves, one after another on one.

xdist would deal them out like cards, and all workers but one would wait for the same lease.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from xdist.scheduler import LoadScopeScheduling


class LeaseScheduling(LoadScopeScheduling):  # type: ignore[misc]
    """Deals out single tests, and `groups` whole, largest first, before all others."""

    def __init__(self, config: pytest.Config, log: object, groups: Sequence[str]) -> None:
        super().__init__(config, log)
        self._groups = tuple(group.rstrip("/") for group in groups)

    def _split_scope(self, nodeid: str) -> str:
        """Return what `nodeid` is dealt out with: xdist's own schedulers override this, too."""
        for group in self._groups:
            if nodeid.startswith((f"{group}/", f"{group}::")):
                return group
        return nodeid
