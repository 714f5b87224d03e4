"""Notices that somebody else changes, meanwhile, what apply goes by: then it has to look again.

The kernel tells every change of links, addresses, neighbours, routes and rules to groups of rtnetlink, in the
moment in which it is made and with the port of who asked for it. Our own, thousands, are dropped by a filter
in the kernel, and so are the routes of table `local`, which it makes for each address.
"""

from __future__ import annotations

import ctypes
import errno
import socket
import struct
from collections.abc import Iterator, Mapping

from . import codec
from .desired import Objects
from .entries import Neighbour
from .netsocket import NetlinkSocket
from .rules import TABLES

# RTNLGRP_*: links; then IPv4's addresses, routes and rules; IPv6's; neighbours of both.
_GROUPS = (1, 5, 7, 8, 9, 11, 19, 3)
_SO_ATTACH_FILTER = 26
_RECEIVE_BUFFER = 1 << 20  # more than fits is noticed as well
_RECEIVE_BYTES = 1 << 16
_LOCAL_TABLE = 255
_KIND_AT, _PORT_AT, _TABLE_AT = 4, 12, codec.HEADER.size + 4  # in a message about a route


class Others(NetlinkSocket):
    """Hears of others' changes from now on. Close it, or use it as a context manager.

    `port` is that of the socket whose changes are ours, `index` the interface that matters.
    """

    def __init__(self, port: int, index: int) -> None:
        super().__init__(receive_bytes=_RECEIVE_BUFFER)
        self._index = index
        self._socket.settimeout(0)
        instructions = _filter(port)
        program = ctypes.create_string_buffer(instructions)
        count = len(instructions) // 8
        filtering = struct.pack("@HP", count, ctypes.addressof(program))  # struct sock_fprog
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, filtering)
        self._socket.bind((0, 0))
        self._follow(_GROUPS)

    def have_changed(self, desired: Objects) -> bool:
        """Whether anything has been changed into what is not desired, or may have been."""
        try:
            news = list(self._news())
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            return True  # there was more than we have heard of
        if not news:
            return False
        neighbours = {entry.address: entry for entry in desired.neighbours}
        return any(self._matters(kind, data, desired, neighbours) for kind, data in news)

    def _news(self) -> Iterator[tuple[int, bytes]]:
        while True:
            try:
                data = self._socket.recv(_RECEIVE_BYTES)
            except BlockingIOError:
                return
            yield from ((kind, body) for kind, _, _, body in codec.split(data))

    def _matters(
        self, kind: int, data: bytes, desired: Objects, neighbours: Mapping[bytes, Neighbour]
    ) -> bool:
        if kind in {codec.NEWLINK, codec.DELLINK}:
            index, is_up = codec.decode_link(data)
            return index == self._index and (kind == codec.DELLINK or not is_up)
        if kind in {codec.NEWADDR, codec.DELADDR}:
            event = codec.decode_address(kind, data)
            # The kernel tells an IPv6 address of ours, too, as if it had made it by itself.
            is_as_desired = event.is_new and event.address in desired.addresses
            return event.interface == self._index and not (event.is_of_link or is_as_desired)
        if kind in {codec.NEWNEIGH, codec.DELNEIGH}:
            entry, index, is_permanent = codec.decode_neighbour(data)
            wanted = neighbours.get(entry.address)
            is_as_desired = kind == codec.NEWNEIGH and is_permanent and entry == wanted
            return index == self._index and not is_as_desired and (is_permanent or bool(wanted))
        is_rule = kind not in {codec.NEWROUTE, codec.DELROUTE}
        return is_rule or codec.decode_route(data).table in TABLES


def _filter(port: int) -> bytes:
    """Return a classic BPF program that drops what `port` asked for, and routes of table `local`.

    It loads numbers as the network has them, and the kernel's messages are in the host's order.
    """

    def as_loaded(form: str, number: int) -> int:
        return int.from_bytes(struct.pack(form, number), "big")

    load_word, load_half, load_byte, if_equal, end = 0x20, 0x28, 0x30, 0x15, 0x06
    program = (
        (load_word, 0, 0, _PORT_AT),
        (if_equal, 6, 0, as_loaded("=I", port)),
        (load_half, 0, 0, _KIND_AT),
        (if_equal, 1, 0, as_loaded("=H", codec.NEWROUTE)),
        (if_equal, 0, 2, as_loaded("=H", codec.DELROUTE)),
        (load_byte, 0, 0, _TABLE_AT),
        (if_equal, 1, 0, _LOCAL_TABLE),
        (end, 0, 0, 0xFFFFFFFF),
        (end, 0, 0, 0),
    )
    return b"".join(struct.pack("=HBBI", *each) for each in program)  # struct sock_filter
