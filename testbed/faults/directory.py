"""Faults of a directory's TLS: what its server shows of itself, if anything."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

from testbed.drivers import x509
from testbed.faults.note import fault, note
from testbed.faults.services import serve_anew
from testbed.lifecycle import certificates
from testbed.plan.files import FileSpec
from testbed.plan.resources import ContainerPlan, Role, TenantPlan
from testbed.plan.services import service_files, tls_files
from testbed.running import Tenant


@contextmanager
def certificate_shown(
    tenant: Tenant, *, signer: Tenant | None = None, host: str = "", life: timedelta = x509.LIFE
) -> Iterator[None]:
    """The tenant's directory shows another certificate, and has its key.

    One that another tenant's authority has signed, or that speaks of another `host`, or, by a `life`
    below zero, that is over.
    """
    authority = certificates.authority(tenant.folder, (signer or tenant).plan)

    def shown(container: ContainerPlan) -> tuple[FileSpec, ...]:
        addresses = () if host else tuple(own.ip for own in container.addresses)
        subject = x509.Subject(host or container.hostname, addresses, life)
        own = x509.issue(authority, subject)
        return (*service_files(tenant.plan, container), *tls_files(authority.certificate, own))

    with fault(note(tenant, "another certificate shown"), lambda: _serve_as_planned(tenant)):
        for container in _servers(tenant):
            serve_anew(tenant, _in_clear(tenant), container, shown(container))
        yield


@contextmanager
def tls_unknown(tenant: Tenant) -> Iterator[None]:
    """The tenant's directory knows no TLS: it takes passwords in clear, or none."""
    plan = _in_clear(tenant)
    with fault(note(tenant, "TLS unknown"), lambda: _serve_as_planned(tenant)):
        for container in _servers(tenant):
            serve_anew(tenant, plan, container, service_files(plan, container))
        yield


def _serve_as_planned(tenant: Tenant) -> None:
    for container in _servers(tenant):
        own = certificates.files(tenant.folder, tenant.plan, container)
        serve_anew(tenant, tenant.plan, container, (*service_files(tenant.plan, container), *own))


def _servers(tenant: Tenant) -> tuple[ContainerPlan, ...]:
    return tuple(own for own in tenant.plan.containers if own.role.kind is Role.LDAP)


def _in_clear(tenant: Tenant) -> TenantPlan:
    directory = tenant.plan.directory
    if directory is None or not directory.tls:
        raise LookupError(f"tenant {tenant.name!r} has no directory with TLS")
    return replace(tenant.plan, directory=replace(directory, tls=False))
