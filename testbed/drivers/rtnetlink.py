"""Netlink in bulk: many messages in one send, encoded by `struct`, errors told by name.

pyroute2 takes about a millisecond a message; a tenant needs thirty. A channel belongs to the
network namespace in which it was opened, whichever thread uses it later: so one thread configures
any number of namespaces. Layouts: rtnetlink(7), linux/if_link.h, linux/if_addr.h, linux/veth.h.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Collection, Iterator, Sequence
from types import TracebackType
from typing import NamedTuple, Self

from testbed.errors import ResourceError
from testbed.plan.resources import Interface, Mac, Neighbour, Route

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_LINK = struct.Struct("=BxHiII")
_ADDRESS = struct.Struct("=BBBBI")
_NEIGHBOUR = struct.Struct("=BxxxiHBB")
_ROUTE = struct.Struct("=BBBBBBBBI")
_U32 = struct.Struct("=I")

_NEWLINK, _DELLINK, _GETLINK = 16, 17, 18
_NEWADDR, _DELADDR, _NEWROUTE, _NEWNEIGH = 20, 21, 24, 28
_REQUEST, _ACK, _DUMP = 0x1, 0x4, 0x300
_REPLACE, _EXCLUSIVE, _CREATE = 0x100, 0x200, 0x400
_ERROR, _DONE = 2, 3
_INTERRUPTED = 0x10

_SOL_NETLINK, _CAP_ACK, _EXT_ACK = 270, 10, 11
_SO_RCVBUFFORCE = 33
_RECEIVE_BUFFER = 4 << 20
_ANSWER_BYTES = 1 << 20
_LARGEST_SEND = 64 << 10

_IFF_UP = 1
_NODAD = 0x02
_PERMANENT = 0x80
_MAIN_TABLE, _PROTOCOL_STATIC, _UNICAST = 254, 4, 1
_SCOPE_UNIVERSE, _SCOPE_LINK = 0, 253
_MACVLAN_PRIVATE = 1
_SEND_REDIRECTS = 6  # IPV4_DEVCONF_SEND_REDIRECTS
_ARP_IGNORE, _ARP_IGNORE_ALL = 19, 8  # IPV4_DEVCONF_ARP_IGNORE; 8: no reply for any local address
_ADDRESS_GENERATION_OFF = 1
_EXT_MASK_SKIP_STATS = 8


GONE = frozenset({errno.ENODEV, errno.EOPNOTSUPP})
"""Of a removal: no such link, or a veth whose namespace is being torn down and takes it along."""


class Message(NamedTuple):
    """One request, and what it is about, for an error's message."""

    kind: int
    flags: int
    body: bytes
    about: str


class Link(NamedTuple):
    """An interface there is."""

    number: int
    name: str
    alias: str


def add_veth(name: str, peer: str, peer_mac: Mac, peer_space: int) -> Message:
    """Make a pair: `name` here and `peer` in the namespace of file descriptor `peer_space`."""
    peer_part = _LINK.pack(0, 0, 0, 0, 0) + b"".join(
        (_text(3, peer), _attribute(1, _mac(peer_mac)), _number(28, peer_space))
    )
    info = _text(1, "veth") + _attribute(2, _attribute(1, peer_part))
    body = _LINK.pack(0, 0, 0, 0, 0) + _text(3, name) + _attribute(18, info)
    return Message(_NEWLINK, _CREATE | _EXCLUSIVE, body, f"add veth link {name!r}")


def add_macvlan(name: str, below: int, mac: Mac, space: int) -> Message:
    """Make a macvlan on the interface with index `below`, in another namespace.

    It is private: it reaches what is on the segment, never another leg behind the tap's back.
    """
    info = _text(1, "macvlan") + _attribute(2, _number(1, _MACVLAN_PRIVATE))
    body = b"".join(
        (
            *(_LINK.pack(0, 0, 0, 0, 0), _text(3, name), _attribute(1, _mac(mac))),
            *(_number(5, below), _number(28, space), _attribute(18, info)),
        )
    )
    return Message(_NEWLINK, _CREATE | _EXCLUSIVE, body, f"add macvlan link {name!r} ({mac})")


