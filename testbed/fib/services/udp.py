"""UDP side: one datagram in, one out, from the very address the request was sent to.

The wildcard socket has no FIB of its own. A reply names its source by IPV6_PKTINFO, and the FIB of
that address carries it; without it the kernel has nothing to go by, and the reply is not sent. The
interface index stays 0: an index would override the FIB's routes.
"""

from __future__ import annotations

import socket
import struct
from selectors import EVENT_READ

from .dispatch import Dispatcher
from .fibs import Fibs
from .job import Origin, Transport
from .log import Log
from .loop import Loop
from .outcome import Endpoint
from .protocol import is_reply
from .sockets import endpoint

_DATAGRAMS_PER_ROUND = 64
_LARGEST = 65535
_PKTINFO = struct.Struct("@16sI")  # struct in6_pktinfo: address, interface index


class UdpService:
    """Answers datagrams on `sock`. `name_source` off is a deliberate defect: see `tenantd`."""

    def __init__(
        self,
        sock: socket.socket,
        *,
        loop: Loop,
        dispatcher: Dispatcher,
        fibs: Fibs,
        log: Log,
        name_source: bool = True,
    ) -> None:
        self._sock = sock
        self._loop = loop
        self._dispatcher = dispatcher
        self._fibs = fibs
        self._log = log
        self._name_source = name_source

    def start(self) -> None:
        """Begin to answer."""
        self._loop.watch(self._sock, EVENT_READ, self._on_readable)

    def close(self) -> None:
        """Take no more requests; replies to those under way can still leave."""
        self._loop.watch(self._sock, 0, self._on_readable)

    def _on_readable(self, _events: int) -> None:
        for _ in range(_DATAGRAMS_PER_ROUND):
            try:
                data, ancillary, _flags, name = self._sock.recvmsg(
                    _LARGEST, socket.CMSG_SPACE(_PKTINFO.size)
                )
            except BlockingIOError:
                return
            except OSError as error:  # an ICMP error about an earlier reply
                self._log.write({"event": "udp-error", "error": str(error)})
                continue
            self._receive(data, ancillary, name)

    def _receive(
        self, data: bytes, ancillary: list[tuple[int, int, bytes]], name: tuple[object, ...]
    ) -> None:
        if is_reply(data):
            return
        packed = _destination(ancillary)
        if packed is None:
            self._log.write({"event": "udp-error", "error": "no IPV6_PKTINFO came along"})
            return
        address = socket.inet_ntop(socket.AF_INET6, packed)
        local = endpoint((address, self._sock.getsockname()[1]))
        try:
            fib = self._fibs.fib_of_address(local.address)
        except OSError as error:
            self._log.write({"event": "udp-error", "error": str(error), "local": local.address})
            return
        origin = Origin(Transport.UDP, fib, local, endpoint(name))

        def respond(reply: bytes, *, is_last: bool) -> None:
            del is_last  # there is nothing to close
            self._loop.call_soon(lambda: self._send(reply, packed, name, local))

        self._dispatcher.dispatch(data, origin, respond)

    def _send(self, reply: bytes, source: bytes, name: tuple[object, ...], local: Endpoint) -> None:
        ancillary = []
        if self._name_source:
            info = _PKTINFO.pack(source, 0)
            ancillary.append((socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, info))
        try:
            self._sock.sendmsg([reply], ancillary, 0, name)
        except OSError as error:  # no route, too long, no room: as lost as on the way
            self._log.write(
                {
                    "event": "udp-reply-lost",
                    "error": str(error),
                    "local": local.address,
                    "peer": str(name[0]),
                }
            )


def _destination(ancillary: list[tuple[int, int, bytes]]) -> bytes | None:
    for level, kind, data in ancillary:
        if (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO):
            address, _interface = _PKTINFO.unpack_from(data)
            return bytes(address)
    return None
