"""What stands in docs/bench after a run, after another one, and after a part was measured again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from testbed.bench.compare import Run
from testbed.bench.published import Published
from testbed.errors import InputError

ABOUT = {"scope": "long", "date": "Monday", "took_s": 7000, "host": "one", "load": [0.5, 1.0]}
AGAIN = {"scope": "long", "date": "Tuesday", "took_s": 500, "host": "two", "load": [2.0, 3.0]}


def scaling(fibs: int) -> dict[str, Any]:
    rate = {"per_s": 100.0}
    return {"scaling": 10, "fibs": fibs, "round": "10.0", "conn": rate, "req": rate, "udp": rate}


FIRST = Run(
    ABOUT,
    [
        {"wiring": "routers and links", "tenants": 10, "error": "too many open files"},
        {"part": "operations", "error": "it does not answer"},
        scaling(1),
    ],
)


def wired(up_s: float) -> list[dict[str, Any]]:
    figures = {"tenants": 10, "round": 0, "up_s": up_s, "down_s": 1.0, "memory_kib": 9}
    return [{"wiring": way, **figures} for way in ("testbed", "raw")]


def test_part_measured_again_takes_the_place_of_what_failed(tmp_path: Path) -> None:
    assert Published.read(tmp_path) is None
    Published(FIRST).write(tmp_path)
    there = Published.read(tmp_path)
    assert there == Published(FIRST)
    page = there.renewed(["wiring"], Run(AGAIN, wired(2.0))).write(tmp_path)
    assert "*wiring* again: Tuesday, 500 s, on two;\nload average 2.0 to 3.0." in page
    assert "too many open files" not in page
    assert "| 10 | up, s | 2 | 2 | 1 x |" in page
    assert "- operations: it does not answer" in page
    renewed = Published.read(tmp_path)
    assert renewed is not None
    page = renewed.renewed(["operations"], Run(AGAIN, [])).write(tmp_path)
    assert "it does not answer" not in page
    assert "*wiring*, *operations* again: Tuesday, 500 s, on two;" in page
    later = {**AGAIN, "date": "Wednesday"}
    page = renewed.renewed(["operations"], Run(later, [])).write(tmp_path)
    assert "*wiring* again: Tuesday" in page
    assert "*operations* again: Wednesday" in page


def test_next_run_is_compared_with_it_also_after_a_renewal(tmp_path: Path) -> None:
    first = Published(Run(ABOUT, [scaling(1), scaling(10)]))
    second = first.followed_by(Run(AGAIN, [scaling(1), scaling(10)]))
    assert "Then: Monday (long), on one." in second.write(tmp_path)
    there = Published.read(tmp_path)
    assert there is not None
    page = there.renewed(["wiring"], Run(AGAIN, wired(2.0))).write(tmp_path)
    assert "Then: Monday (long), on one." in page


@pytest.mark.parametrize("there", [None, Published(Run({**ABOUT, "scope": "full"}, []))])
def test_parts_go_into_a_run_of_their_scope_alone(there: Published | None, tmp_path: Path) -> None:
    if there:
        there.write(tmp_path)
    with pytest.raises(InputError, match="parts of a long one cannot go into it"):
        Published.to_renew("long", tmp_path)


def test_results_of_nobody_are_no_run(tmp_path: Path) -> None:
    for text in ("", "[]", '{"about": {}}', "{"):
        (tmp_path / "results.json").write_text(text)
        assert Published.read(tmp_path) is None
