"""Two runs of the bench, of two machines or of two versions: what their ratios have in common.

Absolute figures of two machines say little; ratios between variants of one run should hold on both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from testbed.bench import targets
from testbed.bench.results import (
    QUANTITIES,
    REFERENCE,
    Quantity,
    Sum,
    design,
    figures,
    of_designs,
    ratios,
)

Measured = Sequence[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Run:
    """What results.json holds of a run."""

    about: Mapping[str, Any]
    measured: Measured


def rows(former: Run, measured: Measured) -> Iterator[str]:
    """Yield a page's section: what was asked for, then and now, and by how much other ratios differ."""
    about = former.about
    yield f"Then: {about['date']} ({about['scope']}), on {about['host']}."
    yield ""
    yield "| asked for | then | now |"
    yield "|---|---|---|"
    then = {target.title: target.found for target in targets.targets(former.measured)}
    for target in targets.targets(measured):
        if target.title in then:
            yield f"| {target.title} | {then[target.title]} | {target.found} |"
    yield ""
    yield "| ratios to the extensions, by design and number of tenants | how many | now, of then |"
    yield "|---|---|---|"
    for quantity in QUANTITIES:
        changes = list(_changes(quantity, former.measured, measured))
        if changes:
            yield f"| {quantity.title} | {len(changes)} | {Sum.of(changes)} |"


def _changes(quantity: Quantity, former: Measured, measured: Measured) -> Iterator[float]:
    then = dict(_ratios(quantity, former))
    for key, now in _ratios(quantity, measured):
        if then.get(key, 0) > 0:
            yield now / then[key]


def _ratios(quantity: Quantity, measured: Measured) -> Iterator[tuple[tuple[int, str], float]]:
    """Yield the median ratio of each number of tenants and design."""
    found = of_designs(measured)
    for tenants, name in sorted({(item["tenants"], design(item)) for item in found}):
        ours = figures(found, quantity, REFERENCE, tenants)
        against = ratios(figures(found, quantity, name, tenants), ours)
        if name != REFERENCE and against:
            yield (tenants, name), median(against)
