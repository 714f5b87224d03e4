"""A tenant with two directories: one is lost, and its users log in at the other.

The daemon asks the one that answered last, so the loss costs a tenant's users one login's patience;
what it has learned of one tenant's servers says nothing of a twin's, which have the same names.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from statistics import median

import pytest

from scenarios.checks import assert_logs_in
from testbed.api import (
    Address,
    Method,
    Reply,
    Role,
    Tenant,
    faults,
    log_in,
    route_to,
)

# Stated in docs/scenarios.md: what the first login after the loss takes at most, ...
FIRST_LOGIN_S = 9.0
# ... what those after it and those of other tenants do, or this: below is the emulation's own noise.
MOST_TIMES_SLOWER, ALWAYS_FINE_MS = 3.0, 600.0
ROUNDS = 5
AT_ONCE = 6
ROLES = (Role.LDAP, Role.LDAP2)

pytestmark = [pytest.mark.topology("twins"), pytest.mark.tenants("castor", "pollux")]
Fault = Callable[[Tenant, Role], AbstractContextManager[None]]


def address_of(tenant: Tenant, role: Role) -> set[Address]:
    return {own.ip for own in tenant.plan.container(role).addresses}


def login_ms(tenant: Tenant, role: Role) -> float:
    """Return the median time of logins, each of which the directory `role` has judged."""
    replies = [assert_logs_in(tenant, Method.LDAP) for _ in range(ROUNDS)]
    assert {reply.server for reply in replies} <= address_of(tenant, role)
    return median(reply.elapsed_ms for reply in replies)


def allowed_ms(before_ms: float) -> float:
    return max(ALWAYS_FINE_MS, MOST_TIMES_SLOWER * before_ms)


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
    user, twins = tenant.users[0], asked_last(twin)
    assert_logs_in(tenant, Method.LDAP)
    before_ms = login_ms(twin, twins)

    def try_to() -> Reply:
        route = route_to(tenant.client, timeout_s=30)
        return log_in(tenant.client, route, user.name, user.password, method=Method.LDAP)

    with ExitStack() as lost, ThreadPoolExecutor(AT_ONCE) as pool:
        for role in ROLES:
            lost.enter_context(faults.service_stopped(tenant, role))
        waiting = [pool.submit(try_to) for _ in range(AT_ONCE)]
        during_ms = login_ms(twin, twins)
        assert not all(one.done() for one in waiting), "it was over before it could slow anybody"
        replies = [one.result() for one in waiting]
        assert {(r.error, r.verdict, r.tenant) for r in replies} == {("", "error", tenant.name)}
        assert during_ms < allowed_ms(before_ms)
    assert_logs_in(tenant, Method.LDAP)
