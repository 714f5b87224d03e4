"""Faults of a tenant's servers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from testbed.drivers import containers
from testbed.errors import ResourceError
from testbed.faults.note import fault, note
from testbed.lifecycle.tenants import await_health
from testbed.plan.files import FileSpec
from testbed.plan.resources import ContainerPlan, Record, Role, TenantPlan
from testbed.plan.services import admin_dn, ldap_program, service_files, user_dn
from testbed.running import Tenant

_KEPT_REALM = "/var/lib/testbed/kept"


@contextmanager
def service_stopped(tenant: Tenant, role: Role) -> Iterator[None]:
    """The tenant's service does not run: nobody answers at its address, not even ARP."""
    name = tenant.plan.container(role).name

    def start() -> None:
        containers.start(tenant.docker, name)
        _await_service(tenant, role)

    with fault(note(tenant, f"{role} stopped"), start):
        containers.kill(tenant.docker, name)
        yield


@contextmanager
def service_hung(tenant: Tenant, role: Role) -> Iterator[None]:
    """The tenant's service takes connections and never answers: its processes are frozen."""
    name = tenant.plan.container(role).name

    def thaw() -> None:
        containers.thaw(tenant.docker, name)
        _await_service(tenant, role)

    with fault(note(tenant, f"{role} hung"), thaw):
        containers.freeze(tenant.docker, name)
        yield


@contextmanager
def dns_lying(tenant: Tenant, lies: Sequence[Record]) -> Iterator[None]:
    """The tenant's DNS serves `lies`, and nothing else of their names and types."""
    with fault(note(tenant, "DNS lying"), lambda: _serve_names(tenant, tenant.plan)):
        told = {(lie.owner, lie.type) for lie in lies}
        kept = (own for own in tenant.plan.records if (own.owner, own.type) not in told)
        _serve_names(tenant, replace(tenant.plan, records=(*kept, *lies)))
        yield


@contextmanager
def kdc_rekeyed(tenant: Tenant) -> Iterator[None]:
    """A KDC answers that knows the tenant's users and passwords, and not the key we share."""
    realm = tenant.plan.realm
    if realm is None:
        raise LookupError(f"tenant {tenant.name!r} has no realm")

    def load() -> None:
        _run(tenant, Role.KDC, "kdb5_util", "load", _KEPT_REALM)
        _run(tenant, Role.KDC, "rm", "-f", _KEPT_REALM, f"{_KEPT_REALM}.dump_ok")
        _propagate(tenant)
        _await_service(tenant, Role.KDC)

    with fault(note(tenant, "KDC without our key"), load):
        _run(tenant, Role.KDC, "kdb5_util", "dump", _KEPT_REALM)
        for service in realm.services:
            _run(tenant, Role.KDC, "kadmin.local", "-q", f"change_password -randkey {service}")
        _propagate(tenant)
        yield


@contextmanager
def password_changed(tenant: Tenant, user: str, password: str) -> Iterator[None]:
    """The user has another password, at the tenant's directory and in its realm."""
    former = next(own.password for own in tenant.users if own.name == user)

    with fault(
        note(tenant, f"password of {user} changed"), lambda: _set_password(tenant, user, former)
    ):
        _set_password(tenant, user, password)
        yield


def _set_password(tenant: Tenant, user: str, password: str) -> None:
    directory = tenant.plan.directory
    if directory is not None:
        admin = ("-D", admin_dn(directory), "-w", directory.admin.password)
        told = (*admin, "-s", password, user_dn(directory, user))
        for container in tenant.plan.containers:
            if container.role.kind is Role.LDAP:
                server = ("-H", f"ldap://{container.addresses[0].ip}")
                program = ldap_program(directory, "ldappasswd")
                _run(tenant, container.role, *program, *server, *told)
    if tenant.plan.realm is not None:
        query = f"change_password -pw {password} {user}"
        _run(tenant, Role.KDC, "kadmin.local", "-q", query)
        _propagate(tenant)


def _propagate(tenant: Tenant) -> None:
    """Send the realm's database to its second KDC now: the first one does so within seconds."""
    if tenant.plan.realm is not None and tenant.plan.realm.second is not None:
        _run(tenant, Role.KDC, "propagate")


def _run(tenant: Tenant, role: Role, *argv: str) -> None:
    answer = tenant.run(role, argv)
    if answer.exit_code != 0:
        raise ResourceError(
            f"{argv[0]} of {tenant}'s {role} exited {answer.exit_code}: {answer.output}"
        )


def _await_service(tenant: Tenant, role: Role) -> None:
    await_health(tenant.docker, tenant.plan, tenant.plan.container(role))


def _serve_names(tenant: Tenant, plan: TenantPlan) -> None:
    container = plan.container(Role.DNS)
    serve_anew(tenant, tenant.plan, container, service_files(plan, container))


def serve_anew(
    tenant: Tenant, plan: TenantPlan, container: ContainerPlan, files: tuple[FileSpec, ...]
) -> None:
    """Let the server start anew with `files`; `plan` says how it is asked whether it works."""
    containers.kill(tenant.docker, container.name)
    containers.put_files(tenant.docker, container.name, files)
    containers.start(tenant.docker, container.name)
    await_health(tenant.docker, plan, container)
