"""Plays the clients of tenants that have no containers yet: sockets in their routers' namespaces.

A thousand clients with one address and one source port, in one process: the way to load the SUT with
every tenant at once. A router has its client's addresses only meanwhile, and only where no container
has them. A socket stays in the namespace that it was made in, whichever thread uses it later.
"""

from __future__ import annotations

import contextlib
import errno
import json
import select
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from testbed.deadline import Deadline
from testbed.drivers import links, namespace
from testbed.plan.resources import Address, Role, TenantPlan
from testbed.probe.request import Reply, new_nonce, parse_reply

_LONGEST_LINE = 65536


@dataclass(frozen=True, slots=True)
class Player:
    """A tenant's client without a container: opens sockets bound to the client's address."""

    tenant: TenantPlan
    port: int

    @property
    def client(self) -> Address:
        """The client's IPv4 address."""
        return self.tenant.container(Role.CLIENT).addresses[0].ip

    def connect(self, *, source_port: int = 0, to: Address | None = None) -> Conversation:
        """Begin a TCP connection to the daemon; `Conversation.connected` waits for it."""
        opened = self._open(socket.SOCK_STREAM, source_port)
        conversation = Conversation(self.tenant.name, opened)
        conversation.begin((str(to or self.tenant.server_addresses[0].ip), self.port))
        return conversation

    def datagrams(self, *, source_port: int = 0, to: Address | None = None) -> Conversation:
        """Open a UDP socket connected to the daemon."""
        opened = self._open(socket.SOCK_DGRAM, source_port)
        opened.connect((str(to or self.tenant.server_addresses[0].ip), self.port))
        return Conversation(self.tenant.name, opened)

    def _open(self, kind: socket.SocketKind, source_port: int) -> socket.socket:
        return namespace.run_inside(
            self.tenant.router.netns, partial(_bound, kind, (str(self.client), source_port))
        )


def _bound(kind: socket.SocketKind, name: tuple[str, int]) -> socket.socket:
    made = socket.socket(socket.AF_INET, kind)
    try:
        # A port that the last scenario used is free again, though its connections still linger.
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(name)
        made.settimeout(0)
    except OSError:
        made.close()
        raise
    return made


class Conversation:
    """A socket to the daemon: send requests, take their replies in order, whenever it suits."""

    def __init__(self, tenant: str, opened: socket.socket) -> None:
        self.tenant = tenant
        self._socket = opened
        self._received = b""
        self._nonces: list[str] = []

    def begin(self, name: tuple[str, int]) -> None:
        """Begin to connect."""
        number = self._socket.connect_ex(name)
        if number not in {0, errno.EINPROGRESS}:
            raise OSError(number, f"{self.tenant}: connect")

    def connected(self, deadline: Deadline) -> str:
        """Wait for the handshake; return an empty string, or the name of what went wrong."""
        if not self._await(select.POLLOUT, deadline):
            return "timeout"
        number = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        return errno.errorcode[number] if number else ""

    def send(self, request: Mapping[str, Any]) -> str:
        """Send a request and return its nonce, which is a new one unless it has one."""
        message = {"nonce": new_nonce(self.tenant), **request}
        self._socket.sendall(json.dumps(message).encode() + b"\n")
        self._nonces.append(str(message["nonce"]))
        return self._nonces[-1]

    def reply(self, deadline: Deadline) -> Reply:
        """Take the reply to the oldest request that has none yet."""
        nonce = self._nonces.pop(0)
        while b"\n" not in self._received:
            if not self._await(select.POLLIN, deadline):
                return Reply(nonce, error="timeout")
            try:
                received = self._socket.recv(_LONGEST_LINE)
            except OSError as error:
                return Reply(nonce, error=errno.errorcode.get(error.errno or 0, str(error)))
            if not received:
                return Reply(nonce, error="closed")
            self._received += received if self._is_stream else received.rstrip(b"\n") + b"\n"
        line, _, self._received = self._received.partition(b"\n")
        return parse_reply(line.decode(), nonce)

    def ask(self, request: Mapping[str, Any], deadline: Deadline) -> Reply:
        """Send one request and return its reply."""
        self.send(request)
        return self.reply(deadline)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    @property
    def _is_stream(self) -> bool:
        return self._socket.type == socket.SOCK_STREAM

    def _await(self, event: int, deadline: Deadline) -> bool:
        poll = select.poll()
        poll.register(self._socket, event)
        return bool(poll.poll(deadline.left_s * 1000))


@contextmanager
def play(tenants: Sequence[TenantPlan], port: int) -> Iterator[tuple[Player, ...]]:
    """Play the clients of `tenants` while the block lasts; `port` is the daemon's."""
    with ExitStack() as stack:
        for tenant in tenants:
            stack.callback(_leave, tenant)
            links.host_client(tenant)
        yield tuple(Player(tenant, port) for tenant in tenants)


def _leave(tenant: TenantPlan) -> None:
    with contextlib.suppress(FileNotFoundError):  # the deployment was removed meanwhile
        links.unhost_client(tenant)
