"""The resolved plan: every name, address, MAC and label, computed before anything is made.

Pure data. `testbed.plan.build` computes it from a topology and a deployment id; drivers execute
it and cleaning recomputes it. Interface addresses carry their prefix length, plain addresses are
hosts. A tenant's index, from 1, equals its FIB.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from typing import NewType

from testbed.plan.identity import DeploymentId

FibId = NewType("FibId", int)
Mac = NewType("Mac", str)

Address = IPv4Address | IPv6Address
Interface = IPv4Interface | IPv6Interface
Network = IPv4Network | IPv6Network

UNASSIGNED = FibId(0)


class Role(StrEnum):
    """What a tenant's container is."""

    CLIENT = "client"
    DNS = "dns"
    LDAP = "ldap"
    LDAP2 = "ldap2"
    KDC = "kdc"
    KDC2 = "kdc2"

    @property
    def kind(self) -> Role:
        """What it does, and so its image under `tenants/`: a second server is like the first."""
        return _FIRST.get(self, self)


_FIRST = {Role.LDAP2: Role.LDAP, Role.KDC2: Role.KDC}


class Method(StrEnum):
    """How a tenant authenticates its users."""

    LDAP = "ldap"
    KERBEROS = "kerberos"


@dataclass(frozen=True, slots=True)
class Route:
    """One route of a router or FIB. Without `via` the network is on the link itself."""

    to: Network
    via: Address | None = None


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A permanent neighbour entry: no ARP or neighbour discovery (27 ms at 4,000 tenants)."""

    address: Address
    mac: Mac


@dataclass(frozen=True, slots=True)
class Leg:
    """One interface: its name inside its namespace, MAC and addresses."""

    name: str
    mac: Mac
    addresses: tuple[Interface, ...]


@dataclass(frozen=True, slots=True)
class RouterPlan:
    """A tenant's router: a network namespace between the tenant link and the uplink."""

    netns: str
    lan: Leg
    uplink: Leg
    routes: tuple[Route, ...]
    neighbours: tuple[Neighbour, ...]


@dataclass(frozen=True, slots=True)
class NetworkPlan:
    """A tenant's Docker network: macvlan on the host end of the tenant link."""

    name: str
    parent: str
    subnets: tuple[Network, ...]
    gateways: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class ContainerPlan:
    """A container of a tenant; `settings` are what its image's templates need (see ServicePlan)."""

    name: str
    role: Role
    hostname: str
    mac: Mac
    addresses: tuple[Interface, ...]


@dataclass(frozen=True, slots=True)
class Secret:
    """A name with its password: shown by nobody's repr."""

    name: str
    password: str

    def __repr__(self) -> str:
        return f"Secret(name={self.name!r}, password=***)"


@dataclass(frozen=True, slots=True)
class Record:
    """One DNS record as a zone file has it: `a.test.`, `A`, `192.168.0.1`; texts are in quotes."""

    owner: str
    type: str
    value: str


@dataclass(frozen=True, slots=True)
class HostPlan:
    """A server by its name and first address."""

    host: str
    address: Address


@dataclass(frozen=True, slots=True)
class DirectoryPlan:
    """A tenant's LDAP directory; users live at uid=NAME,ou=people,BASE_DN, the admin at cn=NAME,BASE_DN.

    `tls`: it has a certificate of the tenant's own authority, and the daemon asks it over TLS alone.
    `second` has the same content.
    """

    host: str
    address: Address
    second: HostPlan | None
    base_dn: str
    admin: Secret
    tls: bool


@dataclass(frozen=True, slots=True)
class ReplicaPlan:
    """A second KDC: it takes the database from whoever proves to be the first one's host.

    `principal` is what the first one sends it to, by address: a tenant may have no DNS.
    """

    host: str
    address: Address
    principal: Secret


@dataclass(frozen=True, slots=True)
class RealmPlan:
    """A tenant's Kerberos realm; services are principals with random keys in its keytab.

    Principals, `admin` among them, are given without the realm. With the password `master` its KDCs
    encrypt what is in their database.
    """

    host: str
    address: Address
    second: ReplicaPlan | None
    realm: str
    master: Secret
    admin: Secret
    services: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TenantPlan:
    """All of one tenant. `probe_name` is a DNS name whose addresses tell it from others, if any."""

    name: str
    index: int
    fib: FibId
    domain: str
    server_host: str
    server_addresses: tuple[Interface, ...]
    router: RouterPlan
    network: NetworkPlan
    containers: tuple[ContainerPlan, ...]
    resolvers: tuple[Address, ...]
    records: tuple[Record, ...]
    probe_name: str
    users: tuple[Secret, ...]
    directory: DirectoryPlan | None
    realm: RealmPlan | None
    login: Method | None

    def container(self, role: Role) -> ContainerPlan:
        """Return the container of `role`; KeyError when the tenant has none."""
        for container in self.containers:
            if container.role is role:
                return container
        raise KeyError(f"tenant {self.name!r} has no {role} container")


@dataclass(frozen=True, slots=True)
class FibPlan:
    """One FIB of the SUT: its local addresses, routes, permanent neighbours (its routers)."""

    fib: FibId
    name: str
    addresses: tuple[Interface, ...]
    routes: tuple[Route, ...]
    neighbours: tuple[Neighbour, ...]


@dataclass(frozen=True, slots=True)
class VmPlan:
    """Our own VM. `ssh_address` is a loopback address of this deployment alone, port 22.

    One that `counts_instructions` tells time by them, see `testbed.sut.qemu`.
    """

    tap: str
    mac: Mac
    memory_mib: int
    cpus: int
    counts_instructions: bool
    ssh_address: IPv4Address


@dataclass(frozen=True, slots=True)
class RemotePlan:
    """A machine of the user's, reached by ssh; `interface` there joins the uplink segment."""

    host: str
    port: int
    user: str
    system: str
    interface: str
    uplink: str
    mac: Mac


@dataclass(frozen=True, slots=True)
class SutPlan:
    """The system under test and the FIBs it is to have.

    `default_fib` is the interface's FIB: that of `unassigned`, addresses without one of their own.
    """

    machine: VmPlan | RemotePlan
    interface: str
    default_fib: FibId
    unassigned: tuple[Interface, ...]
    fibs: tuple[FibPlan, ...]
    port: int


@dataclass(frozen=True)
class Plan:
    """A topology made concrete for one deployment.

    `starts_on_lease`: a tenant's network and containers are made when it is first leased.
    """

    deployment: DeploymentId
    topology: str
    starts_on_lease: bool
    ipam_driver: str
    sut: SutPlan
    tenants: tuple[TenantPlan, ...]

    def tenant(self, name: str) -> TenantPlan:
        """Return the tenant called `name`; KeyError when there is none."""
        found = self._by_name.get(name)
        if found is None:
            raise KeyError(f"no tenant {name!r} in topology {self.topology!r}")
        return found

    @cached_property
    def _by_name(self) -> dict[str, TenantPlan]:
        return {tenant.name: tenant for tenant in self.tenants}

    def containers(self) -> Iterator[tuple[TenantPlan, ContainerPlan]]:
        """Yield every container with its tenant, in the plan's order."""
        for tenant in self.tenants:
            for container in tenant.containers:
                yield tenant, container
