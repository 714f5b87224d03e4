"""Turns measurements into ratios with their spread, a table and a picture.

Variants were measured in turn, so a ratio is taken within a round and only then summed up: what the
machine did meanwhile met both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from statistics import median
from typing import Any, TypeVar

Measurement = Mapping[str, Any]
Round = TypeVar("Round")

REFERENCE = "fib"
ADDING, LOADED = "adding", "variant"  # the keys under which measurements of designs name theirs


@dataclass(frozen=True, slots=True)
class Quantity:
    """Something that was measured of each variant, in measurements of a kind.

    Of one that `is_shared` the first tenant has all that tenants share, others what each of them adds.
    """

    title: str
    kind: str
    of: Callable[[Measurement], float]
    unit: str
    is_shared: bool = False


def rate(way: str) -> Callable[[Measurement], float]:
    """Return what tells how many a second were served in a way: `conn`, `req` or `udp`."""
    return lambda measurement: measurement[way]["per_s"]


QUANTITIES = (
    Quantity("time to add a tenant", ADDING, itemgetter("add_ms"), "ms", is_shared=True),
    Quantity("memory a tenant", LOADED, itemgetter("memory_kib"), "KiB", is_shared=True),
    Quantity("connections", LOADED, rate("conn"), "/s"),
    Quantity("connection, median", LOADED, lambda m: m["conn"]["p50_us"] / 1000, "ms"),
    Quantity("connection, 99 %", LOADED, lambda m: m["conn"]["p99_us"] / 1000, "ms"),
    Quantity("requests on live connections", LOADED, rate("req"), "/s"),
    Quantity("UDP round trips", LOADED, rate("udp"), "/s"),
    Quantity("threads", LOADED, itemgetter("threads"), ""),
    Quantity("listening sockets", LOADED, itemgetter("listeners"), ""),
    Quantity("to add one tenant alone, by a command", ADDING, itemgetter("alone_ms"), "ms"),
)


@dataclass(frozen=True, slots=True)
class Sum:
    """The median of some figures, with the least and the largest."""

    middle: float
    least: float
    most: float

    @classmethod
    def of(cls, figures: Sequence[float]) -> Sum:
        """Sum up `figures`, of which there is at least one."""
        return cls(median(figures), min(figures), max(figures))

    def __str__(self) -> str:
        if self.least == self.most:
            return _short(self.middle)
        return f"{_short(self.middle)} ({_short(self.least)} to {_short(self.most)})"


def _short(figure: float) -> str:
    return f"{figure:,.0f}" if abs(figure) >= 100 else f"{figure:.3g}"


def of_designs(measured: Iterable[Measurement]) -> list[Measurement]:
    """Return the measurements of designs, of either kind."""
    return [m for m in measured if ADDING in m or LOADED in m]


def design(measurement: Measurement) -> str:
    """Return which design was measured."""
    return str(measurement.get(ADDING) or measurement[LOADED])


def figures(
    measured: Sequence[Measurement], quantity: Quantity, variant: str, tenants: int
) -> dict[int, float]:
    """Return the figure of each round."""
    good = [m for m in measured if "error" not in m]
    return by_round(good, quantity.of, **{quantity.kind: variant, "tenants": tenants})


def by_round(
    measured: Iterable[Measurement], of: Callable[[Measurement], float], **kind: object
) -> dict[Any, float]:
    """Return a figure of each round, of what was measured of this kind, such as `wiring="raw"`."""
    return {m["round"]: of(m) for m in measured if all(m.get(key) == kind[key] for key in kind)}


def ratios(mine: Mapping[Round, float], reference: Mapping[Round, float]) -> list[float]:
    """Return `mine` over `reference`, round by round."""
    return [mine[n] / reference[n] for n in mine if reference.get(n, 0) > 0]


def table(measured: Sequence[Measurement]) -> list[str]:
    """Return rows of Markdown: each quantity of each variant, absolute and against the extensions."""
    rows = []
    measured = of_designs(measured)
    for tenants in sorted({m["tenants"] for m in measured}):
        variants = list(dict.fromkeys(design(m) for m in measured if m["tenants"] == tenants))
        rows += [
            "",
            f"### {tenants:,} tenants",
            "",
            f"| | {' | '.join(variants)} |",
            "|---|" + "---|" * len(variants),
        ]
        for quantity in QUANTITIES:
            reference = figures(measured, quantity, REFERENCE, tenants)
            cells = [_cell(measured, quantity, name, tenants, reference) for name in variants]
            unit = f", {quantity.unit}" if quantity.unit else ""
            rows.append(f"| {quantity.title}{unit} | {' | '.join(cells)} |")
    return rows


def _cell(
    measured: Sequence[Measurement],
    quantity: Quantity,
    variant: str,
    tenants: int,
    reference: Mapping[int, float],
) -> str:
    found = figures(measured, quantity, variant, tenants)
    if not found:
        return "failed"
    text = str(Sum.of(list(found.values())))
    against = ratios(found, reference)
    if variant != REFERENCE and against:
        text += f"; **{Sum.of(against)} x**"
    return text


def picture(measured: Sequence[Measurement], quantity: Quantity) -> str:
    """Return an SVG: one line a variant, both axes logarithmic."""
    measured = of_designs(measured)
    points = {
        name: [
            (tenants, median(list(found.values())))
            for tenants in sorted({m["tenants"] for m in measured})
            if not (quantity.is_shared and tenants == 1)
            and (found := figures(measured, quantity, name, tenants))
            and median(list(found.values())) > 0
        ]
        for name in dict.fromkeys(map(design, measured))
    }
    return _svg(f"{quantity.title}{f' ({quantity.unit})' if quantity.unit else ''}", points)


_COLOURS = ("#1b6ca8", "#c44536", "#3a7d44", "#7d5ba6", "#b8860b")
_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 560, 340, 70, 290


def _svg(title: str, points: Mapping[str, Sequence[tuple[int, float]]]) -> str:
    from math import log10  # noqa: PLC0415 - for this picture alone

    every = [point for line in points.values() for point in line]
    if not every:
        return ""
    xs = [log10(x) for x, _ in every]
    ys = [log10(y) for _, y in every]
    low_x, high_x = min(xs), max(*xs, min(xs) + 0.1)
    low_y, high_y = min(ys) - 0.1, max(ys) + 0.1

    def place(x: float, y: float) -> tuple[float, float]:
        right = _LEFT + (log10(x) - low_x) / (high_x - low_x) * (_WIDTH - _LEFT - 90)
        return right, _BOTTOM - (log10(y) - low_y) / (high_y - low_y) * (_BOTTOM - 40)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}">',
        "<style>text { font: 12px sans-serif }</style>",
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        f'<text x="{_LEFT}" y="20" font-size="14">{title}</text>',
    ]
    for x in sorted({x for x, _ in every}):
        right, _ = place(x, 10**low_y)
        parts.append(f'<text x="{right}" y="{_BOTTOM + 20}" text-anchor="middle">{x:,}</text>')
    parts.append(f'<text x="{_LEFT}" y="{_BOTTOM + 40}">tenants</text>')
    for y in (10**low_y, 10 ** ((low_y + high_y) / 2), 10**high_y):
        _, down = place(every[0][0], y)
        parts.append(f'<text x="{_LEFT - 8}" y="{down + 4}" text-anchor="end">{_short(y)}</text>')
        parts.append(
            f'<line x1="{_LEFT}" x2="{_WIDTH - 90}" y1="{down}" y2="{down}" stroke="#ddd"/>'
        )
    for (name, line), colour in zip(points.items(), _COLOURS, strict=False):
        places = [place(x, y) for x, y in line]
        if not places:
            continue
        path = " ".join(f"{right:.1f},{down:.1f}" for right, down in places)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{r:.1f}" cy="{d:.1f}" r="3" fill="{colour}"/>' for r, d in places]
        right, down = places[-1]
        parts.append(f'<text x="{right + 8:.1f}" y="{down + 4:.1f}" fill="{colour}">{name}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"
