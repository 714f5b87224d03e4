"""A routing socket for thousands of messages a second: asks for objects, adds and removes them."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterable, Iterator

from . import codec
from .entries import Address, AddressEvent, Entry, Neighbour, Route, Rule
from .netsocket import NetlinkSocket

_SOL_NETLINK, _EXT_ACK, _STRICT_CHECK = 270, 11, 12
_GROUP_IPV4_ADDRESS, _GROUP_IPV6_ADDRESS = 5, 9
_RECEIVE_BUFFER = 8 << 20
_CHUNK_MESSAGES = 512  # if all are refused, their answers fit the receive buffer many times
_RECEIVE_BYTES = 1 << 16  # the kernel makes no larger parts of a dump
_FAMILIES = (socket.AF_INET, socket.AF_INET6)
_GONE = (errno.ESRCH, errno.ENOENT, errno.EADDRNOTAVAIL)  # to the removal of what is not there


class NetlinkError(OSError):
    """The kernel refused a message; carries its errno and what it said."""


class Rtnetlink(NetlinkSocket):
    """A routing socket for one interface. Close it, or use it as a context manager."""

    def __init__(self, index: int) -> None:
        super().__init__(receive_bytes=_RECEIVE_BUFFER)
        self._index = index
        self._sequence = 0
        self._buffer = memoryview(bytearray(_RECEIVE_BYTES))  # once, not for each answer
        self._socket.setsockopt(_SOL_NETLINK, _EXT_ACK, 1)
        self._socket.setsockopt(_SOL_NETLINK, _STRICT_CHECK, 1)
        self._socket.bind((0, 0))

    @property
    def port(self) -> int:
        """What the kernel calls this socket."""
        return int(self._socket.getsockname()[0])

    # What there is

    def addresses(self) -> set[Address]:
        """Return the interface's addresses of more than link scope."""
        events = self._addresses(self._index)
        return {e.address for e in events if e.interface == self._index and not e.is_of_link}

    def address_events_of_all(self) -> list[AddressEvent]:
        """Return the addresses of all interfaces as if they had just come."""
        return self._addresses(0)

    def _addresses(self, index: int) -> list[AddressEvent]:
        answers = self._dump(codec.ask_addresses(index))
        return [codec.decode_address(codec.NEWADDR, data) for data in answers]

    def follow_addresses(self) -> None:
        """Let the kernel tell this socket of every address that comes or goes."""
        self._follow((_GROUP_IPV4_ADDRESS, _GROUP_IPV6_ADDRESS))

    def receive_addresses(self) -> list[AddressEvent]:
        """Wait for news of addresses.

        Raises:
            OSError: ENOBUFS when the kernel had more than fits; look at all of them then.
        """
        news = [(kind, data) for kind, _, _, data in self._receive()]
        about = (codec.NEWADDR, codec.DELADDR)
        return [codec.decode_address(kind, data) for kind, data in news if kind in about]

    def neighbours(self) -> set[Neighbour]:
        """Return the interface's permanent neighbours that are no groups of the kernel's."""
        found = set()
        for family in _FAMILIES:
            for data in self._dump(codec.ask_neighbours(family, self._index)):
                entry, index, is_permanent = codec.decode_neighbour(data)
                if index == self._index and is_permanent:
                    found.add(entry)
        return found

    def routes(self, tables: range) -> set[Route]:
        """Return the routes of a range of tables, of both families, on any interface."""
        found = set()
        for family in _FAMILIES:
            for data in self._dump(codec.ask_routes(family)):
                route = codec.decode_route(data)
                if route.table in tables:
                    found.add(route)
        return found

    def rules(self) -> set[tuple[Rule, bool]]:
        """Return every rule of both families, each with whether it is ours."""
        return {
            codec.decode_rule(data)
            for family in _FAMILIES
            for data in self._dump(codec.ask_rules(family))
        }

    # Changes: each takes them in order and raises what the kernel refused, all together

    def add(self, entries: Iterable[Entry]) -> int:
        """Add or replace; return how many."""
        return self._run(list(entries), remove=False)

    def remove(self, entries: Iterable[Entry]) -> int:
        """Remove; what has gone already is no error. Return how many."""
        return self._run(list(entries), remove=True)

    def _run(self, entries: list[Entry], *, remove: bool) -> int:
        """Send them in chunks. Errors are always answered, success only to a chunk's last one."""
        ignored = _GONE if remove else ()
        verb = "remove" if remove else "add"
        refused: list[NetlinkError] = []
        for start in range(0, len(entries), _CHUNK_MESSAGES):
            chunk = entries[start : start + _CHUNK_MESSAGES]
            first = self._sequence + 1
            self._sequence += len(chunk)
            self._socket.send(codec.encode(chunk, self._index, first, remove=remove))
            for sequence, code, text in self._answers(self._sequence):
                if code and code not in ignored:
                    about = codec.describe(chunk[sequence - first])
                    said = text or os.strerror(code)
                    refused.append(NetlinkError(code, f"{verb} {about}: {said}"))
        if refused:
            raise ExceptionGroup(f"the kernel refused {len(refused)} changes", refused)
        return len(entries)

    def _answers(self, last: int) -> Iterator[tuple[int, int, str]]:
        """Yield sequence number, errno and the kernel's text until message `last` is answered."""
        answered = 0
        while answered != last:
            for kind, flags, sequence, data in self._receive():
                if kind != codec.ERROR:
                    continue
                answered = sequence
                code = -struct.unpack_from("=i", data)[0]
                text = ""
                if flags & 0x200:  # NLM_F_ACK_TLVS; 0x100: the request is not quoted in full
                    quoted = codec.HEADER.unpack_from(data, 4)[0] if not flags & 0x100 else 16
                    text = codec.attributes_of(data, 4 + quoted).get(1, b"").rstrip(b"\0").decode()
                yield sequence, code, text

    def _dump(self, question: codec.Message) -> Iterator[bytes]:
        self._sequence += 1
        self._socket.send(codec.pack(question, self._sequence))
        while True:
            for kind, _, sequence, data in self._receive():
                if sequence != self._sequence:
                    continue
                if kind == codec.DONE:
                    return
                if kind == codec.ERROR:
                    code = -struct.unpack_from("=i", data)[0]
                    raise NetlinkError(code, f"dump of {question[0]}: {os.strerror(code)}")
                yield data

    def _receive(self) -> list[tuple[int, int, int, bytes]]:
        size = self._socket.recv_into(self._buffer)
        return codec.split(self._buffer[:size].tobytes())
