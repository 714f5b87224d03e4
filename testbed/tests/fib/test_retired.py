from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest

from testbed.fib.document import Document, InputError, parse_document
from testbed.fib.retired import Retired
from testbed.tests.fib.test_document import document, fib


def parsed(*numbers: int, **changes: str) -> Document:
    return parse_document(document(*(fib(number, **changes) for number in numbers)))


def test_number_of_a_deleted_fib_rests() -> None:
    retired = Retired({}, {})
    retired.note(parsed(1, 2), parsed(1))
    with pytest.raises(InputError, match="FIB 2 'newcomer': the number was that of 'tenant2'"):
        retired.check(parsed(2, name="newcomer"))
    retired.check(parsed(1, 2))


def test_number_that_is_in_use_does_not_rest() -> None:
    retired = Retired({}, {})
    retired.note(parsed(2), parsed(2, name="renamed"))
    retired.check(parsed(2, name="renamed"))


def test_address_remembers_its_former_fib(tmp_path: Path) -> None:
    retired = Retired({}, {})
    retired.note(parsed(1, 2), parsed(1))
    retired.save(tmp_path / "retired.json")
    again = Retired.load(tmp_path / "retired.json")
    assert again == retired
    given = document(fib(1, addresses=["10.64.0.17/32", "10.64.0.9/29"], routes=[], neighbours=[]))
    assert again.changed_owners(parsed(1), parse_document(given)) == {
        ip_address("10.64.0.17").packed: 1
    }
    assert again.changed_owners(parsed(1), parsed(1, 2)) == {}


def test_no_record_is_an_empty_one(tmp_path: Path) -> None:
    assert Retired.load(tmp_path / "none.json") == Retired({}, {})
