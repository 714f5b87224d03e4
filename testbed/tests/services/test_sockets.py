from __future__ import annotations

import pytest

from testbed.fib.services.outcome import Endpoint
from testbed.fib.services.sockets import endpoint


@pytest.mark.parametrize(
    ("name", "address"),
    [
        (("::ffff:10.64.0.1", 7, 0, 0), "10.64.0.1"),
        (("fd00:64::1", 7, 0, 0), "fd00:64::1"),
        (("10.64.0.1", 7), "10.64.0.1"),
    ],
)
def test_addresses_are_shown_in_their_own_familys_notation(
    name: tuple[object, ...], address: str
) -> None:
    assert endpoint(name) == Endpoint(address, 7)
