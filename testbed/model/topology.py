"""A topology as its author wrote it, defaults filled in; `testbed.model.allocation` adds addresses.

The models check what one field can tell about itself; `testbed.model.check` what fields tell about
one another. Fields left out of the file are None where their default depends on other fields.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StrictStr,
)

from testbed.model.fields import (
    BaseDn,
    Destination,
    Domain,
    Host,
    Host4,
    Host6,
    HostName,
    InterfaceName,
    Mac,
    Name,
    NothingIsEmpty,
    Password,
    Port,
    Range4,
    Range6,
    Realm,
    SshHost,
    SshUser,
    UserName,
    wrong,
)

MOST_STARTED_AT_ONCE = 64
"""Containers that `up` starts at most by itself: about ten seconds' worth, and 1.5 GB."""
MOST_TENANTS = 65535
AUTOMATIC_SERVERS = 5  # a /29 less network, broadcast and next hop


ServiceName = Literal["dns", "ldap", "ldap2", "kdc", "kdc2"]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Server(_Model):
    """A server address (one per family); what is left out is taken from the tenant's block.

    An explicit `v6: null` means none.
    """

    v4: Host4 | None = None
    """Its IPv4 address."""
    v6: Host6 | None = None
    """Its IPv6 address; an explicit null means none."""

    @property
    def has_v6(self) -> bool:
        """Whether it may have an IPv6 address at all."""
        return self.v6 is not None or "v6" not in self.model_fields_set


class LocalAddress(_Model):
    """An address of the SUT that no tenant owns, one per family."""

    v4: Host4 | None = None
    """Its IPv4 address."""
    v6: Host6 | None = None
    """Its IPv6 address."""


class _Service(_Model):
    address: Host4 | None = None
    """Its address in the tenant's network."""
    address6: Host6 | None = None
    """The same for IPv6."""


