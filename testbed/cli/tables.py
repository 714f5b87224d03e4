"""Tables for people: rows side by side, or one below the other where the terminal is too narrow."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

_GAP = 2
_LEAST_WRAPPED = 24


def print_rows(
    out: Console, titles: Sequence[str], rows: Sequence[Sequence[str]], *, wraps_last: bool = False
) -> None:
    """Print `rows` of cells, in rich's markup and maybe of several lines, below `titles`.

    No word is ever broken in two: of the columns only the last is wrapped, if it may be.
    """
    widths = [max(map(_width, column)) for column in zip(titles, *rows, strict=True)]
    if wraps_last:
        widths[-1] = min(widths[-1], _LEAST_WRAPPED)
    if sum(widths) + _GAP * (len(widths) - 1) <= out.width:
        out.print(_side_by_side(titles, rows, wraps_last=wraps_last))
        return
    for first, *others in rows:
        out.print(first)
        table = Table.grid(padding=(0, _GAP))
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for title, cell in zip(titles[1:], others, strict=True):
            table.add_row(title, cell)
        out.print(Padding.indent(table, _GAP))


def _side_by_side(
    titles: Sequence[str], rows: Sequence[Sequence[str]], *, wraps_last: bool
) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in titles:
        is_wrapped = wraps_last and title is titles[-1]
        table.add_column(title, no_wrap=not is_wrapped, overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def _width(cell: str) -> int:
    return max((line.cell_len for line in Text.from_markup(cell).split()), default=0)
