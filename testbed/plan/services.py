"""What a tenant's containers are given: their files, their privileges, and the question of health.

Pure: renders `tenants/ROLE/*.j2` from the plan. The files are put into a container after it is
created and before it starts, as one tar archive, since environment and command line would show
secrets to whoever may inspect it. Entrypoints (`tenants/ROLE/entrypoint`) do the rest.
"""

from __future__ import annotations

import base64
import hashlib
import io
import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from testbed.plan import escaping
from testbed.plan.resources import (
    Address,
    ContainerPlan,
    DirectoryPlan,
    Network,
    RealmPlan,
    Record,
    ReplicaPlan,
    Role,
    Secret,
    TenantPlan,
)

TENANTS = Path(__file__).parents[2] / "tenants"

SERVICE_UID = 10001
"""User and group that servers run as; `tenants/base/Dockerfile` makes them."""

KEYTAB = "/var/lib/testbed/service.keytab"
"""Keys of the realm's services, inside its KDC's container; complete once the KDC is healthy."""

CAPABILITIES: Mapping[Role, tuple[str, ...]] = MappingProxyType(
    {
        # Raw sockets: ping, tcpdump and scapy's crafted frames.
        Role.CLIENT: ("NET_RAW",),
        # Servers start as a user without privileges and need none (see SYSCTLS).
        Role.DNS: (),
        Role.LDAP: (),
        Role.LDAP2: (),
        Role.KDC: (),
        Role.KDC2: (),
    }
)
"""What a container is given back after all capabilities are dropped."""

SYSCTLS: Mapping[str, str] = MappingProxyType({"net.ipv4.ip_unprivileged_port_start": "0"})
"""Of every container: servers are not root and yet listen on 53, 88 and 389."""

_ETC = "/etc/testbed"
_AUTHORITY = f"{_ETC}/authority.pem"
_HEALTH_PASSWORD = f"{_ETC}/health.password"
_HEALTH_KEYTAB = "/var/lib/testbed/health.keytab"
_HEALTH_PRINCIPAL = "testbed/health"
_OWN_KEYTAB = "/var/lib/testbed/own.keytab"
_MODIFIED_S = 1  # one time for all, but not 0: nsd takes that for a zone without changes to read
_SECRET_MODE = 0o400
_PUBLIC_MODE = 0o444


@dataclass(frozen=True, slots=True)
class FileSpec:
    """A file inside a container; its directory is part of the image."""

    path: str
    content: bytes = field(repr=False)
    mode: int
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Certified:
    """A certificate with its private key, both in PEM."""

    certificate: bytes
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Question:
    """A command inside the container itself: the service works if it exits 0 and prints `answer`.

    It carries no secret: passwords and keys are read from files that only its user can read.
    """

    argv: tuple[str, ...]
    answer: str = ""


@dataclass(frozen=True, slots=True)
class _Zone:
    """One DNS zone, its name with the final dot."""

    name: str
    records: tuple[Record, ...]

    @property
    def file(self) -> str:
        return f"{self.name}zone"


@dataclass(frozen=True, slots=True)
class _Entry:
    """One LDAP entry."""

    dn: str
    attributes: tuple[tuple[str, str], ...]


def service_files(tenant: TenantPlan, container: ContainerPlan) -> tuple[FileSpec, ...]:
    """Render every file that `container` of `tenant` needs, sorted by path.

    Raises:
        ValueError: a name cannot be written in its service's format.
        LookupError: the plan has such a container but not what it should serve.
    """
    files = {
        Role.CLIENT: _client_files,
        Role.DNS: _dns_files,
        Role.LDAP: _ldap_files,
        Role.LDAP2: _ldap_files,
        Role.KDC: _kdc_files,
        Role.KDC2: _replica_files,
    }[container.role](tenant)
    return tuple(sorted(files, key=lambda file: file.path))


