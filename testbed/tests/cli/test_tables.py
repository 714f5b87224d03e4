from __future__ import annotations

import io

from rich.console import Console

from testbed.cli.tables import print_rows

TITLES = ("tenant", "server addresses", "health")
ROWS = (
    ("alpha", "10.64.0.1\nfd00:64:0:1::1", "[green]healthy[/green]"),
    ("bravo", "10.64.0.9", "[red]ldap: no answer within 3 s, ask its log[/red]"),
)


def printed(width: int) -> list[str]:
    out = Console(file=io.StringIO(), width=width)
    print_rows(out, TITLES, ROWS, wraps_last=True)
    return [line.rstrip() for line in out.file.getvalue().splitlines()]  # type: ignore[attr-defined]


def test_rows_side_by_side_wrap_their_last_column_alone() -> None:
    assert printed(60) == [
        "tenant  server addresses  health",
        "alpha   10.64.0.1         healthy",
        "        fd00:64:0:1::1",
        "bravo   10.64.0.9         ldap: no answer within 3 s, ask",
        "                          its log",
    ]


def test_rows_one_below_the_other_where_words_would_break() -> None:
    assert printed(40) == [
        "alpha",
        "  server addresses  10.64.0.1",
        "                    fd00:64:0:1::1",
        "  health            healthy",
        "bravo",
        "  server addresses  10.64.0.9",
        "  health            ldap: no answer",
        "                    within 3 s, ask its",
        "                    log",
    ]


def test_no_rows_are_titles() -> None:
    out = Console(file=io.StringIO(), width=60)
    print_rows(out, TITLES, ())
    assert out.file.getvalue().split() == ["tenant", "server", "addresses", "health"]  # type: ignore[attr-defined]
