"""The two wildcard sockets of the daemon, and addresses as the protocol shows them.

Each is one AF_INET6 socket with IPV6_V6ONLY off, for both families. One and not two, because the
claim under test is that a single listener serves every tenant; because an accepted socket's local
address then always has the one form in which FIBs are looked up (16 bytes, IPv4 as ::ffff:a.b.c.d);
and because one IPV6_PKTINFO serves datagrams of both families, received and sent: the kernel takes
a v4-mapped source for an IPv4 datagram (ip_cmsg_send, allow_ipv6).
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv6Address

from .outcome import Endpoint

_BACKLOG = 4096  # the kernel caps it at net.core.somaxconn


Prepare = Callable[[socket.socket], None]


@dataclass(frozen=True, slots=True)
class Wildcards:
    """The daemon's two sockets."""

    listener: socket.socket
    datagram: socket.socket


def open_wildcards(port: int, *, prepare: Prepare) -> Wildcards:
    """Open both sockets; `prepare` makes a socket one that serves every FIB.

    Raises:
        OSError: when the port is taken.
    """
    return Wildcards(_open_listener(port, prepare), _open_datagram(port, prepare))


def _open_listener(port: int, prepare: Prepare) -> socket.socket:
    sock = _wildcard(socket.SOCK_STREAM)
    prepare(sock)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Inherited by accepted sockets: a client that vanished shows within minutes, not never.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 120)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.bind(("::", port))
    sock.listen(_BACKLOG)
    return sock


def _open_datagram(port: int, prepare: Prepare) -> socket.socket:
    sock = _wildcard(socket.SOCK_DGRAM)
    prepare(sock)
    # Tells the address that each datagram was sent to.
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    sock.bind(("::", port))
    return sock


def _wildcard(kind: socket.SocketKind) -> socket.socket:
    sock = socket.socket(socket.AF_INET6, kind)
    # bindv6only may be set on the host.
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    sock.settimeout(0)
    return sock


def endpoint(name: tuple[object, ...]) -> Endpoint:
    """Return a socket name of the kernel's in the notation of its own family.

    >>> endpoint(("::ffff:10.64.0.1", 7007, 0, 0))
    Endpoint(address='10.64.0.1', port=7007)
    """
    address, port = str(name[0]), name[1]
    if not isinstance(port, int):
        raise TypeError(f"not an internet socket's name: {name!r}")
    if address.startswith("::ffff:"):
        mapped = IPv6Address(address).ipv4_mapped
        address = str(mapped) if mapped is not None else address
    return Endpoint(address, port)