def tls_files(authority: bytes, own: Certified | None) -> tuple[FileSpec, ...]:
    """Return what a container needs for TLS beside its `service_files`: keys are no part of a plan.

    The certificate of the `authority` that it trusts, and what it shows of itself if it is a server.
    """
    trusted = _root_file(_AUTHORITY, authority)
    if own is None:
        return (trusted,)
    return (
        trusted,
        _service_file(f"{_ETC}/server.pem", own.certificate),
        _service_file(f"{_ETC}/server.key", own.key),
    )


def files_archive(files: tuple[FileSpec, ...]) -> bytes:
    """Return `files` as a tar archive, to be unpacked at a container's root; same in, same out."""
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for file in files:
            member = tarfile.TarInfo(file.path.removeprefix("/"))
            member.size = len(file.content)
            member.mtime = _MODIFIED_S
            member.mode, member.uid, member.gid = file.mode, file.uid, file.gid
            archive.addfile(member, io.BytesIO(file.content))
    return output.getvalue()


def service_question(tenant: TenantPlan, container: ContainerPlan) -> Question:
    """Return the question that only a working service of `container` answers."""
    address = container.addresses[0].ip
    match container.role:
        case Role.CLIENT:
            return _client_question(tenant)
        case Role.DNS:
            zone = _domain(tenant)
            return Question(
                ("drill", "-t", f"@{address}", zone, "SOA"), answer=_name_server(tenant)
            )
        case Role.LDAP | Role.LDAP2:
            return _ldap_question(_directory(tenant), escaping.endpoint(address))
        case Role.KDC:
            return Question(
                ("kinit", "-c", "MEMORY:", "-k", "-t", _HEALTH_KEYTAB, _HEALTH_PRINCIPAL)
            )
        case Role.KDC2:
            return _replica_question(tenant)


def docker_resolvers(tenant: TenantPlan) -> tuple[str, ...]:
    """Return the `dns` of the tenant's containers, never empty.

    For a container without any, Docker would ask the host's resolvers. The unspecified address is
    the container's own loopback, where nobody answers.
    """
    return tuple(str(address) for address in tenant.resolvers) or ("0.0.0.0",)  # noqa: S104


def user_dn(directory: DirectoryPlan, name: str) -> str:
    """Return the distinguished name of the user called `name`."""
    return f"uid={escaping.dn_value(name)},{_people_dn(directory)}"


def admin_dn(directory: DirectoryPlan) -> str:
    """Return the distinguished name of the directory's administrator."""
    return f"cn={escaping.dn_value(directory.admin.name)},{directory.base_dn}"


def password_file(user: str) -> str:
    """Return where the client keeps the password of `user`: no newline, readable by root only."""
    return f"{_ETC}/passwords/{quote(user, safe='')}.password"


def _client_files(tenant: TenantPlan) -> Iterator[FileSpec]:
    domain = escaping.host(tenant.domain)
    resolv_conf = _render("client/resolv.conf", resolvers=tenant.resolvers, domain=domain)
    yield _root_file(f"{_ETC}/resolv.conf", resolv_conf)
    yield _root_file(
        "/etc/krb5.conf", _render("client/krb5.conf", realm=tenant.realm, domain=domain)
    )
    yield _root_file("/etc/ldap/ldap.conf", _render("client/ldap.conf", directory=tenant.directory))
    for user in tenant.users:
        yield _root_file(password_file(user.name), user.password.encode(), _SECRET_MODE)


def _client_question(tenant: TenantPlan) -> Question:
    """Ask for the tenant's own zone, where it has one: proves its resolvers are the client's."""
    if not tenant.resolvers or not _has(tenant, Role.DNS):
        return Question(("cmp", f"{_ETC}/resolv.conf", "/etc/resolv.conf"))
    argv = ("dig", "+short", "+time=1", "+tries=1", _domain(tenant), "SOA")
    return Question(argv, answer=_name_server(tenant))


def _dns_files(tenant: TenantPlan) -> Iterator[FileSpec]:
    zones = _zones(tenant)
    yield _service_file(f"{_ETC}/nsd.conf", _render("dns/nsd.conf", zones=zones))
    for zone in zones:
        content = _render(
            "dns/zone", zone=zone, server=_name_server(tenant), domain=_domain(tenant)
        )
        yield _service_file(f"{_ETC}/{zone.file}", content)


