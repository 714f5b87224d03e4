"""The extensions' drop counters, as one process of a run reads them from scenario to scenario."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from testbed.errors import TestbedError
from testbed.lifecycle import ledger
from testbed.running import Running
from testbed.sut.extension import COMMAND


@dataclass(slots=True)
class Counters:
    """The drop counters of each deployment as this process last read them, and when."""

    seen: dict[str, tuple[float, Mapping[str, int]]] = field(default_factory=dict)

    def begin(self, running: Running) -> None:
        """Read them, unless they are known from the scenario before."""
        if running.plan.deployment not in self.seen:
            self._read(running)

    def forget(self, running: Running) -> None:
        """Do not judge what has been dropped up to now: a scenario has failed."""
        self.seen.pop(running.plan.deployment, None)

    def unexplained(self, running: Running) -> dict[str, int]:
        """Return what was dropped since the last look and expected by nobody, by reason."""
        before = self.seen.get(running.plan.deployment)
        after = self._read(running)
        if before is None or after is None:
            return {}
        since_s, counts = before
        # Fewer than before: the SUT was restarted in between, and began anew.
        gained = {name: n - counts.get(name, 0) for name, n in after.items()}
        if min(gained.values(), default=0) < 0:
            gained = dict(after)
        gained = {name: count for name, count in gained.items() if count}
        if not gained:
            return {}
        allowed = ledger.expected(running.deployment.folder, since_s)
        return {name: count for name, count in gained.items() if name not in allowed}

    def _read(self, running: Running) -> Mapping[str, int] | None:
        asked_s = time.time()
        try:
            answer = running.sut.channel.run([COMMAND, "counters", "--format", "json"], check=False)
        except TestbedError:
            answer = None
        if answer is None or answer.returncode != 0:  # a SUT without the extensions, or taken off
            self.seen.pop(running.plan.deployment, None)
            return None
        counts: Mapping[str, int] = json.loads(answer.stdout)
        self.seen[running.plan.deployment] = (asked_s, counts)
        return counts