def _one_is_many(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


_Addresses = Annotated[tuple[Host, ...], BeforeValidator(_one_is_many), Field(min_length=1)]


class Dns(_Service):
    """A tenant's DNS server; `records` are names outside the tenant's domain as a rule."""

    records: dict[HostName, _Addresses] = Field(default_factory=dict)
    """More names, each with an address or a list of them."""


class Second(_Service):
    """A second server with the same content, which is asked when the first one does not answer."""


class Ldap(_Service):
    """A tenant's directory; the base DN follows from the domain when left out."""

    base_dn: BaseDn | None = None
    """The directory's base, such as `dc=alpha,dc=test`."""
    tls: StrictBool = False
    """Whether passwords go to it over TLS (StartTLS) alone, checked by an authority of the tenant's own."""
    second: Annotated[Second | None, NothingIsEmpty] = None
    """A second server, `ldap2`, with the same content: asked when the first one does not answer."""


class Kdc(_Service):
    """A tenant's Kerberos realm, the domain in capitals when left out."""

    realm: Realm | None = None
    """The realm's name."""
    second: Annotated[Second | None, NothingIsEmpty] = None
    """A second KDC, `kdc2`, which takes the first one's database whenever that changes."""


class Services(_Model):
    """What runs in a tenant's network beside its client."""

    dns: Annotated[Dns | None, NothingIsEmpty] = None
    """A DNS server (NSD)."""
    ldap: Annotated[Ldap | None, NothingIsEmpty] = None
    """A directory (OpenLDAP)."""
    kdc: Annotated[Kdc | None, NothingIsEmpty] = None
    """A Kerberos realm (MIT)."""

    def present(self) -> dict[ServiceName, Dns | Ldap | Second | Kdc]:
        """Return the servers there are, by the first label of their names."""
        every: tuple[tuple[ServiceName, Dns | Ldap | Second | Kdc | None], ...] = (
            ("dns", self.dns),
            ("ldap", self.ldap),
            ("ldap2", self.ldap and self.ldap.second),
            ("kdc", self.kdc),
            ("kdc2", self.kdc and self.kdc.second),
        )
        return {name: service for name, service in every if service is not None}


class Route(_Model):
    """A network beyond the LAN: the FIB reaches it via the router, which hands it to `via`.

    Without `via` the router has no route itself and answers that the network is unreachable.
    """

    to: Destination
    """The network beyond the LAN."""
    via: Host | None = None
    """The LAN's host that leads there."""


def _number_of_servers(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int):
        return value
    if not 1 <= value <= AUTOMATIC_SERVERS:
        what = (
            f"a tenant's block has room for 1 to {AUTOMATIC_SERVERS} server addresses, not {value}"
        )
        hint = "use a number in this range, or list addresses: `servers: [{v4: 10.96.0.1}]`"
        raise wrong("servers", what, hint)
    return [{}] * value


class Tenant(_Model):
    """One customer's network: every tenant may look the same from inside.

    Its FIB is its place in the file unless `fib` says otherwise, and its addresses follow from it:
    a part of a topology keeps the addresses of the whole.
    """

    fib: Annotated[StrictInt, Field(ge=1, le=MOST_TENANTS)] | None = None
    """Its number, which is its FIB and chooses its block of the uplink. So a part of a topology keeps the
    addresses of the whole.
    """
    network: Range4 = IPv4Network("192.168.0.0/24")
    """Its LAN."""
    network6: Range6 | None = IPv6Network("fd00:c0a8::/64")
    """The same for IPv6; null switches IPv6 off."""
    client: Host4 | None = None
    """Its client; may have the number of another tenant's server address."""
    client6: Host6 | None = None
    """The same for IPv6."""
    router: Host4 | None = None
    """Its router, on the LAN."""
    router6: Host6 | None = None
    """The same for IPv6."""
    services: Annotated[Services, NothingIsEmpty] = Services()
    """What runs beside its client: any of `dns`, `ldap`, `kdc`."""
    servers: Annotated[
        tuple[Server, ...], BeforeValidator(_number_of_servers), Field(min_length=1)
    ] = (Server(),)
    """Its addresses of the SUT: a number up to 5, or a list as `[{v4: 10.96.0.1}, {}]`."""
    next_hop: Host4 | None = None
    """Its router, on the uplink."""
    next_hop6: Host6 | None = None
    """The same for IPv6."""
    domain: Domain | None = None
    """Its DNS domain, at most 56 characters."""
    users: dict[UserName, Password] = Field(default_factory=dict, repr=False)
    """Passwords by user name."""
    login: Literal["ldap", "kerberos"] | None = None
    """How users log in."""
    routes: tuple[Route, ...] = ()
    """Networks beyond the LAN."""

    @property
    def method(self) -> Literal["ldap", "kerberos"] | None:
        """How users log in: as `login` says, else by what there is, LDAP when there is both."""
        if self.login:
            return self.login
        if self.services.ldap:
            return "ldap"
        return "kerberos" if self.services.kdc else None


class Uplink(_Model):
    """The ranges that tenants' blocks on the shared segment are cut from."""

    v4: Range4 = IPv4Network("10.64.0.0/12")
    """Tenant *k* has its *k*-th /29."""
    v6: Range6 = IPv6Network("fd00:64::/32")
    """Tenant *k* has its /64 number *k*."""


class Ssh(_Model):
    """The user's own machine: `uplink` is the host's interface that joins `interface` there."""

    host: SshHost
    """The machine's name or address, as you reach it by ssh."""
    port: Port = 22
    """Its ssh port."""
    user: SshUser = "root"
    """Who logs in there."""
    system: Literal["linux", "freebsd"] = "linux"
    """What runs there."""
    interface: InterfaceName
    """The machine's interface on the tenants' segment."""
    uplink: InterfaceName
    """This host's interface that joins it."""
    mac: Mac
    """The MAC of the machine's interface."""


class Sut(_Model):
    """The system under test; `addresses` have no FIB of their own and take the interface's."""

    kind: Literal["vm", "ssh"] | None = None
    """Our own VM, or a machine of yours."""
    memory_mib: Annotated[StrictInt, Field(ge=256, le=1 << 20)] = 1024
    """Memory of our VM."""
    cpus: Annotated[StrictInt, Field(ge=1, le=256)] = 2
    """Processors of our VM."""
    clock: Literal["host", "instructions"] = "host"
    """What time our VM has: the host's, or 4 ns an instruction that it executes while it is busy. Then it is
    emulated, has one processor, and takes the same time for the same work on every host.
    """
    ssh: Ssh | None = None
    """How a machine of yours is reached."""
    interface_fib: StrictStr | None = None
    """The tenant whose FIB is the interface's, for addresses without one of their own."""
    addresses: tuple[LocalAddress, ...] = ()
    """Addresses without a FIB of their own, as `[{v4: 10.79.255.1}]`."""


class Topology(_Model):
    """All of it; a tenant's place in `tenants`, counted from 1, is its FIB unless it has a `fib`."""

    name: Name = "topology"
    """Name of the deployment: 1 to 32 lower-case letters, digits and dashes, a letter first and no dash
    last. Tenants' names are alike.
    """
    description: StrictStr = ""
    """One line for people."""
    uplink: Uplink = Uplink()
    """Ranges on the SUT's segment, from which tenants' blocks are cut."""
    sut: Sut = Sut()
    """The system under test."""
    services_start: Literal["up", "lease"] | None = None
    """When tenants' networks and containers are made: by `up`, or when a tenant is first leased; then as
    many stay as memory allows.
    """
    tenants: dict[StrictStr, Tenant]
    """Tenants by name, 1 to 65,535 of them."""

    @property
    def starts_on_lease(self) -> bool:
        """Whether services follow on the first lease of their tenant: as said, or if many."""
        if self.services_start is not None:
            return self.services_start == "lease"
        clients_and_services = sum(
            1 + len(tenant.services.present()) for tenant in self.tenants.values()
        )
        return clients_and_services > MOST_STARTED_AT_ONCE

    def numbered(self) -> Iterator[tuple[int, str, Tenant]]:
        """Yield each tenant's index (its FIB) and name with it, in the file's order."""
        for place, (name, tenant) in enumerate(self.tenants.items(), start=1):
            yield tenant.fib or place, name, tenant

    def domain_of(self, name: str) -> str:
        """Return the DNS domain of tenant `name`."""
        return self.tenants[name].domain or f"{name}.test"
