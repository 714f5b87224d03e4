"""What the KDCs of a tenant's realm are given: `tenants/kdc` says what becomes of it."""

from __future__ import annotations

from collections.abc import Iterator

from testbed.plan import escaping
from testbed.plan.files import ETC, FileSpec, Question, render, root_file, service_file
from testbed.plan.resources import Address, RealmPlan, ReplicaPlan, TenantPlan

KEYTAB = "/var/lib/testbed/service.keytab"
"""Keys of the realm's services, inside its KDC's container; complete once the KDC is healthy."""

_HEALTH_KEYTAB = "/var/lib/testbed/health.keytab"
_HEALTH_PRINCIPAL = "testbed/health"
_OWN_KEYTAB = "/var/lib/testbed/own.keytab"


def kdc_files(tenant: TenantPlan) -> Iterator[FileSpec]:
    """Yield the files of a realm's first KDC."""
    realm = _realm(tenant)
    principals = render(
        "kdc/principals",
        users=tenant.users,
        realm=realm,
        health=_HEALTH_PRINCIPAL,
        host=_kdc_principal(realm),
    )
    yield from _realm_files(realm, realm.address)
    yield service_file(f"{ETC}/principals", principals)
    if realm.second:
        yield service_file(f"{ETC}/replica", f"{realm.second.address}\n".encode())


def replica_files(tenant: TenantPlan) -> Iterator[FileSpec]:
    """Yield the files of a realm's second KDC."""
    realm = _realm(tenant)
    second = _replica(realm)
    principals = render("kdc/replica-principals", principal=second.principal)
    yield from _realm_files(realm, second.address)
    yield service_file(f"{ETC}/principals", principals)
    allowed = f"{_kdc_principal(realm)}@{escaping.plain(realm.realm)}\n"
    yield service_file(f"{ETC}/kpropd.acl", allowed.encode())


def _realm_files(realm: RealmPlan, address: Address) -> Iterator[FileSpec]:
    """Yield what both KDCs of a realm have, each at its own `address`."""
    krb5_conf = render("kdc/krb5.conf", realm=realm, address=address)
    yield root_file("/etc/krb5.conf", krb5_conf)
    yield service_file(f"{ETC}/kdc.conf", render("kdc/kdc.conf", realm=realm))
    yield service_file(f"{ETC}/master.password", realm.master.password.encode())


def kdc_question() -> Question:
    """Ask for a ticket, with a principal of ours."""
    return Question(("kinit", "-c", "MEMORY:", "-k", "-t", _HEALTH_KEYTAB, _HEALTH_PRINCIPAL))


def replica_question(tenant: TenantPlan) -> Question:
    """Ask for a ticket to what only the first KDC's database holds: so it has come over."""
    realm = _realm(tenant)
    own = _replica(realm).principal.name
    argv = ("kinit", "-c", "MEMORY:", "-k", "-t", _OWN_KEYTAB, "-S", realm.services[0], own)
    return Question(argv)


def _kdc_principal(realm: RealmPlan) -> str:
    """Return as whom the first KDC sends its database: kprop takes the name of its host."""
    return f"host/{escaping.host(realm.host)}"


def _replica(realm: RealmPlan) -> ReplicaPlan:
    if realm.second is None:
        raise LookupError(f"realm {realm.realm!r} has a second KDC's container and no second KDC")
    return realm.second


def _realm(tenant: TenantPlan) -> RealmPlan:
    if tenant.realm is None:
        raise LookupError(f"tenant {tenant.name!r} has a KDC container and no realm")
    return tenant.realm
