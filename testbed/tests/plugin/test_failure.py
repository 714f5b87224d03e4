from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from testbed.pytest_plugin.failure import folder_name


def test_folder_is_named_after_the_test() -> None:
    name = folder_name("scenarios/routing/test_reach.py::test_x[alpha-../..]")
    assert re.fullmatch(r"routing-test_reach-test_x-alpha-[0-9a-f]{6}", name)


@given(st.text())
def test_folder_is_safe_and_short(nodeid: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,90}", folder_name(nodeid))


def test_long_names_and_odd_characters_are_told_apart() -> None:
    names = ["x" * 200 + "1", "x" * 200 + "2", "a[+]", "a[-]"]
    assert len({folder_name(name) for name in names}) == len(names)
