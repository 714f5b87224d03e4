from __future__ import annotations

from ipaddress import ip_address

import pytest

from testbed.fib.document import InputError, parse_document
from testbed.fib.explain import explain, explain_way
from testbed.tests.fib.test_document import document, fib

DOCUMENT = parse_document(document(unassigned=["10.64.255.1/32"], default_fib=2))


@pytest.mark.parametrize(
    ("local", "expected"),
    [("10.64.0.9", 1), ("10.64.0.17", 2), ("10.64.255.1", 2), ("10.9.9.9", 0)],
)
def test_fib_of_an_address(local: str, expected: int) -> None:
    assert explain(DOCUMENT, local, None)["fib"] == expected


def test_way_to_a_client() -> None:
    answer = explain(DOCUMENT, "10.64.0.9", "192.168.0.1")
    assert answer["verdict"] == "delivered"
    assert answer["next_hop"] == "10.64.0.14"
    assert answer["source"] == "10.64.0.9"


def test_longest_prefix_counts() -> None:
    routes = [{"to": "0.0.0.0/0", "via": "10.64.0.14"}, {"to": "192.168.0.0/24"}]
    parsed = parse_document(document(fib(1, routes=routes)))
    assert explain_way(parsed, 1, ip_address("192.168.0.7"))["next_hop"] == "192.168.0.7"
    assert explain_way(parsed, 1, ip_address("192.168.1.7"))["next_hop"] == "10.64.0.14"


@pytest.mark.parametrize(
    ("number", "remote", "verdict"),
    [
        (1, "10.64.0.9", "local"),
        (1, "10.64.0.17", "unreachable"),
        (2, "10.64.255.1", "local"),
        (9, "192.168.0.1", "unreachable"),
    ],
)
def test_verdict(number: int, remote: str, verdict: str) -> None:
    assert explain_way(DOCUMENT, number, ip_address(remote))["verdict"] == verdict


def test_what_is_no_address_is_refused() -> None:
    with pytest.raises(InputError, match="is not an address"):
        explain(DOCUMENT, "ten", None)
    with pytest.raises(InputError, match="two families"):
        explain(DOCUMENT, "10.64.0.9", "fd00::1")
