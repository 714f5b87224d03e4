"""Captures every frame on the shared segment, and knows when it has seen them all.

A packet socket on the tap sees both directions: what routers send to the SUT and what it answers.
`Capture.frames` first sends a marker frame and waits for its own return, so that "no such frame"
means that none came, not that the capture was late; frames the kernel had to drop are an error.
Sources: packet(7); the marker's EtherType is IEEE 802's local experimental one.
"""

from __future__ import annotations

import secrets
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from testbed.deadline import Deadline, NotYet, wait_for
from testbed.errors import ResourceError
from testbed.plan.resources import Address, Mac
from testbed.probe.scapy_loading import load_scapy

_ETH_P_ALL = 3
_MARKER_TYPE = 0x88B5
_SOL_PACKET, _PACKET_STATISTICS = 263, 6
_SO_RCVBUFFORCE = 33
_BUFFER_BYTES = 64 << 20
_LONGEST_FRAME = 65536
_NOWHERE = bytes.fromhex("020000000000")


@dataclass(frozen=True)
class Frame:
    """One frame as it was on the wire, with the fields that scenarios ask for.

    Fields that a frame does not have are None, `payload` is then empty. `flags` are TCP's in
    tcpdump's order, such as "SA". An ICMP error's `quoted` is the packet inside it.
    """

    time_s: float
    raw: bytes = field(repr=False)

    @cached_property
    def packet(self) -> Any:
        """The frame as scapy sees it."""
        if "scapy.layers.inet6" not in sys.modules:  # scapy takes a second to load
            load_scapy()
        from scapy.layers.l2 import Ether  # noqa: PLC0415

        return Ether(self.raw)

    @property
    def source_mac(self) -> Mac:
        """The sender on the segment."""
        return Mac(self.raw[6:12].hex(":"))

    @property
    def destination_mac(self) -> Mac:
        """The receiver on the segment."""
        return Mac(self.raw[:6].hex(":"))

    @property
    def ether_type(self) -> int:
        """What the frame carries: 0x0800 IPv4, 0x86DD IPv6, 0x0806 ARP."""
        return int(struct.unpack("!H", self.raw[12:14])[0])

    @property
    def source(self) -> Address | None:
        """The packet's source address."""
        return self._address("src")

    @property
    def destination(self) -> Address | None:
        """The packet's destination address."""
        return self._address("dst")

    @property
    def protocol(self) -> str:
        """`tcp`, `udp`, `icmp`, `icmp6`, `arp` or the layer's name."""
        for layer, name in (("TCP", "tcp"), ("UDP", "udp"), ("ICMP", "icmp"), ("ARP", "arp")):
            if layer in self.packet:
                return name
        last = self.packet.lastlayer().name if self.packet.payload else ""
        return "icmp6" if "ICMPv6" in self.packet.summary() else last.lower()

    @property
    def source_port(self) -> int | None:
        """The sender's TCP or UDP port."""
        return self._transport("sport")

    @property
    def destination_port(self) -> int | None:
        """The receiver's TCP or UDP port."""
        return self._transport("dport")

    @property
    def flags(self) -> str:
        """TCP flags, empty for other protocols."""
        return str(self.packet["TCP"].flags) if "TCP" in self.packet else ""

    @property
    def payload(self) -> bytes:
        """What a TCP segment or UDP datagram carries."""
        for layer in ("TCP", "UDP"):
            if layer in self.packet:
                inner = self.packet[layer].payload
                return b"" if inner.name == "Padding" else bytes(inner)
        return b""

    def has(self, data: bytes) -> bool:
        """Whether `data` stands anywhere in the frame."""
        return data in self.raw

    def touches(self, *, address: Address | None = None, port: int | None = None) -> bool:
        """Whether the address and port given are the packet's source or destination."""
        matches_address = address is None or address in {self.source, self.destination}
        matches_port = port is None or port in {self.source_port, self.destination_port}
        return matches_address and matches_port

    def _address(self, name: str) -> Address | None:
        for layer in ("IP", "IPv6"):
            if layer in self.packet:
                return ip_address(getattr(self.packet[layer], name))
        return None

    def _transport(self, name: str) -> int | None:
        for layer in ("TCP", "UDP"):
            if layer in self.packet:
                return int(getattr(self.packet[layer], name))
        return None

    def __str__(self) -> str:
        return f"{self.source_mac} > {self.destination_mac} {self.packet.summary()}"


class Capture:
    """A running capture; `capture()` makes one."""

    def __init__(self, interface: str) -> None:
        self.interface = interface
        self._frames: list[Frame] = []
        self._markers: set[bytes] = set()
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
        self._socket.bind((interface, _ETH_P_ALL))
        self._thread = threading.Thread(target=self._read, name="capture", daemon=True)
        self._ending = False

    def start(self) -> None:
        """Begin to read; frames since the constructor are there already."""
        self._thread.start()

    def stop(self) -> None:
        """End reading; frames stay."""
        if not self._ending:
            self._ending = True
            self._send_marker()  # wakes the reader
            self._thread.join()
            self._socket.close()

    def frames(self) -> tuple[Frame, ...]:
        """Return all frames up to now, in their order on the segment.

        Raises:
            ResourceError: when the kernel dropped frames that we should have seen.
        """
        if not self._ending:
            marker = self._send_marker()
            wait_for(
                lambda: marker in self._markers, Deadline.after(10), what="the capture's own marker"
            )
            self._forbid_drops()
        return tuple(self._frames)

    def await_frame(self, wanted: Callable[[Frame], bool], *, limit_s: float = 5) -> Frame:
        """Wait until a frame is `wanted`, also one that came before, and return it.

        Raises:
            WaitTimeoutError: when none came in time.
        """

        def found() -> Frame:
            for frame in tuple(self._frames):
                if wanted(frame):
                    return frame
            raise NotYet(f"{len(self._frames)} others")

        return wait_for(found, Deadline.after(limit_s), what="the frame")

    def save(self, path: Path) -> None:
        """Write the frames as a pcap file."""
        from scapy.utils import PcapWriter  # noqa: PLC0415 - scapy takes a second to load

        with PcapWriter(str(path), linktype=1) as writer:
            for frame in tuple(self._frames):
                writer.write_header(None)
                seconds, fraction = divmod(frame.time_s, 1)
                writer.write_packet(frame.raw, sec=int(seconds), usec=int(fraction * 1_000_000))

    def _read(self) -> None:
        while not self._ending:
            raw = self._socket.recv(_LONGEST_FRAME)
            if raw[12:14] == struct.pack("!H", _MARKER_TYPE):
                self._markers.add(raw[14:30])
            else:
                self._frames.append(Frame(time.time(), raw))

    def _send_marker(self) -> bytes:
        nonce = secrets.token_bytes(16)
        header = _NOWHERE + _NOWHERE + struct.pack("!H", _MARKER_TYPE)
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sender:
            sender.bind((self.interface, 0))
            sender.send((header + nonce).ljust(60, b"\0"))
        return nonce

    def _forbid_drops(self) -> None:
        statistics = self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
        _, dropped = struct.unpack("II", statistics)
        if dropped:
            raise ResourceError(f"the capture on {self.interface} missed {dropped} frames")


@contextmanager
def capture(interface: str) -> Iterator[Capture]:
    """Capture all frames on `interface` while the block lasts."""
    running = Capture(interface)
    running.start()
    try:
        yield running
    finally:
        running.stop()
