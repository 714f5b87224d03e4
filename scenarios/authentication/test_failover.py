"""A tenant with two directories: one is lost, and its users log in at the other.

The daemon asks the one that answered last, so the loss costs a tenant's users one login's patience;
what it has learned of one tenant's servers says nothing of a twin's, which have the same names.
"""

from __future__ import annotations

import time
from statistics import median

import pytest

from scenarios.authentication.patience import (
    FIRST_LOGIN_S,
    Fault,
    allowed_ms,
    assert_twin_does_not_wait,
)
from scenarios.checks import assert_logs_in
from testbed.api import Address, Method, Role, Tenant, faults

ROUNDS = 5
ROLES = (Role.LDAP, Role.LDAP2)

pytestmark = [pytest.mark.topology("twins"), pytest.mark.tenants("castor", "pollux")]


def address_of(tenant: Tenant, role: Role) -> set[Address]:
    return {own.ip for own in tenant.plan.container(role).addresses}


def login_ms(tenant: Tenant, role: Role) -> float:
    """Return the median time of logins, each of which the directory `role` has judged."""
    replies = [assert_logs_in(tenant, Method.LDAP) for _ in range(ROUNDS)]
    assert {reply.server for reply in replies} <= address_of(tenant, role)
    return median(reply.elapsed_ms for reply in replies)


def asked_last(tenant: Tenant) -> Role:
    """Return which of the tenant's directories the daemon asks."""
    server = assert_logs_in(tenant, Method.LDAP).server
    return next(role for role in ROLES if server in address_of(tenant, role))


@pytest.mark.parametrize("how", [faults.service_stopped, faults.service_hung])
def test_login_goes_on_at_the_other_directory(how: Fault, tenants: tuple[Tenant, ...]) -> None:
    tenant, twin = tenants
    lost, twins = asked_last(tenant), asked_last(twin)
    (left,) = (role for role in ROLES if role is not lost)
    before_ms, twins_before_ms = login_ms(tenant, lost), login_ms(twin, twins)
    with how(tenant, lost):
        start_s = time.monotonic()
        first = assert_logs_in(tenant, Method.LDAP)
        assert first.server in address_of(tenant, left)
        assert time.monotonic() - start_s < FIRST_LOGIN_S
        assert login_ms(tenant, left) < allowed_ms(before_ms)
        # Of the same names: but the twin's own, which is not lost.
        assert login_ms(twin, twins) < allowed_ms(twins_before_ms)
    assert asked_last(tenant) is left


def test_control_without_any_directory_nobody_logs_in_and_others_do_not_wait(
    tenants: tuple[Tenant, ...],
) -> None:
    tenant, twin = tenants
    twins = asked_last(twin)
    assert_twin_does_not_wait(tenant, ROLES, Method.LDAP, lambda: login_ms(twin, twins))
