"""What a tenant's containers are given: their files, their privileges, and the question of health.

Pure: renders `tenants/ROLE/*.j2` from the plan. The files are put into a container after it is
created and before it starts, as one tar archive, since environment and command line would show
secrets to whoever may inspect it. Entrypoints (`tenants/ROLE/entrypoint`) do the rest.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from urllib.parse import quote

from testbed.plan import escaping, realm
from testbed.plan.files import (
    ETC,
    SECRET_MODE,
    FileSpec,
    Question,
    render,
    root_file,
    service_file,
)
from testbed.plan.resources import (
    ContainerPlan,
    DirectoryPlan,
    Network,
    Record,
    Role,
    Secret,
    TenantPlan,
)

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

_AUTHORITY = f"{ETC}/authority.pem"
_HEALTH_PASSWORD = f"{ETC}/health.password"


@dataclass(frozen=True, slots=True)
class Certified:
    """A certificate with its private key, both in PEM."""

    certificate: bytes
    key: bytes = field(repr=False)


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
        Role.KDC: realm.kdc_files,
        Role.KDC2: realm.replica_files,
    }[container.role](tenant)
    return tuple(sorted(files, key=lambda file: file.path))


def tls_files(authority: bytes, own: Certified | None) -> tuple[FileSpec, ...]:
    """Return what a container needs for TLS beside its `service_files`: keys are no part of a plan.

    The certificate of the `authority` that it trusts, and what it shows of itself if it is a server.
    """
    trusted = root_file(_AUTHORITY, authority)
    if own is None:
        return (trusted,)
    return (
        trusted,
        service_file(f"{ETC}/server.pem", own.certificate),
        service_file(f"{ETC}/server.key", own.key),
    )


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
            return realm.kdc_question()
        case Role.KDC2:
            return realm.replica_question(tenant)


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
    return f"{ETC}/passwords/{quote(user, safe='')}.password"


def _client_files(tenant: TenantPlan) -> Iterator[FileSpec]:
    domain = escaping.host(tenant.domain)
    resolv_conf = render("client/resolv.conf", resolvers=tenant.resolvers, domain=domain)
    yield root_file(f"{ETC}/resolv.conf", resolv_conf)
    yield root_file("/etc/krb5.conf", render("client/krb5.conf", realm=tenant.realm, domain=domain))
    yield root_file("/etc/ldap/ldap.conf", render("client/ldap.conf", directory=tenant.directory))
    for user in tenant.users:
        yield root_file(password_file(user.name), user.password.encode(), SECRET_MODE)


def _client_question(tenant: TenantPlan) -> Question:
    """Ask for the tenant's own zone, where it has one: proves its resolvers are the client's."""
    if not tenant.resolvers or not _has(tenant, Role.DNS):
        return Question(("cmp", f"{ETC}/resolv.conf", "/etc/resolv.conf"))
    argv = ("dig", "+short", "+time=1", "+tries=1", _domain(tenant), "SOA")
    return Question(argv, answer=_name_server(tenant))


def _dns_files(tenant: TenantPlan) -> Iterator[FileSpec]:
    zones = _zones(tenant)
    yield service_file(f"{ETC}/nsd.conf", render("dns/nsd.conf", zones=zones))
    for zone in zones:
        content = render("dns/zone", zone=zone, server=_name_server(tenant), domain=_domain(tenant))
        yield service_file(f"{ETC}/{zone.file}", content)


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
    config = render(
        "ldap/slapd.conf",
        directory=directory,
        admin_dn=admin_dn(directory),
        admin_hash=_hashed(tenant, directory.admin),
    )
    entries = _entries(tenant, directory)
    yield service_file(f"{ETC}/slapd.conf", config)
    yield service_file(f"{ETC}/directory.ldif", render("ldap/directory.ldif", entries=entries))
    yield service_file(_HEALTH_PASSWORD, directory.admin.password.encode())


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