def set_up(name: str, *, alias: str = "") -> Message:
    """Set the link called `name` up; with an alias, as a tenant link's host end.

    The host answers no ARP there: its own network may have the very addresses of the tenants'.
    """
    more = b""
    if alias:
        silent = _attribute(2, _attribute(1, _number(_ARP_IGNORE, _ARP_IGNORE_ALL)))
        more = _attribute(20, alias.encode()) + _attribute(26, silent)
    body = _LINK.pack(0, 0, 0, _IFF_UP, _IFF_UP) + _text(3, name) + more
    return Message(_NEWLINK, 0, body, f"set link {name!r} up")


def prepare(name: str) -> Message:
    """Let the link called `name` make no address of itself and send no redirects."""
    no_redirects = _attribute(2, _attribute(1, _number(_SEND_REDIRECTS, 0)))
    no_address = _attribute(10, _attribute(8, bytes((_ADDRESS_GENERATION_OFF,))))
    body = _LINK.pack(0, 0, 0, 0, 0) + _text(3, name)
    body += _attribute(26, no_redirects + no_address)
    return Message(_NEWLINK, 0, body, f"prepare link {name!r}")


def delete_link(name: str) -> Message:
    """Remove the link called `name`."""
    return Message(_DELLINK, 0, _LINK.pack(0, 0, 0, 0, 0) + _text(3, name), f"remove link {name!r}")


def add_address(address: Interface, index: int) -> Message:
    """Give an interface an address.

    Without duplicate address detection: the plan has made sure of that, and a tentative address
    cannot answer.
    """
    is_v6 = address.version == 6
    body = _ADDRESS.pack(
        socket.AF_INET6 if is_v6 else socket.AF_INET,
        address.network.prefixlen,
        _NODAD if is_v6 else 0,
        _SCOPE_UNIVERSE,
        index,
    )
    packed = address.ip.packed
    body += (b"" if is_v6 else _attribute(2, packed)) + _attribute(1, packed)
    return Message(_NEWADDR, _CREATE | _EXCLUSIVE, body, f"add address {address}")


def delete_address(address: Interface, index: int) -> Message:
    """Take an address off an interface."""
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    body = _ADDRESS.pack(family, address.network.prefixlen, 0, _SCOPE_UNIVERSE, index)
    body += _attribute(2, address.ip.packed)
    return Message(_DELADDR, 0, body, f"remove address {address}")


def add_neighbour(neighbour: Neighbour, index: int) -> Message:
    """Make a permanent neighbour entry."""
    family = socket.AF_INET6 if neighbour.address.version == 6 else socket.AF_INET
    body = _NEIGHBOUR.pack(family, index, _PERMANENT, 0, 0)
    body += _attribute(1, neighbour.address.packed) + _attribute(2, _mac(neighbour.mac))
    return Message(_NEWNEIGH, _CREATE | _REPLACE, body, f"add neighbour {neighbour.address}")


def add_route(route: Route, index: int) -> Message:
    """Make a route: by its router, or on the link of the interface."""
    family = socket.AF_INET6 if route.to.version == 6 else socket.AF_INET
    on_link_v4 = route.via is None and route.to.version == 4
    body = _ROUTE.pack(
        *(family, route.to.prefixlen, 0, 0, _MAIN_TABLE, _PROTOCOL_STATIC),
        *(_SCOPE_LINK if on_link_v4 else _SCOPE_UNIVERSE, _UNICAST, 0),
    )
    body += _attribute(1, route.to.network_address.packed)
    body += _number(4, index) if route.via is None else _attribute(5, route.via.packed)
    return Message(_NEWROUTE, _CREATE | _REPLACE, body, f"add route to {route.to}")


