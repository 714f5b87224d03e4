"""What the netlink sockets of this package have in common."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import Self

_SOL_NETLINK, _ADD_MEMBERSHIP = 270, 1
_SO_RCVBUFFORCE = 33


class NetlinkSocket:
    """A socket of one netlink protocol. Close it, or use it as a context manager."""

    def __init__(self, protocol: int = socket.NETLINK_ROUTE, receive_bytes: int = 0) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
        self._socket = socket.socket(socket.AF_NETLINK, kind, protocol)
        if receive_bytes:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, receive_bytes)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _follow(self, groups: Iterable[int]) -> None:
        """Let the kernel tell this socket what it tells these groups."""
        for group in groups:
            self._socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)