def _zones(tenant: TenantPlan) -> tuple[_Zone, ...]:
    """Share the records out: the tenant's domain, its reverse zones, the root for all else.

    The root zone also makes an unknown name's answer NXDOMAIN, at once.
    """
    names = [_domain(tenant), *map(_reverse_zone, tenant.network.subnets), "."]
    zones: dict[str, list[Record]] = {name: [] for name in names}
    for record in tenant.records:
        full = f".{record.owner.lower().removesuffix('.')}."
        fitting = (name for name in zones if name == "." or full.endswith(f".{name.lower()}"))
        zones[max(fitting, key=len)].append(record)
    return tuple(_Zone(name, tuple(records)) for name, records in zones.items())


def _reverse_zone(network: Network) -> str:
    """Return the reverse zone that holds all of `network`: whole octets, or nibbles of IPv6."""
    pointer = network.network_address.reverse_pointer
    bits_per_label = 8 if network.version == 4 else 4
    labels = pointer.split(".")
    host_labels = (network.max_prefixlen - network.prefixlen + bits_per_label - 1) // bits_per_label
    return ".".join(labels[host_labels:]) + "."


def _domain(tenant: TenantPlan) -> str:
    return f"{escaping.host(tenant.domain)}."


def _name_server(tenant: TenantPlan) -> str:
    domain = _domain(tenant)
    hostname = escaping.host(tenant.container(Role.DNS).hostname)
    return f"{hostname}." if f"{hostname}.".endswith(f".{domain}") else f"{hostname}.{domain}"


def _has(tenant: TenantPlan, role: Role) -> bool:
    return any(container.role is role for container in tenant.containers)


def _ldap_files(tenant: TenantPlan) -> Iterator[FileSpec]:
    directory = _directory(tenant)
    config = _render(
        "ldap/slapd.conf",
        directory=directory,
        admin_dn=admin_dn(directory),
        admin_hash=_hashed(tenant, directory.admin),
    )
    entries = _entries(tenant, directory)
    yield _service_file(f"{_ETC}/slapd.conf", config)
    yield _service_file(f"{_ETC}/directory.ldif", _render("ldap/directory.ldif", entries=entries))
    yield _service_file(_HEALTH_PASSWORD, directory.admin.password.encode())


def _directory(tenant: TenantPlan) -> DirectoryPlan:
    if tenant.directory is None:
        raise LookupError(f"tenant {tenant.name!r} has an LDAP container and no directory")
    return tenant.directory


def _people_dn(directory: DirectoryPlan) -> str:
    return f"ou=people,{directory.base_dn}"


def _entries(tenant: TenantPlan, directory: DirectoryPlan) -> Iterator[_Entry]:
    yield _Entry(directory.base_dn, _base_attributes(tenant, directory))
    yield _Entry(_people_dn(directory), (("objectClass", "organizationalUnit"), ("ou", "people")))
    for user in tenant.users:
        attributes = (
            ("objectClass", "inetOrgPerson"),
            ("uid", user.name),
            ("cn", user.name),
            ("sn", user.name),
            ("userPassword", _hashed(tenant, user)),
        )
        yield _Entry(user_dn(directory, user.name), attributes)


def _base_attributes(tenant: TenantPlan, directory: DirectoryPlan) -> tuple[tuple[str, str], ...]:
    """Return what the base entry is made of; its description tells twins apart."""
    match = re.match(r'(dc|o|ou)=([^,+\\"]+)(?:,|$)', directory.base_dn, re.IGNORECASE)
    if match is None:
        raise ValueError(f"base DN {directory.base_dn!r} does not begin with dc=, o= or ou=")
    kind, value = match[1].lower(), match[2].strip()
    described = ("description", tenant.name)
    match kind:
        case "dc":
            classes = (("objectClass", "organization"), ("objectClass", "dcObject"))
            return (*classes, ("dc", value), ("o", value), described)
        case "o":
            return (("objectClass", "organization"), ("o", value), described)
        case _:
            return (("objectClass", "organizationalUnit"), ("ou", value), described)


