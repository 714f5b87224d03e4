"""Computes the plan of a topology: a pure function, so that it can be printed, tested and redone."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from ipaddress import IPv4Address, IPv4Interface, IPv6Interface, ip_network

from testbed.model.allocation import FamilyAddresses, allocate
from testbed.model.topology import Sut, Tenant, Topology
from testbed.plan import names
from testbed.plan.identity import DeploymentId
from testbed.plan.records import build_extra, build_records
from testbed.plan.resources import (
    UNASSIGNED,
    Address,
    ContainerPlan,
    DirectoryPlan,
    FibId,
    FibPlan,
    HostPlan,
    Interface,
    Leg,
    Mac,
    Method,
    Neighbour,
    NetworkPlan,
    Plan,
    RealmPlan,
    RemotePlan,
    ReplicaPlan,
    Role,
    Route,
    RouterPlan,
    Secret,
    SutPlan,
    TenantPlan,
    VmPlan,
)

DAEMON_PORT = 7007
_VM_INTERFACE = "eth0"
_LAN, _UPLINK = "lan", "uplink"  # a link called `up` would confuse ip(8)


def build_plan(topology: Topology, deployment: DeploymentId) -> Plan:
    """Return the plan of `topology`, which has passed the loader's checks, for `deployment`."""
    with _collection_paused():
        return _build_plan(topology, deployment)


@contextmanager
def _collection_paused() -> Iterator[None]:
    """Keep the collector from walking the growing plan again and again: it was most of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _build_plan(topology: Topology, deployment: DeploymentId) -> Plan:
    machine = _build_machine(topology.sut, deployment)
    unassigned = _unassigned(topology.sut)
    seats = [
        _Seat(deployment, topology, name, tenant, index, allocate(topology, tenant, index))
        for index, name, tenant in topology.numbered()
    ]
    default_fib = next(
        (FibId(seat.index) for seat in seats if seat.name == topology.sut.interface_fib),
        UNASSIGNED,
    )
    return Plan(
        deployment=deployment,
        topology=topology.name,
        starts_on_lease=topology.starts_on_lease,
        ipam_driver=names.ipam_driver(deployment),
        sut=SutPlan(
            machine=machine,
            interface=machine.interface if isinstance(machine, RemotePlan) else _VM_INTERFACE,
            default_fib=default_fib,
            unassigned=tuple(_interface(address, address.max_prefixlen) for address in unassigned),
            fibs=tuple(
                _build_fib(seat, unassigned if seat.index == default_fib else ()) for seat in seats
            ),
            port=DAEMON_PORT,
        ),
        tenants=tuple(
            _build_tenant(seat, machine.mac, unassigned if seat.index == default_fib else ())
            for seat in seats
        ),
    )


@dataclass(frozen=True)
class _Seat:
    """A tenant with its place and addresses."""

    deployment: DeploymentId
    topology: Topology
    name: str
    tenant: Tenant
    index: int
    families: tuple[FamilyAddresses, ...]

    @property
    def domain(self) -> str:
        return self.topology.domain_of(self.name)

    @cached_property
    def servers(self) -> tuple[Interface, ...]:
        return tuple(
            _interface(server, family.prefix_of(server))
            for family in self.families
            for server in family.servers
            if server is not None
        )

    @cached_property
    def roles(self) -> dict[Role, tuple[Interface, ...]]:
        """The addresses of the tenant's containers."""
        found: dict[Role, tuple[Interface, ...]] = {}
        for family in self.families:
            length = family.network.prefixlen
            for name, address in (("client", family.client), *family.services.items()):
                role = Role(name)
                found[role] = (*found.get(role, ()), _interface(address, length))
        return found


@lru_cache(maxsize=1024)  # most addresses on tenants' LANs are the same
def _interface(address: Address, length: int) -> Interface:
    # By number: ipaddress would print and parse an address object.
    if isinstance(address, IPv4Address):
        return IPv4Interface((int(address), length))
    return IPv6Interface((int(address), length))


def _build_machine(sut: Sut, deployment: DeploymentId) -> VmPlan | RemotePlan:
    if sut.ssh is None:
        return VmPlan(
            tap=names.tap(deployment),
            mac=names.VM_MAC,
            memory_mib=sut.memory_mib,
            cpus=sut.cpus,
            counts_instructions=sut.clock == "instructions",
            ssh_address=names.ssh_address(deployment),
        )
    return RemotePlan(
        host=sut.ssh.host,
        port=sut.ssh.port,
        user=sut.ssh.user,
        system=sut.ssh.system,
        interface=sut.ssh.interface,
        uplink=sut.ssh.uplink,
        mac=Mac(sut.ssh.mac),
    )


def _unassigned(sut: Sut) -> tuple[Address, ...]:
    pairs = [address for pair in sut.addresses for address in (pair.v4, pair.v6)]
    return tuple(address for address in pairs if address is not None)


def _build_fib(seat: _Seat, unassigned: Iterable[Address]) -> FibPlan:
    """Return the FIB; a family without any address in it has no route either."""
    versions = {address.version for address in _at_sut(seat, unassigned)}
    families = [family for family in seat.families if family.version in versions]
    routes: list[Route] = []
    for family in families:
        routes.append(Route(family.transit))
        routes.append(Route(family.network, family.next_hop))
        routes += [
            Route(extra.to, family.next_hop)
            for extra in seat.tenant.routes
            if extra.to.version == family.version
        ]
    return FibPlan(
        fib=FibId(seat.index),
        name=seat.name,
        addresses=seat.servers,
        routes=tuple(routes),
        neighbours=tuple(
            Neighbour(family.next_hop, names.uplink_mac(seat.index)) for family in families
        ),
    )


