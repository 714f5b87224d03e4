"""A small rtnetlink codec for thousands of messages a second, standard library only.

Knows the objects of entries.py: addresses, routes, rules and neighbours. Encoding and decoding
are flat `struct` calls: a general library needs about 30 times as long for each message, which
an emulated CPU and 4,000 FIBs turn into minutes. Layouts: rtnetlink(7), linux/rtnetlink.h,
linux/fib_rules.h, linux/if_addr.h, linux/neighbour.h, linux/if_link.h.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Sequence
from typing import Final

from .entries import GOTO, LOCAL, TO_TABLE, Address, AddressEvent, Entry, Neighbour, Route, Rule

RTPROT_FIB = 70
"""Protocol number of what we make: free in /etc/iproute2/rt_protos."""

REQUEST, ACK, DUMP = 0x1, 0x4, 0x300
ERROR, DONE = 2, 3
NEWLINK, DELLINK = 16, 17
NEWADDR, DELADDR, GETADDR = 20, 21, 22
NEWROUTE, DELROUTE, GETROUTE = 24, 25, 26
NEWNEIGH, DELNEIGH, GETNEIGH = 28, 29, 30
NEWRULE, DELRULE, GETRULE = 32, 33, 34

HEADER = struct.Struct("=IHHII")
"""Of a message: its size, kind, flags, sequence number, port of who asked for it."""

_ATTRIBUTE = struct.Struct("=HH")
_U32 = struct.Struct("=I")
_NUMBER = struct.Struct("=HHI")  # an attribute with a number: its size, kind, value
_ADDRESS = struct.Struct("=BBBBI")
_ROUTE = struct.Struct("=BBBBBBBBI")
_NEIGHBOUR = struct.Struct("=BxxxiHBB")
_LINK = struct.Struct("=BxHiII")
_CACHE_INFO = struct.Struct("=IIII")
_WITH_ADDRESS = {4: struct.Struct("=HH4s").pack, 16: struct.Struct("=HH16s").pack}
"""By its size, an attribute with an address: size, kind, value."""
_PADDING = (b"", bytes(3), bytes(2), bytes(1))

_REPLACE, _CREATE = 0x100, 0x400
_RTPROT_KERNEL = 2
_NOPREFIXROUTE, _NODAD, _DEPRECATED = 0x200, 0x02, 0x20
_FOREVER = 0xFFFFFFFF
_NUD_PERMANENT = 0x80
_ONLINK = 4
_SCOPE_LINK, _SCOPE_HOST = 253, 254
_IFF_UP = 1
_ANY = {socket.AF_INET: bytes(4), socket.AF_INET6: bytes(16)}


Message = tuple[int, int, bytes]
"""Kind, flags and body of a request. No named tuple: to make one is a call for each of 9 a tenant."""


def pack(message: Message, number: int) -> bytes:
    """Return a request as it is sent, with its sequence number."""
    kind, flags, body = message
    return HEADER.pack(HEADER.size + len(body), kind, flags, number, 0) + body


def _attribute(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(4 + len(value), kind) + value + _PADDING[len(value) & 3]


def attributes_of(data: bytes, start: int) -> dict[int, bytes]:
    """Return the attributes of a message from `start` on; the last of a kind counts."""
    found: dict[int, bytes] = {}
    while start + 4 <= len(data):
        size, kind = _ATTRIBUTE.unpack_from(data, start)
        if size < 4:
            break
        found[kind & 0x3FFF] = data[start + 4 : start + size]
        start += (size + 3) & ~3
    return found


_OURS, _OF_KERNEL = (_attribute(21, bytes([each])) for each in (RTPROT_FIB, _RTPROT_KERNEL))
"""What tells whose a rule is."""


# What the kernel says. Each but the first takes a message without its header.


def split(data: bytes) -> list[tuple[int, int, int, bytes]]:
    """Return kind, flags, sequence number and body of each message."""
    messages = []
    start = 0
    while start + HEADER.size <= len(data):
        size, kind, flags, sequence, _ = HEADER.unpack_from(data, start)
        messages.append((kind, flags, sequence, data[start + 16 : start + size]))
        start += (size + 3) & ~3
    return messages


def decode_address(kind: int, data: bytes) -> AddressEvent:
    """Return the address that is there, came or went."""
    family, length, flags, scope, index = _ADDRESS.unpack_from(data)
    attributes = attributes_of(data, 8)
    flags = _number(attributes.get(8)) or flags
    address = attributes.get(2) or attributes[1]
    entry = Address(family, address, length, bool(flags & _DEPRECATED))
    return AddressEvent(
        index, entry, kind == NEWADDR, bool(flags & _NOPREFIXROUTE), scope >= _SCOPE_LINK
    )


def decode_neighbour(data: bytes) -> tuple[Neighbour, int, bool]:
    """Return a neighbour, its interface and whether it is permanent."""
    family, index, state, _, _ = _NEIGHBOUR.unpack_from(data)
    attributes = attributes_of(data, 12)
    entry = Neighbour(family, attributes.get(1, b""), attributes.get(2, b""))
    return entry, index, state == _NUD_PERMANENT


def decode_route(data: bytes) -> Route:
    """Return a route."""
    family, length, _, _, small, _, _, kind, _ = _ROUTE.unpack_from(data)
    attributes = attributes_of(data, 12)
    return Route(
        family,
        _number(attributes.get(15)) or small,
        kind,
        attributes.get(1) or _ANY[family],
        length,
        attributes.get(5, b""),
        attributes.get(7, b""),
        _number(attributes.get(6)),
        _number(attributes.get(4)),
        attributes.get(2, b""),
    )


def decode_rule(data: bytes) -> tuple[Rule, bool]:
    """Return a rule, and whether it is ours."""
    family, _, length, _, small, _, _, action, _ = _ROUTE.unpack_from(data)
    attributes = attributes_of(data, 12)
    rule = Rule(
        family,
        _number(attributes.get(6)),
        action,
        attributes.get(2, b""),
        length,
        _number(attributes.get(10)),
        _number(attributes.get(16)),
        (_number(attributes.get(15)) or small) if action == TO_TABLE else 0,
        _number(attributes.get(4)),
    )
    return rule, attributes.get(21, b"\0") == bytes([RTPROT_FIB])


def decode_link(data: bytes) -> tuple[int, bool]:
    """Return the number of an interface, and whether it is up."""
    _, _, index, flags, _ = _LINK.unpack_from(data)
    return index, bool(flags & _IFF_UP)


def _number(value: bytes | None) -> int:
    return int(_U32.unpack(value)[0]) if value else 0


# What the kernel is asked for


def ask_addresses(index: int) -> Message:
    """Return the question for the addresses of an interface; 0: of all."""
    return GETADDR, REQUEST | DUMP, _ADDRESS.pack(0, 0, 0, 0, index)


def ask_neighbours(family: int, index: int) -> Message:
    """Return the question for the neighbours of an interface."""
    body = _NEIGHBOUR.pack(family, 0, 0, 0, 0) + _NUMBER.pack(8, 8, index)
    return GETNEIGH, REQUEST | DUMP, body


def ask_routes(family: int) -> Message:
    """Return the question for the routes of all tables."""
    return GETROUTE, REQUEST | DUMP, _ROUTE.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)


def ask_rules(family: int) -> Message:
    """Return the question for all rules."""
    return GETRULE, REQUEST | DUMP, _ROUTE.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)


def _encode_address(entry: Address, index: int, *, remove: bool) -> Message:
    """IFA_FLAGS: no connected route in the main table, and no wait for duplicates."""
    flags = _NOPREFIXROUTE | (_NODAD if entry.family == socket.AF_INET6 else 0)
    body = _ADDRESS.pack(entry.family, entry.prefix_length, 0, 0, index)
    size = len(entry.address)
    pack = _WITH_ADDRESS[size]
    body += pack(4 + size, 2, entry.address) + pack(4 + size, 1, entry.address)
    if remove:
        return DELADDR, 0, body
    body += _NUMBER.pack(8, 8, flags)
    if entry.is_deprecated:
        body += _attribute(6, _CACHE_INFO.pack(0, _FOREVER, 0, 0))
    return NEWADDR, _CREATE | _REPLACE, body


def _encode_neighbour(entry: Neighbour, index: int, *, remove: bool) -> Message:
    body = _NEIGHBOUR.pack(entry.family, index, _NUD_PERMANENT, 0, 0)
    size = len(entry.address)
    body += _WITH_ADDRESS[size](4 + size, 1, entry.address)
    if remove:
        return DELNEIGH, 0, body
    body += _attribute(2, entry.mac)
    return NEWNEIGH, _CREATE | _REPLACE, body


def _encode_route(entry: Route, _: int, *, remove: bool) -> Message:
    scope = 0
    if entry.family == socket.AF_INET:
        scope = _SCOPE_HOST if entry.kind == LOCAL else 0 if entry.via else _SCOPE_LINK
    body = _ROUTE.pack(
        entry.family,
        entry.prefix_length,
        len(entry.origin) * 8,
        0,
        0,
        RTPROT_FIB,
        scope,
        entry.kind,
        _ONLINK if entry.via else 0,
    )
    if remove:
        # The scope must not narrow the match: 255 is "nowhere", the kernel's wild card.
        body = body[:6] + b"\xff" + body[7:] if entry.family == socket.AF_INET else body
        body = body[:5] + b"\0" + body[6:]
    body += _NUMBER.pack(8, 15, entry.table)
    size = len(entry.destination)
    pack = _WITH_ADDRESS[size]
    if entry.prefix_length:
        body += pack(4 + size, 1, entry.destination)
    if entry.origin:
        body += pack(4 + size, 2, entry.origin)
    body += _NUMBER.pack(8, 4, entry.interface)
    if entry.via:
        body += pack(4 + size, 5, entry.via)
    if entry.metric:
        body += _NUMBER.pack(8, 6, entry.metric)
    if remove:
        return DELROUTE, 0, body
    if entry.source:
        body += pack(4 + size, 7, entry.source)
    return NEWROUTE, _CREATE | _REPLACE, body


def _encode_rule(entry: Rule, _: int, *, remove: bool) -> Message:
    body = _ROUTE.pack(entry.family, 0, entry.prefix_length, 0, 0, 0, 0, entry.action, 0)
    body += _NUMBER.pack(8, 6, entry.preference)
    if entry.prefix_length:
        size = len(entry.source)
        body += _WITH_ADDRESS[size](4 + size, 2, entry.source)
    if entry.mask:
        body += _NUMBER.pack(8, 10, entry.mark) + _NUMBER.pack(8, 16, entry.mask)
    if entry.action == TO_TABLE:
        body += _NUMBER.pack(8, 15, entry.table)
    if entry.action == GOTO:
        body += _NUMBER.pack(8, 4, entry.target)
    if remove:
        return DELRULE, 0, body
    is_stock = entry.action == TO_TABLE and not entry.preference
    body += _OF_KERNEL if is_stock else _OURS
    # Without NLM_F_EXCL the kernel does not search its whole list for an equal one.
    return NEWRULE, _CREATE, body


_ENCODERS: Final[dict[type[Entry], Callable[..., Message]]] = {
    Address: _encode_address,
    Neighbour: _encode_neighbour,
    Route: _encode_route,
    Rule: _encode_rule,
}


def encode(entries: Sequence[Entry], index: int, first: int, *, remove: bool) -> bytes:
    """Return requests to add (or replace) or to remove entries of interface `index`.

    They are numbered from `first` on; the success of the last one is to be told, too.
    """
    last = first + len(entries) - 1
    parts: list[bytes] = []
    for number, entry in enumerate(entries, first):
        kind, flags, body = _ENCODERS[type(entry)](entry, index, remove=remove)
        flags |= REQUEST | ACK if number == last else REQUEST
        parts.append(pack((kind, flags, body), number))
    return b"".join(parts)


def describe(entry: Entry) -> str:
    """Name an entry for people."""
    if isinstance(entry, Address):
        return f"address {_text(entry.address)}"
    if isinstance(entry, Neighbour):
        return f"neighbour {_text(entry.address)}"
    if isinstance(entry, Route):
        return f"route {_text(entry.destination)}/{entry.prefix_length} of table {entry.table}"
    return f"rule {entry.preference}"


def _text(address: bytes) -> str:
    if not address:
        return "any"
    family = socket.AF_INET if len(address) == 4 else socket.AF_INET6
    return socket.inet_ntop(family, address)