def _hashed(tenant: TenantPlan, secret: Secret) -> str:
    """Return the password as slapd stores it: salted, by tenant and name so that plans stay pure."""
    salt = hashlib.sha256(f"{tenant.name}\0{secret.name}".encode()).digest()[:8]
    digest = hashlib.sha1(secret.password.encode() + salt, usedforsecurity=False).digest()
    return f"{{SSHA}}{base64.b64encode(digest + salt).decode()}"


def ldap_program(directory: DirectoryPlan, name: str) -> tuple[str, ...]:
    """Return the beginning of a command line of OpenLDAP's: over TLS or not at all, if so planned."""
    if not directory.tls:
        return (name, "-x")
    return ("env", f"LDAPTLS_CACERT={_AUTHORITY}", name, "-x", "-ZZ")


def _ldap_question(directory: DirectoryPlan, endpoint: str) -> Question:
    argv = (
        *ldap_program(directory, "ldapsearch"),
        *("-LLL", "-o", "nettimeout=1", "-H", f"ldap://{endpoint}"),
        *("-D", admin_dn(directory), "-y", _HEALTH_PASSWORD),
        *("-s", "base", "-b", _people_dn(directory), "1.1"),
    )
    return Question(argv, answer="dn:")


def _kdc_files(tenant: TenantPlan) -> Iterator[FileSpec]:
    realm = _realm(tenant)
    principals = _render(
        "kdc/principals",
        users=tenant.users,
        realm=realm,
        health=_HEALTH_PRINCIPAL,
        host=_kdc_principal(realm),
    )
    yield from _realm_files(realm, realm.address)
    yield _service_file(f"{_ETC}/principals", principals)
    if realm.second:
        yield _service_file(f"{_ETC}/replica", f"{realm.second.address}\n".encode())


def _replica_files(tenant: TenantPlan) -> Iterator[FileSpec]:
    realm = _realm(tenant)
    second = _replica(realm)
    principals = _render("kdc/replica-principals", principal=second.principal)
    yield from _realm_files(realm, second.address)
    yield _service_file(f"{_ETC}/principals", principals)
    allowed = f"{_kdc_principal(realm)}@{escaping.plain(realm.realm)}\n"
    yield _service_file(f"{_ETC}/kpropd.acl", allowed.encode())


def _realm_files(realm: RealmPlan, address: Address) -> Iterator[FileSpec]:
    """Yield what both KDCs of a realm have, each at its own `address`."""
    krb5_conf = _render("kdc/krb5.conf", realm=realm, address=address)
    yield _root_file("/etc/krb5.conf", krb5_conf)
    yield _service_file(f"{_ETC}/kdc.conf", _render("kdc/kdc.conf", realm=realm))
    yield _service_file(f"{_ETC}/master.password", realm.master.password.encode())


def _replica_question(tenant: TenantPlan) -> Question:
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


def _root_file(path: str, content: bytes, mode: int = _PUBLIC_MODE) -> FileSpec:
    return FileSpec(path, content, mode, 0, 0)


def _service_file(path: str, content: bytes) -> FileSpec:
    return FileSpec(path, content, _SECRET_MODE, SERVICE_UID, SERVICE_UID)


def _render(name: str, **values: object) -> bytes:
    return _templates().get_template(f"{name}.j2").render(values).encode()


@cache
def _templates() -> Environment:
    # HTML escaping would corrupt these formats: each value passes a filter of its own format.
    environment = Environment(  # noqa: S701
        loader=FileSystemLoader(TENANTS),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    filters = (
        *(escaping.endpoint, escaping.host, escaping.kadmin, escaping.ldif, escaping.line),
        *(escaping.owner, escaping.plain, escaping.principal, escaping.quoted, escaping.rdata),
    )
    environment.filters.update({function.__name__: function for function in filters})
    return environment
