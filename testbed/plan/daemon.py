"""The configuration of the multi-tenant daemon in the SUT, as JSON. It holds no secrets."""

from __future__ import annotations

import json
from typing import Any

from testbed.plan.resources import DirectoryPlan, Plan, RealmPlan, TenantPlan

VERSION = 1
KEYTABS = "/etc/tenantd/keytabs"
AUTHORITIES = "/etc/tenantd/authorities"
_LDAP_PORT = 389


def daemon_config(plan: Plan) -> str:
    """Return the configuration of the daemon for all tenants of `plan`."""
    document = {
        "version": VERSION,
        "port": plan.sut.port,
        "tenants": [_tenant(tenant) for tenant in plan.tenants],
    }
    return json.dumps(document)


def keytab_path(tenant: TenantPlan) -> str:
    """Return where in the SUT the keytab of the tenant's service lies."""
    return f"{KEYTABS}/{tenant.fib}.keytab"


def authority_path(tenant: TenantPlan) -> str:
    """Return where in the SUT the certificate of the tenant's own authority lies."""
    return f"{AUTHORITIES}/{tenant.fib}.pem"


def _tenant(tenant: TenantPlan) -> dict[str, Any]:
    return {
        "fib": tenant.fib,
        "name": tenant.name,
        "domain": tenant.domain,
        "resolve": tenant.probe_name if tenant.resolvers else None,
        "login": tenant.login,
        "ldap": tenant.directory and _ldap(tenant, tenant.directory),
        "kerberos": tenant.realm and _kerberos(tenant, tenant.realm),
    }


def _ldap(tenant: TenantPlan, directory: DirectoryPlan) -> dict[str, Any]:
    return {
        "host": directory.host if tenant.resolvers else str(directory.address),
        "second": _second(tenant, directory),
        "port": _LDAP_PORT,
        "base_dn": directory.base_dn,
        "user_dn": f"uid={{user}},ou=people,{directory.base_dn}",
        "authority": authority_path(tenant) if directory.tls else None,
    }


def _second(tenant: TenantPlan, directory: DirectoryPlan) -> str | None:
    second = directory.second
    if second is None:
        return None
    return second.host if tenant.resolvers else str(second.address)


def _kerberos(tenant: TenantPlan, realm: RealmPlan) -> dict[str, Any]:
    return {
        "realm": realm.realm,
        # GSS-API names a service SERVICE@HOST where Kerberos says SERVICE/HOST.
        "service": f"login@{tenant.server_host}",
        "keytab": keytab_path(tenant),
    }