class RefusedError(ResourceError):
    """The kernel refused a message; `number` is its errno."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.number = number


class Channel:
    """A netlink socket in the network namespace that the calling thread is in now."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
        self._socket.setsockopt(_SOL_NETLINK, _CAP_ACK, 1)
        self._socket.setsockopt(_SOL_NETLINK, _EXT_ACK, 1)
        self._socket.bind((0, 0))
        self._sequence = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def send(self, messages: Sequence[Message], *, tolerated: Collection[int] = ()) -> None:
        """Carry out all `messages` in order; errors whose errno is `tolerated` are none.

        Raises:
            RefusedError: with the first that failed; those after it were carried out as well.
        """
        for chunk in _chunks(messages):
            first = self._sequence + 1
            self._socket.send(b"".join(self._framed(chunk)))
            failed = list(self._refusals(self._sequence, tolerated))
            if failed:
                sequence, number, said = failed[0]
                reason = f"{os.strerror(number)}{f' ({said})' if said else ''}"
                more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
                about = chunk[sequence - first].about
                raise RefusedError(f"cannot {about}: {reason}{more}", number)

    def links(self) -> tuple[Link, ...]:
        """Return all interfaces of the namespace."""
        while True:
            found = self._dump_links()
            if found is not None:
                return found

    def _framed(self, chunk: Sequence[Message]) -> Iterator[bytes]:
        """Yield the bytes of each; only the last asks for an answer when all went well."""
        last = len(chunk) - 1
        for place, message in enumerate(chunk):
            self._sequence += 1
            flags = _REQUEST | message.flags | (_ACK if place == last else 0)
            size = _HEADER.size + len(message.body)
            yield _HEADER.pack(size, message.kind, flags, self._sequence, 0) + message.body

    def _refusals(self, last: int, tolerated: Collection[int]) -> Iterator[tuple[int, int, str]]:
        """Yield (sequence, errno, kernel's words) of what failed, until `last` is answered."""
        while True:
            for kind, _, sequence, body in self._receive():
                if kind != _ERROR:
                    continue
                number = -struct.unpack_from("=i", body)[0]
                if number and number not in tolerated:
                    yield sequence, number, _words(body)
                if sequence == last:
                    return

    def _receive(self) -> Iterator[tuple[int, int, int, bytes]]:
        """Yield (kind, flags, sequence, body) of each message in the next datagram."""
        data = self._socket.recv(_ANSWER_BYTES)
        start = 0
        while start + _HEADER.size <= len(data):
            size, kind, flags, sequence, _ = _HEADER.unpack_from(data, start)
            yield kind, flags, sequence, data[start + _HEADER.size : start + size]
            start += size + (-size % 4)

    def _dump_links(self) -> tuple[Link, ...] | None:
        """Return all links, None when they changed meanwhile so that some may be missing."""
        self._sequence += 1
        body = _LINK.pack(0, 0, 0, 0, 0) + _number(29, _EXT_MASK_SKIP_STATS)
        header = _HEADER.pack(
            _HEADER.size + len(body), _GETLINK, _REQUEST | _DUMP, self._sequence, 0
        )
        self._socket.send(header + body)
        found: list[Link] = []
        is_whole = True
        while True:
            for kind, flags, _, answer in self._receive():
                is_whole &= not flags & _INTERRUPTED
                if kind == _DONE:
                    return tuple(found) if is_whole else None
                if kind == _NEWLINK:
                    found.append(_parse_link(answer))


def _chunks(messages: Sequence[Message]) -> Iterator[Sequence[Message]]:
    """Cut into parts that the kernel takes in one go."""
    start = size = 0
    for place, message in enumerate(messages):
        size += _HEADER.size + len(message.body)
        if size > _LARGEST_SEND:
            yield messages[start:place]
            start, size = place, _HEADER.size + len(message.body)
    if start < len(messages):
        yield messages[start:]


def _parse_link(body: bytes) -> Link:
    number = _LINK.unpack_from(body)[2]
    attributes = _attributes(body, _LINK.size, wanted=(3, 20))
    return Link(number, _cstring(attributes.get(3, b"")), _cstring(attributes.get(20, b"")))


def _attributes(data: bytes, start: int, wanted: Collection[int]) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    end = len(data)
    while start + 4 <= end:
        size, kind = _ATTRIBUTE.unpack_from(data, start)
        if size < 4:
            break
        if kind in wanted:
            found[kind] = data[start + 4 : start + size]
        start += size + (-size % 4)
    return found


def _words(body: bytes) -> str:
    """Return what the kernel says of an error beside its number (NLMSGERR_ATTR_MSG)."""
    return _cstring(_attributes(body, 4 + _HEADER.size, wanted=(1,)).get(1, b""))


def _cstring(data: bytes) -> str:
    return data.split(b"\0", 1)[0].decode(errors="replace")


def _attribute(kind: int, value: bytes) -> bytes:
    size = 4 + len(value)
    return _ATTRIBUTE.pack(size, kind) + value + bytes(-size % 4)


def _text(kind: int, text: str) -> bytes:
    return _attribute(kind, text.encode() + b"\0")


def _number(kind: int, number: int) -> bytes:
    return _attribute(kind, _U32.pack(number))


def _mac(mac: Mac) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))
