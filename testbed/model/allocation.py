"""The address plan: which addresses a tenant has on its LAN and on the uplink, one family a time.

Each tenant index k has a block of the uplink range: IPv4 a /29 (.1-.5 servers, .6 the router's
next hop), IPv6 a /64 (::1... and ::fe). Server addresses lie outside the LAN because 254 hosts
could not hold thousands of unique ones (fib-semantics.md, P32).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Literal

from testbed.model.topology import ServiceName, Tenant, Topology

Version = Literal[4, 6]
Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

CLIENT_HOST = 0x1
SERVICE_HOSTS: Mapping[str, Mapping[Version, int]] = {
    # IPv6 repeats the decimal digits of IPv4, so that people recognise them.
    "dns": {4: 53, 6: 0x53},
    "ldap": {4: 89, 6: 0x89},
    "ldap2": {4: 90, 6: 0x90},
    "kdc": {4: 88, 6: 0x88},
    "kdc2": {4: 87, 6: 0x87},
}
ROUTER_HOST = {4: 254, 6: 0xFE}
NEXT_HOP = {4: 6, 6: 0xFE}
_BLOCK_BITS = {4: 3, 6: 64}


@dataclass(frozen=True, slots=True)
class FamilyAddresses:
    """A tenant's addresses of one family. A server without one of this family is None."""

    version: Version
    network: Network
    client: Address
    router: Address
    services: dict[ServiceName, Address]
    block: Network
    servers: tuple[Address | None, ...]
    next_hop: Address

    @property
    def transit(self) -> Network:
        """What is on the link around the next hop: the block, or the next hop alone."""
        if self.next_hop in self.block:
            return self.block
        return type(self.block)(self.next_hop)

    def has_room_for(self, place: int) -> bool:
        """Whether the block has an address for the server at this place, counted from 0."""
        return 1 + place < NEXT_HOP[self.version]

    def prefix_of(self, server: Address) -> int:
        """Return the prefix length of `server` on the SUT's interface."""
        transit = self.transit
        return transit.prefixlen if server in transit else server.max_prefixlen


def allocate(topology: Topology, tenant: Tenant, index: int) -> tuple[FamilyAddresses, ...]:
    """Return the addresses of the tenant with this index, IPv4 first, IPv6 if it has any.

    They may clash with others' or lie outside their network: `testbed.model.check` finds out.
    """
    v4 = _allocate_v4(tenant, _block_v4(topology.uplink.v4, index))
    if tenant.network6 is None:
        return (v4,)
    block6 = _block_v6(topology.uplink.v6, index)
    return v4, _allocate_v6(tenant, tenant.network6, block6)


def _block_v4(uplink: IPv4Network, index: int) -> IPv4Network:
    first = int(uplink.network_address) >> _BLOCK_BITS[4]
    return IPv4Network((first + index - 1 << _BLOCK_BITS[4], 32 - _BLOCK_BITS[4]))


def _block_v6(uplink: IPv6Network, index: int) -> IPv6Network:
    first = int(uplink.network_address) >> _BLOCK_BITS[6]
    return IPv6Network((first + index << _BLOCK_BITS[6], 128 - _BLOCK_BITS[6]))


def _allocate_v4(tenant: Tenant, block: IPv4Network) -> FamilyAddresses:
    start = tenant.network.network_address
    return FamilyAddresses(
        version=4,
        network=tenant.network,
        client=tenant.client or start + CLIENT_HOST,
        router=tenant.router or start + ROUTER_HOST[4],
        services={
            name: service.address or start + SERVICE_HOSTS[name][4]
            for name, service in tenant.services.present().items()
        },
        block=block,
        servers=tuple(
            server.v4 or block.network_address + 1 + place
            for place, server in enumerate(tenant.servers)
        ),
        next_hop=tenant.next_hop or block.network_address + NEXT_HOP[4],
    )


def _allocate_v6(tenant: Tenant, network: IPv6Network, block: IPv6Network) -> FamilyAddresses:
    start = network.network_address
    return FamilyAddresses(
        version=6,
        network=network,
        client=tenant.client6 or start + CLIENT_HOST,
        router=tenant.router6 or start + ROUTER_HOST[6],
        services={
            name: service.address6 or start + SERVICE_HOSTS[name][6]
            for name, service in tenant.services.present().items()
        },
        block=block,
        servers=tuple(
            (server.v6 or block.network_address + 1 + place) if server.has_v6 else None
            for place, server in enumerate(tenant.servers)
        ),
        next_hop=tenant.next_hop6 or block.network_address + NEXT_HOP[6],
    )
