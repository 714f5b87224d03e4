"""Packets built by hand: what no well-behaved system would send."""

from __future__ import annotations

import socket
import struct
from typing import Final

ICMP: Final = 1
TCP: Final = 6
UDP: Final = 17
ICMPV6: Final = 58


def checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071)."""
    data += bytes(len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ip(source: str, destination: str, protocol: int, payload: bytes, fragment: int = 0) -> bytes:
    """Return an IPv4 or IPv6 packet; `fragment` is IPv4's flags and offset."""
    if ":" in source:
        header = struct.pack("!IHBB", 6 << 28, len(payload), protocol, 64)
        return header + _packed(source) + _packed(destination) + payload
    header = struct.pack(
        "!BBHHHBBH4s4s",
        *(0x45, 0, 20 + len(payload), 4711, fragment, 64, protocol, 0),
        *(_packed(source), _packed(destination)),
    )
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + payload


def udp(source: str, destination: str, ports: tuple[int, int], data: bytes) -> bytes:
    """Return a UDP packet."""
    segment = struct.pack("!HHHH", *ports, 8 + len(data), 0) + data
    total = checksum(_pseudo(source, destination, UDP, len(segment)) + segment) or 0xFFFF
    segment = segment[:6] + struct.pack("!H", total) + segment[8:]
    return ip(source, destination, UDP, segment)


FIN, SYN, RST, ACK = 1, 2, 4, 16


def tcp(
    source: str, destination: str, ports: tuple[int, int], flags: int, numbers: tuple[int, ...]
) -> bytes:
    """Return a TCP packet without options and data; `numbers`: sequence, and acknowledgement."""
    sequence, ack = (*numbers, 0)[:2]
    segment = struct.pack("!HHIIBBHHH", *ports, sequence, ack, 0x50, flags, 1024, 0, 0)
    total = checksum(_pseudo(source, destination, TCP, len(segment)) + segment)
    return ip(source, destination, TCP, segment[:16] + struct.pack("!H", total) + segment[18:])


def tcp_quote(source: str, destination: str, ports: tuple[int, int], sequence: int) -> bytes:
    """Return the head of a TCP packet, as an ICMP error quotes it."""
    head = struct.pack("!HHIIBBHHH", *ports, sequence, 0, 0x50, SYN, 0, 0, 0)
    return ip(source, destination, TCP, head)


def icmp_error(source: str, destination: str, kind: int, code: int, quoted: bytes) -> bytes:
    """Return an ICMP or ICMPv6 error that quotes a packet."""
    return icmp(source, destination, struct.pack("!BBHI", kind, code, 0, 0) + quoted)


def icmp(source: str, destination: str, message: bytes) -> bytes:
    """Return an ICMP or ICMPv6 packet with its checksum filled in."""
    protocol, pseudo = ICMP, b""
    if ":" in source:
        protocol, pseudo = ICMPV6, _pseudo(source, destination, ICMPV6, len(message))
    total = checksum(pseudo + message)
    return ip(source, destination, protocol, message[:2] + struct.pack("!H", total) + message[4:])


def _packed(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def _pseudo(source: str, destination: str, protocol: int, size: int) -> bytes:
    """The IPv6 form, whose sum is that of IPv4's."""
    return _packed(source) + _packed(destination) + struct.pack("!II", size, protocol)