def _at_sut(seat: _Seat, unassigned: Iterable[Address]) -> tuple[Address, ...]:
    """Return the SUT's addresses in the tenant's FIB."""
    return (*(server.ip for server in seat.servers), *unassigned)


def _build_tenant(seat: _Seat, sut_mac: Mac, unassigned: Iterable[Address]) -> TenantPlan:
    tenant, domain = seat.tenant, seat.domain
    services = tenant.services
    realm = (services.kdc.realm or domain.upper()) if services.kdc else None
    extra = services.dns.records if services.dns else {}
    return TenantPlan(
        name=seat.name,
        index=seat.index,
        fib=FibId(seat.index),
        domain=domain,
        server_host=f"server.{domain}",
        server_addresses=seat.servers,
        router=_build_router(seat, sut_mac, unassigned),
        network=NetworkPlan(
            name=names.tenant_resource(seat.deployment, seat.name),
            parent=names.tenant_link(seat.deployment, seat.index),
            subnets=tuple(family.network for family in seat.families),
            gateways=tuple(family.router for family in seat.families),
        ),
        containers=tuple(_build_container(seat, role) for role in Role if role in seat.roles),
        resolvers=tuple(own.ip for own in seat.roles.get(Role.DNS, ())),
        records=(*build_records(domain, _hosts(seat), realm), *build_extra(extra)),
        probe_name=_probe_name(seat),
        users=tuple(Secret(name, password) for name, password in tenant.users.items()),
        directory=_build_directory(seat),
        realm=_build_realm(seat, realm),
        login=Method(tenant.method) if tenant.method else None,
    )


def _hosts(seat: _Seat) -> dict[str, tuple[Address, ...]]:
    """Return the tenant's hosts by the first label of their names."""
    return {
        **{str(role): tuple(own.ip for own in found) for role, found in seat.roles.items()},
        "router": tuple(family.router for family in seat.families),
        "server": tuple(server.ip for server in seat.servers),
    }


def _probe_name(seat: _Seat) -> str:
    """Choose a name that differs between tenants if any does: one that the topology adds."""
    dns = seat.tenant.services.dns
    return next(iter(dns.records if dns else ()), f"server.{seat.domain}")


def _build_container(seat: _Seat, role: Role) -> ContainerPlan:
    return ContainerPlan(
        name=names.container(seat.deployment, seat.name, role),
        role=role,
        hostname=f"{role}.{seat.domain}",
        mac=names.container_mac(role, seat.index),
        addresses=seat.roles[role],
    )


def _build_router(seat: _Seat, sut_mac: Mac, unassigned: Iterable[Address]) -> RouterPlan:
    """Return the router: it reaches the tenant's addresses of the SUT, and nothing else there."""
    at_sut = _at_sut(seat, unassigned)
    transits = [family.transit for family in seat.families]
    off_transit = [
        address for address in at_sut if not any(address in transit for transit in transits)
    ]
    versions = {family.version for family in seat.families}
    return RouterPlan(
        netns=names.tenant_resource(seat.deployment, seat.name),
        lan=Leg(
            name=_LAN,
            mac=names.lan_mac(seat.index),
            addresses=tuple(
                _interface(family.router, family.network.prefixlen) for family in seat.families
            ),
        ),
        uplink=Leg(
            name=_UPLINK,
            mac=names.uplink_mac(seat.index),
            addresses=tuple(
                _interface(family.next_hop, family.transit.prefixlen) for family in seat.families
            ),
        ),
        routes=(
            *(Route(ip_network(address)) for address in off_transit if address.version in versions),
            *(Route(extra.to, extra.via) for extra in seat.tenant.routes if extra.via),
        ),
        neighbours=tuple(
            Neighbour(address, sut_mac) for address in at_sut if address.version in versions
        ),
    )


def _build_directory(seat: _Seat) -> DirectoryPlan | None:
    ldap = seat.tenant.services.ldap
    if ldap is None:
        return None
    base_dn = ldap.base_dn or ",".join(f"dc={label}" for label in seat.domain.split("."))
    password = names.secret(seat.deployment, seat.name, "directory")
    return DirectoryPlan(
        host=f"ldap.{seat.domain}",
        address=seat.roles[Role.LDAP][0].ip,
        second=_build_second(seat),
        base_dn=base_dn,
        admin=Secret("admin", password),
        tls=ldap.tls,
    )


def _build_second(seat: _Seat) -> HostPlan | None:
    if Role.LDAP2 not in seat.roles:
        return None
    return HostPlan(f"{Role.LDAP2}.{seat.domain}", seat.roles[Role.LDAP2][0].ip)


def _build_realm(seat: _Seat, realm: str | None) -> RealmPlan | None:
    if realm is None:
        return None
    password = names.secret(seat.deployment, seat.name, "realm")
    return RealmPlan(
        host=f"kdc.{seat.domain}",
        address=seat.roles[Role.KDC][0].ip,
        second=_build_replica(seat),
        realm=realm,
        master=Secret("K/M", names.secret(seat.deployment, seat.name, "master")),
        admin=Secret("admin/admin", password),
        services=(f"login/server.{seat.domain}",),
    )


def _build_replica(seat: _Seat) -> ReplicaPlan | None:
    if Role.KDC2 not in seat.roles:
        return None
    address = seat.roles[Role.KDC2][0].ip
    password = names.secret(seat.deployment, seat.name, "replica")
    return ReplicaPlan(
        host=f"{Role.KDC2}.{seat.domain}",
        address=address,
        principal=Secret(f"host/{address}", password),
    )
