"""A small rtnetlink codec for thousands of messages a second, standard library only.

Knows the objects of entries.py: addresses, routes, rules and neighbours. Encoding and decoding
are flat `struct` calls: a general library needs about 30 times as long for each message, which
an emulated CPU and 4,000 FIBs turn into minutes. Layouts: rtnetlink(7), linux/rtnetlink.h,
linux/fib_rules.h, linux/if_addr.h, linux/neighbour.h.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple, Self

from .entries import GOTO, LOCAL, TO_TABLE, Address, AddressEvent, Entry, Neighbour, Route, Rule

RTPROT_FIB = 70
"""Protocol number of what we make: free in /etc/iproute2/rt_protos."""

_RTPROT_KERNEL = 2

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_U32 = struct.Struct("=I")
_NUMBER = struct.Struct("=HHI")  # an attribute with a number: its size, kind, value
_ADDRESS = struct.Struct("=BBBBI")
_ROUTE = struct.Struct("=BBBBBBBBI")
_NEIGHBOUR = struct.Struct("=BxxxiHBB")
_CACHE_INFO = struct.Struct("=IIII")

_REQUEST, _ACK, _DUMP = 0x1, 0x4, 0x300
_REPLACE, _CREATE = 0x100, 0x400
_ERROR, _DONE = 2, 3
_NEWADDR, _DELADDR, _GETADDR = 20, 21, 22
_NEWROUTE, _DELROUTE, _GETROUTE = 24, 25, 26
_NEWNEIGH, _DELNEIGH, _GETNEIGH = 28, 29, 30
_NEWRULE, _DELRULE, _GETRULE = 32, 33, 34

_SOL_NETLINK, _ADD_MEMBERSHIP, _EXT_ACK, _STRICT_CHECK = 270, 1, 11, 12
_GROUP_IPV4_ADDRESS, _GROUP_IPV6_ADDRESS = 5, 9
_SO_RCVBUFFORCE = 33
_CHUNK_MESSAGES = 512  # if all are refused, their answers fit the receive buffer many times
_RECEIVE_BYTES = 1 << 16  # the kernel makes no larger parts of a dump

_NOPREFIXROUTE, _NODAD, _DEPRECATED = 0x200, 0x02, 0x20
_PADDING = (b"", bytes(3), bytes(2), bytes(1))
_FOREVER = 0xFFFFFFFF
_GONE = (errno.ESRCH, errno.ENOENT, errno.EADDRNOTAVAIL)  # to the removal of what is not there
_NUD_PERMANENT = 0x80
_ONLINK = 4
_SCOPE_LINK, _SCOPE_HOST = 253, 254


class NetlinkError(OSError):
    """The kernel refused a message; carries its errno and what it said."""


class _Message(NamedTuple):
    kind: int
    flags: int
    body: bytes


def _attribute(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(4 + len(value), kind) + value + _PADDING[len(value) & 3]


def _attributes(data: bytes, start: int) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    while start + 4 <= len(data):
        size, kind = _ATTRIBUTE.unpack_from(data, start)
        if size < 4:
            break
        found[kind & 0x3FFF] = data[start + 4 : start + size]
        start += (size + 3) & ~3
    return found


def _address_events(kind: int, data: bytes) -> Iterator[AddressEvent]:
    """Yield the address of a message about one."""
    if kind not in {_NEWADDR, _DELADDR}:
        return
    family, length, flags, _, index = _ADDRESS.unpack_from(data)
    attributes = _attributes(data, 8)
    flags = _number(attributes.get(8)) or flags
    address = attributes.get(2) or attributes[1]
    entry = Address(family, address, length, bool(flags & _DEPRECATED))
    yield AddressEvent(index, entry, kind == _NEWADDR, bool(flags & _NOPREFIXROUTE))


def _number(value: bytes | None) -> int:
    return int(_U32.unpack(value)[0]) if value else 0


def _encode_address(entry: Address, index: int, *, remove: bool) -> _Message:
    """IFA_FLAGS: no connected route in the main table, and no wait for duplicates."""
    flags = _NOPREFIXROUTE | (_NODAD if entry.family == socket.AF_INET6 else 0)
    body = _ADDRESS.pack(entry.family, entry.prefix_length, 0, 0, index)
    body += _attribute(2, entry.address) + _attribute(1, entry.address)
    if remove:
        return _Message(_DELADDR, 0, body)
    body += _NUMBER.pack(8, 8, flags)
    if entry.is_deprecated:
        body += _attribute(6, _CACHE_INFO.pack(0, _FOREVER, 0, 0))
    return _Message(_NEWADDR, _CREATE | _REPLACE, body)


def _encode_neighbour(entry: Neighbour, index: int, *, remove: bool) -> _Message:
    body = _NEIGHBOUR.pack(entry.family, index, _NUD_PERMANENT, 0, 0)
    body += _attribute(1, entry.address)
    if remove:
        return _Message(_DELNEIGH, 0, body)
    body += _attribute(2, entry.mac)
    return _Message(_NEWNEIGH, _CREATE | _REPLACE, body)


def _encode_route(entry: Route, *, remove: bool) -> _Message:
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
    if entry.prefix_length:
        body += _attribute(1, entry.destination)
    if entry.origin:
        body += _attribute(2, entry.origin)
    body += _NUMBER.pack(8, 4, entry.interface)
    if entry.via:
        body += _attribute(5, entry.via)
    if entry.metric:
        body += _NUMBER.pack(8, 6, entry.metric)
    if remove:
        return _Message(_DELROUTE, 0, body)
    if entry.source:
        body += _attribute(7, entry.source)
    return _Message(_NEWROUTE, _CREATE | _REPLACE, body)


def _encode_rule(entry: Rule, *, remove: bool) -> _Message:
    body = _ROUTE.pack(entry.family, 0, entry.prefix_length, 0, 0, 0, 0, entry.action, 0)
    body += _NUMBER.pack(8, 6, entry.preference)
    if entry.prefix_length:
        body += _attribute(2, entry.source)
    if entry.mask:
        body += _NUMBER.pack(8, 10, entry.mark) + _NUMBER.pack(8, 16, entry.mask)
    if entry.action == TO_TABLE:
        body += _NUMBER.pack(8, 15, entry.table)
    if entry.action == GOTO:
        body += _NUMBER.pack(8, 4, entry.target)
    if remove:
        return _Message(_DELRULE, 0, body)
    is_stock = entry.action == TO_TABLE and not entry.preference
    protocol = _RTPROT_KERNEL if is_stock else RTPROT_FIB
    body += _attribute(21, bytes([protocol]))
    # Without NLM_F_EXCL the kernel does not search its whole list for an equal one.
    return _Message(_NEWRULE, _CREATE, body)


def _about(entry: Entry) -> str:
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


class Rtnetlink:
    """A routing socket for one interface. Close it, or use it as a context manager."""

    def __init__(self, index: int) -> None:
        self._index = index
        self._sequence = 0
        self._buffer = memoryview(bytearray(_RECEIVE_BYTES))  # once, not for each answer
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 8 << 20)
        self._socket.setsockopt(_SOL_NETLINK, _EXT_ACK, 1)
        self._socket.setsockopt(_SOL_NETLINK, _STRICT_CHECK, 1)
        self._socket.bind((0, 0))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    # What there is

    def addresses(self) -> set[Address]:
        """Return the interface's addresses of more than link scope."""
        found = set()
        body = _ADDRESS.pack(0, 0, 0, 0, self._index)
        for kind, data in self._dump(_GETADDR, body):
            _, _, _, scope, index = _ADDRESS.unpack_from(data)
            if index == self._index and scope < _SCOPE_LINK:
                found |= {event.address for event in _address_events(kind, data)}
        return found

    def address_events_of_all(self) -> list[AddressEvent]:
        """Return the addresses of all interfaces as if they had just come."""
        body = _ADDRESS.pack(0, 0, 0, 0, 0)
        return [e for kind, data in self._dump(_GETADDR, body) for e in _address_events(kind, data)]

    def follow_addresses(self) -> None:
        """Let the kernel tell this socket of every address that comes or goes."""
        for group in (_GROUP_IPV4_ADDRESS, _GROUP_IPV6_ADDRESS):
            self._socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)

    def receive_addresses(self) -> list[AddressEvent]:
        """Wait for news of addresses.

        Raises:
            OSError: ENOBUFS when the kernel had more than fits; look at all of them then.
        """
        return [e for kind, _, _, data in self._receive() for e in _address_events(kind, data)]

    def neighbours(self) -> set[Neighbour]:
        """Return the interface's permanent neighbours that are no groups of the kernel's."""
        found = set()
        for family in (socket.AF_INET, socket.AF_INET6):
            body = _NEIGHBOUR.pack(family, 0, 0, 0, 0)
            body += _NUMBER.pack(8, 8, self._index)
            for _, data in self._dump(_GETNEIGH, body):
                _, index, state, _, _ = _NEIGHBOUR.unpack_from(data)
                if index == self._index and state == _NUD_PERMANENT:
                    attributes = _attributes(data, 12)
                    found.add(Neighbour(family, attributes[1], attributes.get(2, b"")))
        return found

    def routes(self, first_table: int, last_table: int) -> set[Route]:
        """Return the routes of a range of tables, of both families, on any interface."""
        found = set()
        for family in (socket.AF_INET, socket.AF_INET6):
            any_address = bytes(4 if family == socket.AF_INET else 16)
            body = _ROUTE.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)
            for _, data in self._dump(_GETROUTE, body):
                _, length, _, _, small, _, _, kind, _ = _ROUTE.unpack_from(data)
                attributes = _attributes(data, 12)
                table = _number(attributes.get(15)) or small
                if first_table <= table <= last_table:
                    found.add(
                        Route(
                            family,
                            table,
                            kind,
                            attributes.get(1, any_address),
                            length,
                            attributes.get(5, b""),
                            attributes.get(7, b""),
                            _number(attributes.get(6)),
                            _number(attributes.get(4)),
                            attributes.get(2, b""),
                        )
                    )
        return found

    def rules(self) -> set[tuple[Rule, bool]]:
        """Return every rule of both families, each with whether it is ours."""
        found = set()
        for family in (socket.AF_INET, socket.AF_INET6):
            body = _ROUTE.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)
            for _, data in self._dump(_GETRULE, body):
                _, _, length, _, small, _, _, action, _ = _ROUTE.unpack_from(data)
                attributes = _attributes(data, 12)
                table = (_number(attributes.get(15)) or small) if action == TO_TABLE else 0
                rule = Rule(
                    family,
                    _number(attributes.get(6)),
                    action,
                    attributes.get(2, b""),
                    length,
                    _number(attributes.get(10)),
                    _number(attributes.get(16)),
                    table,
                    _number(attributes.get(4)),
                )
                found.add((rule, attributes.get(21, b"\0") == bytes([RTPROT_FIB])))
        return found

    # Changes: each takes them in order and raises what the kernel refused, all together

    def add(self, entries: Iterable[Entry]) -> int:
        """Add or replace; return how many."""
        return self._run(list(entries), remove=False)

    def remove(self, entries: Iterable[Entry]) -> int:
        """Remove; what has gone already is no error. Return how many."""
        return self._run(list(entries), remove=True)

    def _encode(self, entry: Entry, *, remove: bool) -> _Message:
        if isinstance(entry, Address):
            return _encode_address(entry, self._index, remove=remove)
        if isinstance(entry, Neighbour):
            return _encode_neighbour(entry, self._index, remove=remove)
        if isinstance(entry, Route):
            return _encode_route(entry, remove=remove)
        return _encode_rule(entry, remove=remove)

    def _run(self, entries: list[Entry], *, remove: bool) -> int:
        """Send them in chunks. Errors are always answered, success only to a chunk's last one."""
        ignored = _GONE if remove else ()
        verb = "remove" if remove else "add"
        refused: list[NetlinkError] = []
        for start in range(0, len(entries), _CHUNK_MESSAGES):
            chunk = entries[start : start + _CHUNK_MESSAGES]
            first = self._sequence + 1
            messages = [self._encode(entry, remove=remove) for entry in chunk]
            packed = [self._pack(m, _REQUEST | m.flags) for m in messages[:-1]]
            packed.append(self._pack(messages[-1], _REQUEST | _ACK | messages[-1].flags))
            self._socket.send(b"".join(packed))
            for sequence, code, text in self._answers(self._sequence):
                if code and code not in ignored:
                    about = _about(chunk[sequence - first])
                    said = text or os.strerror(code)
                    refused.append(NetlinkError(code, f"{verb} {about}: {said}"))
        if refused:
            raise ExceptionGroup(f"the kernel refused {len(refused)} changes", refused)
        return len(entries)

    def _pack(self, message: _Message, flags: int) -> bytes:
        self._sequence += 1
        size = _HEADER.size + len(message.body)
        return _HEADER.pack(size, message.kind, flags, self._sequence, 0) + message.body

    def _answers(self, last: int) -> Iterator[tuple[int, int, str]]:
        """Yield sequence number, errno and the kernel's text until message `last` is answered."""
        answered = 0
        while answered != last:
            for kind, flags, sequence, data in self._receive():
                if kind != _ERROR:
                    continue
                answered = sequence
                code = -struct.unpack_from("=i", data)[0]
                text = ""
                if flags & 0x200:  # NLM_F_ACK_TLVS; 0x100: the request is not quoted in full
                    quoted = _HEADER.unpack_from(data, 4)[0] if not flags & 0x100 else 16
                    text = _attributes(data, 4 + quoted).get(1, b"").rstrip(b"\0").decode()
                yield sequence, code, text

    def _dump(self, kind: int, body: bytes) -> Iterator[tuple[int, bytes]]:
        self._socket.send(self._pack(_Message(kind, 0, body), _REQUEST | _DUMP))
        while True:
            for answer, _, sequence, data in self._receive():
                if sequence != self._sequence:
                    continue
                if answer == _DONE:
                    return
                if answer == _ERROR:
                    code = -struct.unpack_from("=i", data)[0]
                    raise NetlinkError(code, f"dump of kind {kind}: {os.strerror(code)}")
                yield answer, data

    def _receive(self) -> list[tuple[int, int, int, bytes]]:
        size = self._socket.recv_into(self._buffer)
        data = self._buffer[:size].tobytes()
        messages = []
        start = 0
        while start + _HEADER.size <= len(data):
            size, kind, flags, sequence, _ = _HEADER.unpack_from(data, start)
            messages.append((kind, flags, sequence, data[start + 16 : start + size]))
            start += (size + 3) & ~3
        return messages
