"""What rtnetlink is asked for and reports, in the form in which apply compares it.

A named tuple each, equal when the kernel's object and ours mean the same.
"""

from __future__ import annotations

from typing import NamedTuple


class Address(NamedTuple):
    """An address of an interface; a deprecated IPv6 address is never chosen as a source."""

    family: int
    address: bytes
    prefix_length: int
    is_deprecated: bool = False


class Neighbour(NamedTuple):
    """A permanent neighbour entry of an interface."""

    family: int
    address: bytes
    mac: bytes


class Route(NamedTuple):
    """A route by way of one interface; empty `via`, `source` and `origin` mean none.

    `source` is the address that packets are given, `origin` the only one whose packets it is for.
    """

    family: int
    table: int
    kind: int
    destination: bytes
    prefix_length: int
    via: bytes
    source: bytes
    metric: int
    interface: int
    origin: bytes = b""

    @property
    def key(self) -> tuple[int, int, bytes, int, int, bytes]:
        """What the kernel allows once: a route with the same key replaces it."""
        return (
            self.family,
            self.table,
            self.destination,
            self.prefix_length,
            self.metric,
            self.origin,
        )


class Rule(NamedTuple):
    """A policy rule: selectors by source prefix or by mark, and one action."""

    family: int
    preference: int
    action: int
    source: bytes = b""
    prefix_length: int = 0
    mark: int = 0
    mask: int = 0
    table: int = 0
    target: int = 0


class AddressEvent(NamedTuple):
    """An address that came (or is there) or went.

    `is_without_route`: made without its network's; `is_of_link`: it means something on its link alone.
    """

    interface: int
    address: Address
    is_new: bool
    is_without_route: bool
    is_of_link: bool


Entry = Address | Neighbour | Route | Rule

UNICAST, LOCAL, NO_WAY = 1, 2, 7
"""Kinds of routes."""

TO_TABLE, GOTO, NOTHING, UNREACHABLE = 1, 2, 3, 7
"""Actions of rules."""
