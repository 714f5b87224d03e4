"""The leak matrix as scenarios hand it to the report."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from testbed.probe.matrix import Cell
from testbed.report.record import MatrixCell


@dataclass(frozen=True, slots=True)
class Matrix:
    """Collects a scenario's cells; the report shows those of a whole run as a heat map."""

    cells: list[MatrixCell] = field(default_factory=list)

    def record(self, cells: Iterable[Cell]) -> None:
        """Add `cells`, as `judge` returns them."""
        self.cells.extend(
            MatrixCell(
                sender=cell.talk.tenant,
                receiver=cell.receiver,
                protocol=cell.talk.protocol,
                direction=cell.talk.direction,
                frames=len(cell.frames),
                ok=cell.ok,
            )
            for cell in cells
        )
