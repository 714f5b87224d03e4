from __future__ import annotations

from typing import Any

import pytest

from testbed.pytest_plugin.wishes import Wish, groups_of
from testbed.tests.plan.topologies import plan_of

PLAN = plan_of("""
tenants:
  alpha: {services: {dns, ldap}}
  bravo: {services: {dns, kdc}}
  charlie: {services: {dns, ldap}, network: 10.1.0.0/24}
  delta: {services: {dns, ldap}}
""")


@pytest.mark.parametrize(
    ("wanted", "options", "expected"),
    [
        (("bravo", "alpha"), {}, [("bravo", "alpha")]),
        ((), {}, [("alpha", "bravo", "charlie", "delta")]),
        ((1,), {"services": ["kdc"]}, [("bravo",)]),
        (
            (2,),
            {"services": ["dns", "ldap"]},
            [("alpha", "charlie"), ("charlie", "delta"), ("delta", "alpha")],
        ),
        ((2,), {"services": ["ldap"], "overlap": "client"}, [("alpha", "delta")]),
        (
            (2,),
            {"overlap": "network"},
            [("alpha", "bravo"), ("bravo", "delta"), ("delta", "alpha")],
        ),
        ((2,), {"overlap": "ldap"}, [("alpha", "delta")]),
        ((4,), {}, [("alpha", "bravo", "charlie", "delta")]),
    ],
)
def test_groups_that_satisfy_a_marker(
    wanted: tuple[Any, ...], options: dict[str, Any], expected: list[tuple[str, ...]]
) -> None:
    assert list(groups_of(PLAN, *wanted, **options)) == expected


@pytest.mark.parametrize(
    ("wanted", "options", "told"),
    [
        (("zulu",), {}, "no tenant 'zulu'"),
        ((5,), {}, "has no 5 tenants"),
        ((2,), {"services": ["kdc"]}, "has no 2 tenants having kdc"),
        ((2,), {"overlap": "domain"}, "has no 2 tenants with one domain"),
        ((1,), {"services": ["ntp"]}, "there is no 'ntp'"),
        ((1,), {"overlap": "colour"}, "one of network, client, dns"),
        ((0,), {}, "give names, or one number"),
        ((1, "alpha"), {}, "give names, or one number"),
        (("alpha",), {"services": ["dns"]}, "go with a number"),
    ],
)
def test_marker_that_cannot_be_satisfied_is_told(
    wanted: tuple[Any, ...], options: dict[str, Any], told: str
) -> None:
    with pytest.raises(pytest.UsageError, match=told):
        groups_of(PLAN, *wanted, **options)


def test_slip_in_a_markers_option_is_told() -> None:
    mark = pytest.mark.tenants(1, overlp="client").mark
    wish = Wish("proposal", whole=False, tenants=mark, wants_tenants=True)
    with pytest.raises(pytest.UsageError, match="it is services, overlap or started"):
        wish.groups(PLAN)
