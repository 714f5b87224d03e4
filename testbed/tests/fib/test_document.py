from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.fib.document import InputError, parse_document, parse_text


def fib(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "id": number,
        "name": f"tenant{number}",
        "addresses": [f"10.64.0.{8 * number + 1}/29", f"fd00:64:0:{number}::1/64"],
        "routes": [
            {"to": f"10.64.0.{8 * number}/29"},
            {"to": "192.168.0.0/24", "via": f"10.64.0.{8 * number + 6}"},
        ],
        "neighbours": [
            {"address": f"10.64.0.{8 * number + 6}", "mac": f"02:fb:00:00:00:0{number}"}
        ],
        **changes,
    }


def document(*fibs: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"version": 1, "interface": "eth0", "fibs": list(fibs or [fib(1), fib(2)]), **changes}


def problems(data: object) -> list[str]:
    with pytest.raises(InputError) as caught:
        parse_document(data)
    return caught.value.problems


def test_documented_example_is_accepted() -> None:
    text = (Path(__file__).parents[3] / "docs/fib.md").read_text("utf-8")
    example = json.loads(text.split("```json\n")[1].split("```")[0])
    example["default_fib"] = 1
    parsed = parse_document(example)
    assert parsed.fibs[0].routes[1].via is not None
    assert len(parsed.addresses_of(parsed.fibs[0])) == 4


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ([], "document: must be an object"),
        (document(version=2), "version: must be 1"),
        (document(surprise=1), "document: unknown key 'surprise'"),
        ({"version": 1, "fibs": []}, "document: key 'interface' is missing"),
        (document(strict_mac="yes"), "strict_mac: must be true or false"),
        (document(default_fib=9), "default_fib: there is no FIB 9"),
        (document(default_fib=True), "default_fib: must be an integer"),
        (document(fib(1, id=0)), "fibs[0].id: 0 is not between 1 and 65535"),
        (document(fib(1, id=65536)), "fibs[0].id: 65536 is not between 1 and 65535"),
        (document(fib(1), fib(2, id=1)), "FIB 1 'tenant2': the number is taken by FIB 1 'tenant1'"),
        (
            document(fib(1), fib(2, name="tenant1")),
            "FIB 2 'tenant1': the name is taken by FIB 1 'tenant1'",
        ),
        (
            document(fib(1), fib(2, addresses=["10.64.0.9/30"])),
            "FIB 2 'tenant2': address '10.64.0.9' belongs to FIB 1 'tenant1'",
        ),
        (
            document(unassigned=["10.64.0.9/32"]),
            "FIB 1 'tenant1': address '10.64.0.9' belongs to the interface",
        ),
        (
            document(fib(1, addresses=["10.64.0.9"], routes=[{"to": "10.0.0.1/8"}])),
            "fibs[0].routes[0].to: 10.0.0.1/8 has host bits set",
        ),
        (
            document(fib(1, addresses=["fe80::1/64"])),
            "fibs[0].addresses[0]: 'fe80::1/64' cannot be an address of a FIB",
        ),
        (
            document(fib(1, addresses=["224.0.0.5/32"])),
            "fibs[0].addresses[0]: '224.0.0.5/32' cannot be an address of a FIB",
        ),
        (
            document(fib(1, addresses=["ten"])),
            "fibs[0].addresses[0]: 'ten' is not an address with its prefix length",
        ),
        (
            document(fib(1, addresses=["fd00::1/64"])),
            "FIB 1 'tenant1': route to '10.64.0.8/29' without an address of that family",
        ),
        (
            document(fib(1, routes=[{"to": "10.0.0.0/8"}, {"to": "10.0.0.0/8"}])),
            "FIB 1 'tenant1': two routes to '10.0.0.0/8'",
        ),
        (
            document(fib(1, routes=[{"to": "10.0.0.0/8", "via": "fd00::1"}])),
            "fibs[0].routes[0].via: 'fd00::1' is of another family than '10.0.0.0/8'",
        ),
        (
            document(fib(1, routes=[{"to": "10.64.0.9/32"}])),
            "FIB 1 'tenant1': route to '10.64.0.9/32', which is an address of its own",
        ),
        (
            document(fib(1, neighbours=[{"address": "10.64.0.14", "mac": "01:00:5e:00:00:01"}])),
            "fibs[0].neighbours[0].mac: '01:00:5e:00:00:01' is not the MAC address of one station",
        ),
        (
            document(fib(1, neighbours=[{"address": "10.64.0.14", "mac": "2:3"}])),
            "fibs[0].neighbours[0].mac: '2:3' is not a MAC address",
        ),
        (
            document(
                fib(1), fib(2, neighbours=[{"address": "10.64.0.9", "mac": "02:00:00:00:00:01"}])
            ),
            "FIB 2 'tenant2': neighbour '10.64.0.9' is an address of FIB 1 'tenant1'",
        ),
        (
            document(
                fib(1), fib(2, neighbours=[{"address": "10.64.0.14", "mac": "02:00:00:00:00:01"}])
            ),
            "FIB 2 'tenant2': neighbour '10.64.0.14' has another MAC address in FIB 1 'tenant1'",
        ),
        (
            document(
                fib(1, neighbours=[]),
                fib(2, routes=[{"to": "192.168.0.0/24", "via": "10.64.0.14"}]),
            ),
            (
                "FIB 2 'tenant2': next hop '10.64.0.14' is also that of FIB 1 'tenant1'; one "
                "interface has one neighbour entry for it, so name its MAC in both"
            ),
        ),
    ],
)
def test_mistake_is_named(data: object, expected: str) -> None:
    assert expected in problems(data)


def test_all_problems_are_reported_at_once() -> None:
    found = problems(document(fib(1, id=-1, addresses=["x", "y"]), version=3, colour="red"))
    assert len(found) == 5


def test_text_that_is_not_json() -> None:
    with pytest.raises(InputError, match="not JSON"):
        parse_text("{")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["version", "interface", "fibs", "id", "name", "addresses", "routes"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(JSON)
def test_any_json_is_accepted_or_refused_with_problems(data: object) -> None:
    with contextlib.suppress(InputError):
        parse_document(data)
