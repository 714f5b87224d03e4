from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path

import pytest

from testbed.fib.conformance.specification import (
    ELSEWHERE,
    GAPS,
    PITFALLS,
    ROWS,
    SAME_AS,
)
from testbed.fib.conformance.table import render, subjects_of

ROOT = Path(__file__).parents[3]
SUITE = ROOT / "testbed/fib/conformance"
ALL = {**ROWS, **PITFALLS}


def functions(places: Iterable[Path]) -> list[ast.FunctionDef]:
    return [
        node
        for path in sorted(places)
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]


def suite() -> list[ast.FunctionDef]:
    return functions(SUITE.glob("test_*.py"))


SHOWN = {subject for test in suite() for subject in subjects_of(test.name)}


def test_specification_is_numbered_without_a_hole() -> None:
    assert list(ROWS) == [str(number) for number in range(1, 57)]
    assert [key for key in PITFALLS if key != "P20b"] == [f"P{number}" for number in range(1, 36)]


@pytest.mark.parametrize("subject", ALL)
def test_every_row_and_pitfall_is_shown(subject: str) -> None:
    places = {
        "a test": subject in SHOWN,
        "SAME_AS": subject in SAME_AS,
        "ELSEWHERE": subject in ELSEWHERE,
    }
    having = [place for place, has in places.items() if has]
    assert len(having) == 1, f"'{subject}' must have one entry in specification.py, has {having}"


def test_tests_are_named_after_what_there_is() -> None:
    assert set() == SHOWN - set(ALL)
    assert all(other in SHOWN for other in SAME_AS.values())


@pytest.mark.parametrize("place", ELSEWHERE.values())
def test_what_is_shown_elsewhere_is_there(place: str) -> None:
    assert (ROOT / place).is_file()


def expects_failure(test: ast.FunctionDef) -> bool:
    marks = [ast.unparse(mark) for mark in test.decorator_list]
    return any("expectedFailure" in mark or "mark.xfail" in mark for mark in marks)


def test_every_expected_failure_is_explained() -> None:
    places = {ROOT / place for place in ELSEWHERE.values() if place.startswith("scenarios/")}
    expected = {test.name for test in (*suite(), *functions(places)) if expects_failure(test)}
    assert expected == {gap.test for gap in GAPS if gap.test}


def test_generated_page_speaks_of_every_row_and_pitfall() -> None:
    page = (ROOT / "docs/conformance.md").read_text("utf-8")
    for subject, behaviour in ALL.items():
        assert f"| {subject} | {behaviour} | " in page, "run `make conformance`"


def test_page() -> None:
    page = render(
        {
            "fib.conformance.test_controls.Controls.test_thread_fib": "holds",
            "fib.conformance.test_x.X.test_rows_17_and_18_wildcard_gets_the_rest": "holds",
            "fib.conformance.test_x.X.test_row_16_udp": "known gap",
            "fib.conformance.test_x.X.test_row_16_tcp": "holds",
            "fib.conformance.test_x.X.test_row_37_and_p23_foreign_icmp_error": "**fails**",
        },
        "6.1",
    )
    lines = page.splitlines()
    assert f"| 16 | {ROWS['16']} | tcp; udp | holds, known gap |" in lines
    assert f"| 18 | {ROWS['18']} | wildcard gets the rest | holds |" in lines
    assert f"| P23 | {PITFALLS['P23']} | foreign icmp error | **fails** |" in lines
    assert f"| P6 | {PITFALLS['P6']} | row 16 | holds, known gap |" in lines
    assert f"| P21 | {PITFALLS['P21']} | row 30 | **did not run** |" in lines
    assert f"| P3 | {PITFALLS['P3']} | `{ELSEWHERE['P3']}` | by `make test` |" in lines
    assert "| controls | thread fib | holds |" in lines
    assert "Kernel 6.1: 5 tests, 3 hold, 1 are known gaps, 1 fail." in page
