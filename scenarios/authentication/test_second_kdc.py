"""A tenant with two KDCs: one is lost, and its users log in at the other by the same passwords.

libkrb5 finds both by DNS SRV. It remembers nothing of a silent one, the daemon does: so the loss costs
a tenant's users one login's patience, and says nothing of a twin's KDCs, which have the same realm,
names and addresses.
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
from scenarios.checks import (
    KERBEROS_PORT,
    assert_logs_in,
    assert_ticket_is_its_tenants,
    server_frames,
    ticket_for_us,
)
from testbed.api import Capture, Method, Reply, Role, Tenant, faults, log_in, route_to

ROUNDS = 3
ROLES = (Role.KDC, Role.KDC2)

pytestmark = [pytest.mark.topology("twins"), pytest.mark.tenants("castor", "pollux")]


def asked(tenant: Tenant, wire: Capture, *, after: int = 0) -> list[Role]:
    """Return which of the tenant's KDCs the SUT has asked since so many frames, in that order."""
    roles = {own.ip: role for role in ROLES for own in tenant.plan.container(role).addresses}
    sent = server_frames(wire.frames()[after:], tenant, KERBEROS_PORT)
    return list(dict.fromkeys(roles[f.destination] for f in sent if f.destination in roles))


def login(tenant: Tenant, wire: Capture, password: str = "") -> tuple[Reply, list[Role]]:
    """Log the tenant's first user in, with another password if one is given, and see who is asked."""
    user, after = tenant.users[0], len(wire.frames())
    route = route_to(tenant.client, timeout_s=30)
    reply = log_in(
        tenant.client, route, user.name, password or user.password, method=Method.KERBEROS
    )
    return reply, asked(tenant, wire, after=after)


def asked_first(tenant: Tenant, wire: Capture) -> Role:
    """Return which KDC the daemon asks while both answer: the first, or one it has come to prefer."""
    reply, roles = login(tenant, wire)
    assert (reply.verdict, bool(roles)) == ("accepted", True)
    return roles[-1]  # which answered, should an emulated machine have been too slow for the other


def login_ms(tenant: Tenant, wire: Capture, role: Role) -> float:
    """Return the median time of logins for which no KDC but `role` is asked."""
    found = [login(tenant, wire) for _ in range(ROUNDS)]
    assert {(reply.verdict, *roles) for reply, roles in found} == {("accepted", role)}
    return median(reply.elapsed_ms for reply, _ in found)


@pytest.mark.parametrize("how", [faults.service_stopped, faults.service_hung])
def test_login_goes_on_at_the_other_kdc(
    how: Fault, tenants: tuple[Tenant, ...], wire: Capture
) -> None:
    tenant, twin = tenants
    lost, twins = asked_first(tenant, wire), asked_first(twin, wire)
    (left,) = (role for role in ROLES if role is not lost)
    before_ms, twins_before_ms = login_ms(tenant, wire, lost), login_ms(twin, wire, twins)
    with how(tenant, lost):
        start_s = time.monotonic()
        first, roles = login(tenant, wire)
        assert (first.verdict, first.tenant, roles[-1]) == ("accepted", tenant.name, left)
        assert time.monotonic() - start_s < FIRST_LOGIN_S
        assert login_ms(tenant, wire, left) < allowed_ms(before_ms)
        # Of the same names and addresses: but the twin's own, which is not lost.
        assert login_ms(twin, wire, twins) < allowed_ms(twins_before_ms)
        refused, _ = login(tenant, wire, "wrong")
        assert refused.verdict == "refused"
    assert_logs_in(tenant, Method.KERBEROS)


def test_what_the_first_kdc_learns_counts_at_the_second(
    tenants: tuple[Tenant, ...], wire: Capture
) -> None:
    tenant, twin = tenants
    user = tenant.users[0]
    with (
        faults.password_changed(tenant, user.name, "another-one"),
        faults.service_stopped(tenant, Role.KDC),
    ):
        new, roles = login(tenant, wire, "another-one")
        assert (new.verdict, new.tenant, roles[-1]) == ("accepted", tenant.name, Role.KDC2)
        assert login(tenant, wire)[0].verdict == "refused"
        assert login(twin, wire, "another-one")[0].verdict == "refused"
        assert login(twin, wire)[0].verdict == "accepted"
    assert_logs_in(tenant, Method.KERBEROS)


def test_ticket_of_the_second_kdc_opens_with_our_key(tenants: tuple[Tenant, ...]) -> None:
    tenant, twin = tenants
    with faults.service_stopped(tenant, Role.KDC):
        token = ticket_for_us(tenant)
    assert_ticket_is_its_tenants(token, tenant, twin)


@pytest.mark.long
def test_control_without_any_kdc_nobody_logs_in_and_others_do_not_wait(
    tenants: tuple[Tenant, ...], wire: Capture
) -> None:
    tenant, twin = tenants
    twins = asked_first(twin, wire)
    assert_twin_does_not_wait(tenant, ROLES, Method.KERBEROS, lambda: login_ms(twin, wire, twins))
