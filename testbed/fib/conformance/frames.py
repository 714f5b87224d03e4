"""Frames of every kind that the data path has to judge, each with what an oracle must know of it."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from . import packet

ETHERNET_BYTES: Final = 14
HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, NO_NEXT, OPTIONS = 0, 43, 44, 51, 59, 60
MORE_FRAGMENTS: Final = 0x2000
DONT_FRAGMENT: Final = 0x4000


@dataclass(frozen=True)
class Kind:
    """A packet between two addresses, and how it must be seen.

    `quotes`: the packet quoted by an ICMP error has this source; empty: it cannot be seen.
    `is_malformed`: headers cannot be read to their end. `talk`: "discovery" or "report", what the
    kernel says itself.
    """

    name: str
    packet: bytes
    quotes: str | None = None
    is_malformed: bool = False
    talk: str = ""


def frame(destination_mac: str, source_mac: str, content: bytes) -> bytes:
    """Return an Ethernet frame."""
    kind = 0x0800 if content[0] >> 4 == 4 else 0x86DD
    macs = bytes.fromhex((destination_mac + source_mac).replace(":", ""))
    return macs + struct.pack("!H", kind) + content


def kinds(source: str, destination: str, flows: tuple[str, ...]) -> Iterator[Kind]:
    """Yield packets from `source` to `destination`; errors quote a packet from each of `flows`."""
    transport = {
        "udp": (packet.UDP, struct.pack("!HHHH", 4711, 9, 8, 0)),
        "tcp": (6, struct.pack("!HHIIBBHHH", 4711, 9, 1, 0, 0x50, 2, 0, 0, 0)),
        "unknown protocol": (253, bytes(8)),
        "no payload": (packet.UDP, b""),
    }
    for name, (protocol, payload) in transport.items():
        yield Kind(name, packet.ip(source, destination, protocol, payload))
    six = ":" in source
    icmp, echo = (packet.ICMPV6, 128) if six else (packet.ICMP, 8)
    message = struct.pack("!BBHHH", echo, 0, 0, 1, 1)
    yield Kind("echo", packet.icmp(source, destination, message))
    yield Kind("icmp without a type", packet.ip(source, destination, icmp, b""), quotes="")
    yield from _errors(source, destination, flows)
    yield from (_six if six else _four)(source, destination, flows[0])


def _quoted(flow: str, destination: str) -> bytes:
    return packet.udp(flow, destination, (53, 4711), b"x")


def _errors(source: str, destination: str, flows: tuple[str, ...]) -> Iterator[Kind]:
    types = (1, 2, 3, 4, 127) if ":" in source else (3, 4, 5, 11, 12)
    for flow in flows:
        quoted = _quoted(flow, source)
        for kind in types:
            whole = packet.icmp_error(source, destination, kind, 0, quoted)
            yield Kind(f"error {kind} quoting {flow}", whole, quotes=flow)
    header = 40 if ":" in source else 20
    whole = packet.icmp_error(source, destination, types[0], 0, _quoted(flows[0], source))
    # The source that is quoted ends 16 (IPv4) or 24 (IPv6) bytes into the quoted packet.
    enough = header + 8 + (24 if ":" in source else 16)
    yield Kind("error with just enough", whole[:enough], quotes=flows[0])
    yield Kind("error cut short", whole[: enough - 1], quotes="")
    yield Kind("error without a body", whole[: header + 8], quotes="")


def _four(source: str, destination: str, flow: str) -> Iterator[Kind]:
    udp = struct.pack("!HHHH", 4711, 9, 8, 0)
    make = packet.ip
    yield Kind(
        "first fragment", make(source, destination, packet.UDP, udp, fragment=MORE_FRAGMENTS)
    )
    yield Kind("later fragment", make(source, destination, packet.UDP, udp, fragment=100))
    error = struct.pack("!BBHI", 3, 4, 0, 0) + _quoted(flow, source)
    first = make(source, destination, packet.ICMP, error, fragment=MORE_FRAGMENTS)
    yield Kind("first fragment of an error", first, quotes="")
    later = make(source, destination, packet.ICMP, error, fragment=7)
    yield Kind("later fragment of an error", later)
    plain = make(source, destination, packet.ICMP, error)
    optioned = bytes([0x46]) + plain[1:20] + bytes([1, 1, 1, 0]) + plain[20:]
    yield Kind("error behind options", optioned, quotes=flow)
    # A flag stands where the high bits of the offset are: this is no fragment.
    whole = make(source, destination, packet.ICMP, error, fragment=DONT_FRAGMENT)
    yield Kind("error that must not be fragmented", whole, quotes=flow)
    yield Kind("header length 4", bytes([0x44]) + plain[1:], is_malformed=True)
    yield Kind("header cut short", plain[:19], is_malformed=True)
    yield Kind("one byte", plain[:1], is_malformed=True)
    yield Kind("group report", make(source, destination, 2, bytes(8)), talk="report")


def _header(kind: int, following: int) -> bytes:
    """Return an extension header (RFC 8200, section 4) that says what follows."""
    if kind == FRAGMENT:
        return struct.pack("!BBHI", following, 0, 0, 1)
    if kind == AUTHENTICATION:
        return struct.pack("!BBHII", following, 1, 0, 1, 1)
    return struct.pack("!BB6x", following, 0)


def nested(headers: tuple[int, ...], last: int, payload: bytes) -> tuple[int, bytes]:
    """Return the first protocol number and the bytes of headers around a payload."""
    for kind in reversed(headers):
        payload = _header(kind, last) + payload
        last = kind
    return last, payload


def _six(source: str, destination: str, flow: str) -> Iterator[Kind]:
    plain = packet.icmp_error(source, destination, 1, 0, _quoted(flow, source))
    error, udp = plain[40:], struct.pack("!HHHH", 4711, 9, 8, 0)
    for headers in (
        (HOP_BY_HOP,),
        (OPTIONS,),
        (ROUTING,),
        (AUTHENTICATION,),
        (FRAGMENT,),
        (HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, OPTIONS),
        (OPTIONS,) * 7,
    ):
        protocol, payload = nested(headers, packet.ICMPV6, error)
        name = f"error behind {headers}"
        yield Kind(name, packet.ip(source, destination, protocol, payload), quotes=flow)
        # Three bytes of the last header are left; four say what follows and how long it is.
        last = len(_header(headers[-1], 0))
        cut = payload[: len(payload) - len(error) - last + 3]
        yield Kind(f"{name}, cut", packet.ip(source, destination, protocol, cut), is_malformed=True)
        protocol, payload = nested(headers, packet.UDP, udp)
        yield Kind(f"udp behind {headers}", packet.ip(source, destination, protocol, payload))
    protocol, payload = nested((OPTIONS,) * 9, packet.UDP, udp)
    deep = packet.ip(source, destination, protocol, payload)
    yield Kind("nested too deep", deep, is_malformed=True)
    first = struct.pack("!BBHI", packet.ICMPV6, 0, 1, 9) + error
    whole = packet.ip(source, destination, FRAGMENT, first)
    yield Kind("first fragment of an error", whole, quotes="")
    later = struct.pack("!BBHI", packet.ICMPV6, 0, 8 << 3, 9) + error
    yield Kind("later fragment of an error", packet.ip(source, destination, FRAGMENT, later))
    yield Kind("no next header", packet.ip(source, destination, NO_NEXT, b""))
    yield Kind("header cut short", plain[:39], is_malformed=True)
    for kind, talk in ((135, "discovery"), (136, "discovery"), (131, "report"), (143, "report")):
        message = struct.pack("!BBHI", kind, 0, 0, 0) + bytes(16)
        yield Kind(f"{talk} {kind}", packet.icmp(source, destination, message), talk=talk)
