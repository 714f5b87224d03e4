from __future__ import annotations

import pytest

from testbed.deadline import Deadline, NotYet, wait_for
from testbed.errors import WaitTimeoutError


def test_condition_that_holds_is_returned_even_when_no_time_is_left() -> None:
    assert wait_for(lambda: 7, Deadline.after(0), what="seven") == 7


def test_condition_is_asked_again_until_it_holds() -> None:
    answers = iter([0, 0, 3])
    assert wait_for(lambda: next(answers), Deadline.after(5), what="three") == 3


def test_timeout_says_what_was_awaited_and_last_seen() -> None:
    def condition() -> bool:
        raise NotYet("2 of 3 are up")

    with pytest.raises(WaitTimeoutError, match=r"three parts: not after .* last seen: 2 of 3"):
        wait_for(condition, Deadline.after(0.02), what="three parts")
