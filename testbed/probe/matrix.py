"""The leak matrix: tenant by tenant, protocol and direction, from one capture.

Every conversation carries a nonce of its own, in a place that its protocol shows on the wire. A
cell (sender, receiver) holds the frames with the sender's nonce at the receiver's router: on the
diagonal a question and its answer, and everywhere else none.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from testbed.plan.resources import Mac, Method, Plan, TenantPlan
from testbed.probe.capture import Frame
from testbed.probe.inside import Client
from testbed.probe.request import Route, ask, log_in, resolve, route_to
from testbed.sut.channel import Channel

_PATTERN_BYTES = 8


class Direction(StrEnum):
    """Who starts the conversation."""

    INBOUND = "inbound"  # the tenant's client
    OUTBOUND = "outbound"  # the SUT, in the tenant's FIB


class Protocol(StrEnum):
    """What is spoken."""

    TCP = "tcp"
    UDP = "udp"
    ICMP = "icmp"
    DNS = "dns"
    LDAP = "ldap"
    KERBEROS = "kerberos"


_PORTS = {Protocol.DNS: 53, Protocol.LDAP: 389, Protocol.KERBEROS: 88}


@dataclass(frozen=True, slots=True)
class Talk:
    """One conversation that was had, and the bytes by which its frames are known.

    What the SUT asks on a client's behalf stands in the client's request too: `port` tells the
    conversation itself from that; None where there are no ports.
    """

    tenant: str
    direction: Direction
    protocol: Protocol
    mark: bytes
    port: int | None = None

    @property
    def is_repeated(self) -> bool:
        """Whether answers repeat the mark: a KDC's error does, an LDAP server's result does not."""
        return self.protocol is not Protocol.LDAP


@dataclass(frozen=True, slots=True)
class Cell:
    """The frames of `talk` at the router of `receiver`: at a stranger's, all that have its mark."""

    talk: Talk
    receiver: str
    frames: tuple[Frame, ...]

    @property
    def ways(self) -> int:
        """How many stations have sent them: two, where the question was answered."""
        return len({frame.source_mac for frame in self.frames})

    @property
    def is_own(self) -> bool:
        """Whether the frames belong there."""
        return self.talk.tenant == self.receiver

    @property
    def ok(self) -> bool:
        """Whether a stranger's router has none of the frames, and their own the answer as well."""
        if not self.is_own:
            return not self.frames
        return self.ways >= (2 if self.talk.is_repeated else 1)

    def __str__(self) -> str:
        what = f"{self.talk.direction} {self.talk.protocol} of {self.talk.tenant!r}"
        found = f"{len(self.frames)} frames from {self.ways} senders"
        return f"{what}: {found} at the router of {self.receiver!r}"


def talk_all(client: Client, sut: Channel) -> tuple[Talk, ...]:
    """Have every conversation that the tenant's services allow, and that the wire shows.

    TLS hides a directory's: by what it asks in clear it could be any login's.
    """
    talks = []
    ports = _PORTS | dict.fromkeys((Protocol.TCP, Protocol.UDP), client.plan.sut.port)
    for direction, protocol, act in _conversations(client, sut):
        nonce = f"m{secrets.token_hex(_PATTERN_BYTES)}"
        mark = act(nonce)
        talks.append(Talk(client.tenant.name, direction, protocol, mark, ports.get(protocol)))
    return tuple(talks)


def judge(plan: Plan, talks: Iterable[Talk], frames: Sequence[Frame]) -> tuple[Cell, ...]:
    """Return every cell of the matrix over all tenants of `plan`."""
    by_router: dict[Mac, list[Frame]] = {t.router.uplink.mac: [] for t in plan.tenants}
    for frame in frames:
        for mac in {frame.source_mac, frame.destination_mac} & by_router.keys():
            by_router[mac].append(frame)
    return tuple(
        Cell(talk, tenant.name, _of_talk(by_router[tenant.router.uplink.mac], talk, tenant.name))
        for talk in talks
        for tenant in plan.tenants
    )


def _of_talk(frames: Iterable[Frame], talk: Talk, receiver: str) -> tuple[Frame, ...]:
    found = tuple(frame for frame in frames if frame.has(talk.mark))
    if receiver != talk.tenant:
        return found
    return tuple(frame for frame in found if frame.touches(port=talk.port))


_Act = Callable[[str], bytes]


def _conversations(client: Client, sut: Channel) -> Iterable[tuple[Direction, Protocol, _Act]]:
    tenant = client.tenant
    route = route_to(client)

    def echo(nonce: str, *, udp: bool) -> bytes:
        chosen = Route(route.address, route.port, udp=udp)
        ask(client, chosen, {"op": "echo", "nonce": nonce, "data": ""})
        return nonce.encode()

    def look_up(nonce: str) -> bytes:
        resolve(client, route, f"{nonce}.{tenant.domain}")
        return nonce.encode()

    def try_login(nonce: str, method: Method) -> bytes:
        log_in(client, route, nonce, "no-password-of-anybody", method=method)
        return nonce.encode()

    inbound, outbound = Direction.INBOUND, Direction.OUTBOUND
    yield inbound, Protocol.TCP, lambda nonce: echo(nonce, udp=False)
    yield inbound, Protocol.UDP, lambda nonce: echo(nonce, udp=True)
    yield inbound, Protocol.ICMP, lambda nonce: _ping_in(client, nonce)
    yield outbound, Protocol.ICMP, lambda nonce: _ping_out(tenant, sut, nonce)
    if tenant.resolvers:
        yield outbound, Protocol.DNS, look_up
    if tenant.directory and not tenant.directory.tls:
        yield outbound, Protocol.LDAP, lambda nonce: try_login(nonce, Method.LDAP)
    if tenant.realm:
        yield outbound, Protocol.KERBEROS, lambda nonce: try_login(nonce, Method.KERBEROS)


def _ping_in(client: Client, nonce: str) -> bytes:
    address = str(client.tenant.server_addresses[0].ip)
    client.run(("ping", "-n", "-c", "1", "-W", "2", "-p", _pattern(nonce), address))
    return bytes.fromhex(_pattern(nonce))


def _ping_out(tenant: TenantPlan, sut: Channel, nonce: str) -> bytes:
    address = str(tenant.containers[0].addresses[0].ip)
    ping = ("ping", "-n", "-c", "1", "-W", "2", "-p", _pattern(nonce), address)
    sut.run(["fibctl", "exec", str(tenant.fib), "--", *ping], check=False)
    return bytes.fromhex(_pattern(nonce))


def _pattern(nonce: str) -> str:
    """Return the nonce as ping's filling: hexadecimal digits of up to 16 bytes."""
    return nonce.removeprefix("m")
