"""Addresses and networks as the kernel has them: packed bytes, parsed and printed by libc.

`ipaddress` takes about ten times as long, which thousands of FIBs turn into many seconds.
"""

from __future__ import annotations

import socket
from functools import lru_cache
from typing import Final, NamedTuple

MAPPED: Final = bytes(10) + b"\xff\xff"
"""What precedes an IPv4 address that is written as one of IPv6."""

_TOO_LONG: Final = 129


class Address(bytes):
    """A packed IPv4 or IPv6 address: 4 or 16 bytes, equal to them."""

    __slots__ = ()

    @property
    def version(self) -> int:
        """4 or 6."""
        return 4 if len(self) == 4 else 6

    @property
    def family(self) -> socket.AddressFamily:
        """AF_INET or AF_INET6."""
        return socket.AF_INET if len(self) == 4 else socket.AF_INET6

    @property
    def bits(self) -> int:
        """32 or 128."""
        return len(self) * 8

    def __str__(self) -> str:
        return socket.inet_ntop(self.family, self)


class Interface(NamedTuple):
    """An address with the length of its prefix."""

    ip: Address
    length: int

    @property
    def version(self) -> int:
        """4 or 6."""
        return self.ip.version

    def __str__(self) -> str:
        return f"{self.ip}/{self.length}"


class Network(NamedTuple):
    """A prefix; bits after `length` are zero."""

    address: Address
    length: int

    @property
    def version(self) -> int:
        """4 or 6."""
        return self.address.version

    def covers(self, address: Address) -> bool:
        """Whether an address is in it."""
        shift = self.address.bits - self.length
        return len(address) == len(self.address) and (
            int.from_bytes(address, "big") >> shift == int.from_bytes(self.address, "big") >> shift
        )

    def __str__(self) -> str:
        return f"{self.address}/{self.length}"


# An address is seen as a neighbour and a next hop, a network in most FIBs.
@lru_cache(maxsize=1024)
def to_address(text: str) -> Address:
    """Parse an address.

    Raises:
        ValueError: it is none.
    """
    family = socket.AF_INET6 if ":" in text else socket.AF_INET
    try:
        return Address(socket.inet_pton(family, text))
    except (OSError, ValueError) as error:  # ValueError: a NUL or what is not ASCII
        raise ValueError(f"'{text}' is not an address") from error


def to_interface(text: str) -> Interface:
    """Parse an address with its prefix length; without one it stands alone.

    Raises:
        ValueError: it is none.
    """
    head, slash, tail = text.partition("/")
    address = to_address(head)
    if not slash:
        return Interface(address, address.bits)
    length = _length(tail)
    if length > address.bits:
        raise ValueError(f"'{text}' has no prefix length of its family")
    return Interface(address, length)


@lru_cache(maxsize=256)
def _length(text: str) -> int:
    """Return the number of bits; what is no number is more than any address has."""
    # int() would take signs, spaces, underscores and digits of other scripts.
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 3 else _TOO_LONG


@lru_cache(maxsize=1024)
def to_network(text: str) -> Network:
    """Parse a network.

    Raises:
        ValueError: it is none, or has bits after its prefix.
    """
    address, length = to_interface(text)
    rest = address.bits - length
    if rest and int.from_bytes(address, "big") & ((1 << rest) - 1):
        raise ValueError(f"{text} has host bits set")
    return Network(address, length)
