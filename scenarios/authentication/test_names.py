"""Whatever a user calls himself, he is one user of his tenant, or nobody."""

from __future__ import annotations

import pytest

from testbed.api import Method, Tenant, log_in, route_to

# Signs that mean something in distinguished names, in searches, or in principals.
ODD_NAMES = (
    "ann,ou=people",
    "ann+sn=ann",
    "ann\\",
    "ann)(uid=*",
    "*",
    "ann@{realm}",
    "ann@OTHER.TEST",
    "ann/admin",
    "/ann",
    "#ann",
    "ann;",
    "nobody" * 40,
)

pytestmark = [pytest.mark.topology("twins"), pytest.mark.tenants(1)]


@pytest.mark.parametrize("method", list(Method))
@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_name_is_nobodys(name: str, method: Method, tenant: Tenant) -> None:
    realm, user, route = tenant.plan.realm, tenant.users[0], route_to(tenant.client)
    assert realm is not None
    known = log_in(tenant.client, route, user.name, user.password, method=method)
    assert (known.error, known.verdict) == ("", "accepted")
    odd = name.format(realm=realm.realm)
    reply = log_in(tenant.client, route, odd, user.password, method=method)
    assert (reply.error, reply.verdict, reply.tenant) == ("", "refused", tenant.name)


def test_administrators_of_servers_are_no_users(tenant: Tenant) -> None:
    """Each server has one, with a password that it would accept."""
    realm, directory, route = tenant.plan.realm, tenant.plan.directory, route_to(tenant.client)
    assert realm is not None
    assert directory is not None
    tried = {Method.KERBEROS: realm.admin, Method.LDAP: directory.admin}
    for method, admin in tried.items():
        reply = log_in(tenant.client, route, admin.name, admin.password, method=method)
        assert (reply.error, reply.verdict, reply.tenant) == ("", "refused", tenant.name), method
    user = tenant.users[0]
    assert log_in(tenant.client, route, user.name, user.password).verdict == "accepted"
