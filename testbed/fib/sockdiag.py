"""The system's TCP and UDP sockets with their FIBs, and aborting them: sock_diag(7)."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from . import codec
from .address import MAPPED
from .netsocket import NetlinkSocket

_REQUEST = struct.Struct("=BBBxI")
_IDENTITY = struct.Struct("=2s2s16s16sI8s")
_TAIL = struct.Struct("=IIIII")
_NETLINK_SOCK_DIAG = 4
_BY_FAMILY, _DESTROY = 20, 21
_ALL_STATES = 0xFFFFFFFF
_MARK = 15

_STATES: Final = (
    *("?", "established", "syn-sent", "syn-recv", "fin-wait-1", "fin-wait-2", "time-wait"),
    *("close", "close-wait", "last-ack", "listen", "closing", "syn-recv"),
)
_PROTOCOLS: Final = {socket.IPPROTO_TCP: "tcp", socket.IPPROTO_UDP: "udp"}


class Socket(NamedTuple):
    """One socket; addresses packed, `mark` its own FIB."""

    family: int
    protocol: int
    state: str
    local: bytes
    local_port: int
    remote: bytes
    remote_port: int
    mark: int
    uid: int
    inode: int
    identity: bytes

    @property
    def protocol_name(self) -> str:
        """`tcp` or `udp`."""
        return _PROTOCOLS[self.protocol]

    @property
    def plain_local(self) -> bytes:
        """The local address, an IPv4 one of a dual-stack socket as four bytes."""
        return self.local[12:] if self.local[:12] == MAPPED else self.local


class SockDiag(NetlinkSocket):
    """A sock_diag socket; marks are only told to a process with CAP_NET_ADMIN."""

    def __init__(self) -> None:
        super().__init__(_NETLINK_SOCK_DIAG)

    def sockets(self) -> Iterator[Socket]:
        """Yield every TCP and UDP socket."""
        for family in (socket.AF_INET, socket.AF_INET6):
            for protocol in _PROTOCOLS:
                yield from self._dump(family, protocol)

    def abort(self, is_meant: Callable[[Socket], bool]) -> int:
        """Abort the sockets for which `is_meant`: reads fail with ECONNABORTED; return how many.

        TCP peers get a reset by the socket's own FIB, so call this while its routes are there.
        """
        meant = [entry for entry in self.sockets() if is_meant(entry)]
        return sum(self._destroy(entry) for entry in meant)

    def _dump(self, family: int, protocol: int) -> Iterator[Socket]:
        request = _REQUEST.pack(family, protocol, 0, _ALL_STATES) + bytes(48)
        self._send(_BY_FAMILY, codec.REQUEST | codec.DUMP, request)
        while True:
            for kind, data in self._receive():
                if kind == codec.DONE:
                    return
                if kind == codec.ERROR:
                    code = -struct.unpack_from("=i", data)[0]
                    raise OSError(code, f"sock_diag: {os.strerror(code)}")
                yield _parse(protocol, data)

    def _destroy(self, entry: Socket) -> int:
        request = _REQUEST.pack(entry.family, entry.protocol, 0, _ALL_STATES) + entry.identity
        self._send(_DESTROY, codec.REQUEST | codec.ACK, request)
        for kind, data in self._receive():
            if kind == codec.ERROR:
                code = -struct.unpack_from("=i", data)[0]
                # Closed meanwhile; a TIME_WAIT socket has nobody to tell.
                if code in (errno.ENOENT, errno.EOPNOTSUPP):
                    return 0
                if code:
                    raise OSError(code, f"abort socket: {os.strerror(code)}")
        return 1

    def _send(self, kind: int, flags: int, body: bytes) -> None:
        self._socket.send(codec.pack((kind, flags, body), 1))

    def _receive(self) -> list[tuple[int, bytes]]:
        messages = codec.split(self._socket.recv(1 << 20))
        return [(kind, data) for kind, _, _, data in messages]


def _parse(protocol: int, data: bytes) -> Socket:
    """Decode struct inet_diag_msg and, of its attributes, the mark."""
    family, state = data[0], data[1]
    identity = data[4:52]
    local_port, remote_port, local, remote, _, _ = _IDENTITY.unpack(identity)
    _, _, _, uid, inode = _TAIL.unpack_from(data, 52)
    size = 4 if family == socket.AF_INET else 16
    return Socket(
        family=family,
        protocol=protocol,
        state=_STATES[state],
        local=local[:size],
        local_port=int.from_bytes(local_port, "big"),
        remote=remote[:size],
        remote_port=int.from_bytes(remote_port, "big"),
        mark=_mark(data),
        uid=uid,
        inode=inode,
        identity=identity,
    )


def _mark(data: bytes) -> int:
    start = 72
    while start + 4 <= len(data):
        size, kind = struct.unpack_from("=HH", data, start)
        if kind == _MARK:
            return int(struct.unpack_from("=I", data, start + 4)[0])
        start += max(4, (size + 3) & ~3)
    return 0
