"""A small world for random sequences: three FIBs, a dozen addresses, a few networks, and what changes.

Small on purpose: addresses meet again in other FIBs, networks nest, and every FIB is asked for all.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from typing import Any, Final

from . import lab

FOUR, SIX = socket.AF_INET, socket.AF_INET6
FIBS: Final = lab.TENANTS
ADDRESSES: Final = (
    *(lab.server(tenant, family) for tenant in FIBS for family in lab.FAMILIES),
    *(f"10.64.1.{number}" for number in (1, 2, 3)),
    *(f"fd00:64:1::{number}" for number in (1, 2, 3)),
)
NETWORKS: Final = (
    *("0.0.0.0/0", "10.64.0.0/16", "192.168.0.0/24", "192.168.0.1/32"),
    *("::/0", "fd00:64::/32", "fd00:c0a8::/64", "fd00:c0a8::1/128"),
)
STRANGERS: Final = ("192.168.0.1", "198.51.100.1", "fd00:c0a8::1", "2001:db8::1")
REMOTES: Final = (*ADDRESSES, *STRANGERS)
UNASSIGNED: Final = 0


def family_of(address: str) -> socket.AddressFamily:
    """Return the family of an address or network."""
    return SIX if ":" in address else FOUR


@dataclass
class World:
    """What is to be configured. An address has one owner; `UNASSIGNED` is the interface."""

    owners: dict[str, int] = field(default_factory=dict)
    routes: dict[tuple[int, str], bool] = field(default_factory=dict)
    """(FIB, network) -> whether it has a next hop, the FIB's router."""
    fibs: set[int] = field(default_factory=lambda: set(FIBS))
    default: int = 0

    def __post_init__(self) -> None:
        for tenant in FIBS:
            for family in lab.FAMILIES:
                self.owners[lab.server(tenant, family)] = tenant

    def put(self, owner: int, address: str) -> None:
        """Give an address to a FIB or to the interface, whoever had it."""
        self.owners.pop(address, None)  # the last that came is the last in preference
        self.owners[address] = owner

    def remove(self, address: str) -> None:
        """Take an address away."""
        self.owners.pop(address, None)

    def route(self, fib: int, network: str, has_hop: bool) -> None:  # noqa: FBT001 - drawn
        """Lay a route."""
        self.routes[fib, network] = has_hop

    def unroute(self, fib: int, network: str) -> None:
        """Take a route away."""
        self.routes.pop((fib, network), None)

    def toggle(self, fib: int) -> None:
        """Delete a FIB, or bring it back with what it had."""
        self.fibs ^= {fib}

    def follow(self, fib: int) -> None:
        """Make a FIB the interface's."""
        self.default = fib

    def document(self) -> dict[str, Any]:
        """Return the document: what of all this can be configured."""
        default = self.default if self.default in self.fibs else 0
        unassigned = [a for a, owner in self.owners.items() if owner == UNASSIGNED]
        return lab.document(
            default_fib=default,
            unassigned=[_interface(address) for address in unassigned],
            fibs=[
                self._fib(fib, unassigned if fib == default else []) for fib in sorted(self.fibs)
            ],
        )

    def _fib(self, fib: int, more: list[str]) -> dict[str, Any]:
        own = [address for address, owner in self.owners.items() if owner == fib]
        families = {family_of(address) for address in (*own, *more)}
        return {
            "id": fib,
            "name": f"tenant{fib}",
            "addresses": [_interface(address) for address in own],
            "routes": [
                {"to": network, **({"via": lab.router(fib, family_of(network))} if has_hop else {})}
                for (owner, network), has_hop in self.routes.items()
                if owner == fib and family_of(network) in families
            ],
            "neighbours": lab.fib_entry(fib)["neighbours"],
        }


def _interface(address: str) -> str:
    return f"{address}/{128 if ':' in address else 32}"
