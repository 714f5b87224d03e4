"""Kerberos at its edges: a KDC that is not ours, clocks that differ, tickets that have expired."""

from __future__ import annotations

import pytest

from scenarios.checks import assert_logs_in
from testbed.api import (
    Method,
    Reply,
    Running,
    Tenant,
    faults,
    get_ticket,
    log_in,
    new_nonce,
    present_ticket,
    route_to,
    service_token,
)

SKEW_S = 600  # twice what Kerberos allows
SHORT_LIFE_S = 120


def present(tenant: Tenant, *, life_s: int = 3600) -> str:
    """Return a token of a ticket that the tenant's client has got just now."""
    user = tenant.users[0]
    cache = new_nonce(tenant.name)
    ticket = get_ticket(tenant.client, user.name, user.password, cache=cache, life_s=life_s)
    assert ticket.ok, ticket.error
    return service_token(tenant.client, ticket.cache, tenant.plan.server_host)


def verdict_of(tenant: Tenant, token: str) -> Reply:
    reply = present_ticket(tenant.client, route_to(tenant.client), token)
    assert (reply.error, reply.tenant) == ("", tenant.name)
    return reply


@pytest.mark.tenants(1, services=["kdc"])
def test_kdc_without_our_key_is_not_believed(tenant: Tenant) -> None:
    user, route = tenant.users[0], route_to(tenant.client)
    assert_logs_in(tenant, Method.KERBEROS)
    with faults.kdc_rekeyed(tenant):
        # It gives the user a ticket; what it says of itself nobody can vouch for.
        cache = new_nonce(tenant.name)
        assert get_ticket(tenant.client, user.name, user.password, cache=cache).ok
        reply = log_in(tenant.client, route, user.name, user.password, method=Method.KERBEROS)
        assert (reply.error, reply.tenant) == ("", tenant.name)
        assert reply.verdict in {"refused", "error"}
        token = service_token(tenant.client, f"FILE:/tmp/{cache}.ccache", tenant.plan.server_host)
        assert verdict_of(tenant, token).verdict == "refused"
    assert_logs_in(tenant, Method.KERBEROS)


@pytest.mark.exclusive
@pytest.mark.tenants(1, services=["kdc"])
@pytest.mark.parametrize("skew_s", [SKEW_S, -SKEW_S], ids=["ahead", "behind"])
def test_ticket_is_refused_while_clocks_differ(
    skew_s: int, deployment: Running, tenant: Tenant
) -> None:
    assert verdict_of(tenant, present(tenant)).verdict == "accepted"
    with faults.clock_skewed(deployment, skew_s):
        assert verdict_of(tenant, present(tenant)).verdict == "refused"
    assert verdict_of(tenant, present(tenant)).verdict == "accepted"


@pytest.mark.exclusive
@pytest.mark.tenants(1, services=["kdc"])
def test_expired_ticket_is_refused(deployment: Running, tenant: Tenant) -> None:
    token = present(tenant, life_s=SHORT_LIFE_S)
    long_lived = present(tenant)
    # Past the ticket's end and the 300 s that Kerberos allows; the long one's is far away.
    with faults.clock_skewed(deployment, SHORT_LIFE_S + 400):
        expired = verdict_of(tenant, token)
        assert (expired.verdict, "expired" in expired.reason.lower()) == ("refused", True)
        skewed = verdict_of(tenant, long_lived)
        assert (skewed.verdict, "expired" in skewed.reason.lower()) == ("refused", False)


@pytest.mark.tenants(1, services=["kdc"])
def test_token_counts_once(tenant: Tenant) -> None:
    token = present(tenant)
    assert verdict_of(tenant, token).verdict == "accepted"
    assert verdict_of(tenant, token).verdict == "refused"


@pytest.mark.topology("twins")
@pytest.mark.tenants("castor", "pollux")
@pytest.mark.parametrize("method", list(Method))
def test_changed_password_counts_at_once_and_for_its_tenant_alone(
    method: Method, tenants: tuple[Tenant, ...]
) -> None:
    tenant, twin = tenants
    user = tenant.users[0]
    route = route_to(tenant.client)
    assert_logs_in(tenant, method)  # who remembers that does so wrongly
    with faults.password_changed(tenant, user.name, "another-one"):
        new = log_in(tenant.client, route, user.name, "another-one", method=method)
        assert (new.verdict, new.tenant) == ("accepted", tenant.name)
        old = log_in(tenant.client, route, user.name, user.password, method=method)
        assert (old.verdict, old.tenant) == ("refused", tenant.name)
        stolen = log_in(twin.client, route_to(twin.client), user.name, "another-one", method=method)
        assert (stolen.verdict, stolen.tenant) == ("refused", twin.name)
        assert_logs_in(twin, method)
    assert_logs_in(tenant, method)
    late = log_in(tenant.client, route, user.name, "another-one", method=method)
    assert (late.verdict, late.tenant) == ("refused", tenant.name)
