from __future__ import annotations

from testbed.fib.conformance.table import render


def test_rows_come_first_then_pitfalls_each_with_its_result() -> None:
    table = render(
        {
            "fib.conformance.test_guards.Egress.test_p33_control": "holds",
            "fib.conformance.test_controls.Controls.test_thread_fib": "holds",
            "fib.conformance.test_x.X.test_rows_17_and_18_wildcard_gets_the_rest": "holds",
            "fib.conformance.test_x.X.test_row_16_udp": "known gap",
            "fib.conformance.test_x.X.test_row_37_and_p23_foreign_icmp_error": "**fails**",
        }
    )
    assert [line for line in table.splitlines() if line.startswith("| ")][1:] == [
        "| 16 | udp | known gap |",
        "| 17, 18 | wildcard gets the rest | holds |",
        "| 37, P23 | foreign icmp error | **fails** |",
        "| P33 | control | holds |",
        "| controls | thread fib | holds |",
    ]
    assert "5 tests: 3 hold, 1 known gaps." in table
