"""The right password opens and no other does, and the tenant's own server is who decides."""

from __future__ import annotations

import pytest

from scenarios.checks import (
    KERBEROS_PORT,
    LDAP_PORT,
    assert_logs_in,
    assert_ticket_is_its_tenants,
    server_frames,
    ticket_for_us,
)
from testbed.api import (
    Capture,
    Method,
    Running,
    Tenant,
    bind,
    get_ticket,
    log_in,
    new_nonce,
    route_to,
)

TENANTS = ("alpha", "bravo", "charlie")
TWINS = ("castor", "pollux")
PORTS = {Method.LDAP: LDAP_PORT, Method.KERBEROS: KERBEROS_PORT}
each_method = pytest.mark.parametrize("method", list(Method))
each_tenant = pytest.mark.parametrize("name", TENANTS)
on_twins = pytest.mark.topology("twins")


@pytest.mark.tenants(*TENANTS)
@each_tenant
def test_verdict_comes_from_the_tenants_own_server(
    name: str, tenants: tuple[Tenant, ...], wire: Capture
) -> None:
    tenant = next(tenant for tenant in tenants if tenant.name == name)
    method = tenant.plan.login
    assert method is not None
    reply = assert_logs_in(tenant)
    assert reply.method == method
    frames = wire.frames()
    assert server_frames(frames, tenant, PORTS[method]), "its server was not asked"
    for other in tenants:
        if other is not tenant:
            for port in PORTS.values():
                assert not server_frames(frames, other, port), f"{other}'s server was asked"


@pytest.mark.tenants(*TENANTS)
@pytest.mark.parametrize("password", ["wrong", "", "ann-of-{other}"])
@each_tenant
def test_password_that_is_not_the_users_is_refused(
    name: str, password: str, tenants: tuple[Tenant, ...], wire: Capture
) -> None:
    tenant = next(tenant for tenant in tenants if tenant.name == name)
    other = next(tenant for tenant in tenants if tenant.name != name)
    tried = password.format(other=other.name)
    reply = log_in(tenant.client, route_to(tenant.client), "ann", tried)
    assert (reply.error, reply.verdict, reply.tenant) == ("", "refused", tenant.name)
    asked = {
        owner.name
        for owner in tenants
        if any(server_frames(wire.frames(), owner, port) for port in PORTS.values())
    }
    # An empty password is no login at all: nobody is asked (RFC 4513, 5.1.2).
    assert asked == ({tenant.name} if tried else set())
    assert_logs_in(tenant)


@on_twins
@pytest.mark.tenants(*TWINS)
@each_method
def test_twins_password_is_refused(method: Method, tenants: tuple[Tenant, ...]) -> None:
    for tenant, twin in (tenants, reversed(tenants)):
        assert_logs_in(tenant, method)
        assert tenant.users[0].name == twin.users[0].name
        stolen = twin.users[0].password
        reply = log_in(tenant.client, route_to(tenant.client), "ann", stolen, method=method)
        assert (reply.verdict, reply.tenant, reply.method) == ("refused", tenant.name, method)


@on_twins
@pytest.mark.tenants(*TWINS)
@each_method
def test_empty_password_is_refused_and_nobody_is_asked(
    method: Method, tenants: tuple[Tenant, ...], wire: Capture
) -> None:
    tenant = tenants[0]
    reply = log_in(tenant.client, route_to(tenant.client), "ann", "", method=method)
    assert (reply.verdict, reply.tenant) == ("refused", tenant.name)
    for owner in tenants:
        assert not server_frames(wire.frames(), owner, PORTS[method])
    assert_logs_in(tenant, method)
    assert server_frames(wire.frames(), tenant, PORTS[method]), "the capture sees such frames"


@on_twins
@pytest.mark.tenants(*TWINS)
def test_service_ticket_of_one_twin_is_useless_at_the_other(tenants: tuple[Tenant, ...]) -> None:
    for tenant, twin in (tenants, reversed(tenants)):
        own = assert_ticket_is_its_tenants(ticket_for_us(tenant), tenant, twin)
        realm = tenant.plan.realm
        assert realm is not None
        assert own.principal == f"{tenant.users[0].name}@{realm.realm}"


@on_twins
@pytest.mark.tenants(*TWINS)
def test_clients_own_programs_use_their_tenants_servers(tenants: tuple[Tenant, ...]) -> None:
    for tenant, twin in (tenants, reversed(tenants)):
        directory, user = tenant.plan.directory, tenant.users[0]
        assert directory is not None
        assert bind(tenant.client, directory, user.name, user.password).code == 0
        assert bind(tenant.client, directory, user.name, twin.users[0].password).code == 49
        own, stolen = new_nonce(tenant.name), new_nonce(twin.name)
        assert get_ticket(tenant.client, user.name, user.password, cache=own).ok
        assert not get_ticket(tenant.client, user.name, twin.users[0].password, cache=stolen).ok


@pytest.mark.tenants("bravo")
def test_kerberos_login_without_the_services_key_is_no_proof(
    deployment: Running, tenant: Tenant
) -> None:
    """The daemon's key is in the keytab that only it can read: the tenant's KDC proves itself."""
    keytab = deployment.sut_host.file(f"/etc/tenantd/keytabs/{tenant.fib}.keytab")
    assert keytab.exists
    assert (keytab.user, oct(keytab.mode)) == ("tenantd", "0o600")
    assert_logs_in(tenant, Method.KERBEROS)
