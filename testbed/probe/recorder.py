"""Keeps a scenario's frames in the kernel, where they cost nothing until somebody wants them.

A packet socket with a filter for the leased tenants, whose frames nobody reads unless the scenario
fails: no thread, no wake-up, and the kernel's buffer is the bound. Frames carry the kernel's
timestamps. When the buffer is full, later frames are counted and lost.
Sources: packet(7), socket(7) SO_TIMESTAMPNS and SO_ATTACH_FILTER, bpf(4) of classic BPF.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from testbed.plan.resources import Address, Mac, TenantPlan
from testbed.probe.capture import Frame

BUFFER_BYTES = 8 << 20  # of the kernel's accounting: 3,500 frames or more
_ETH_P_ALL = 3
_SOL_PACKET, _PACKET_STATISTICS = 263, 6
_SO_RCVBUFFORCE, _SO_TIMESTAMPNS, _SO_ATTACH_FILTER = 33, 35, 26
_LONGEST_FRAME = 65536
_MARKER_TYPE = 0x88B5  # of captures that prove their completeness
_LONGEST_FILTER = 4096  # instructions (BPF_MAXINSNS): some forty tenants

Step = tuple[int, int, int, int]
"""One instruction of classic BPF: code, jump if true, jump if false, operand."""

_LOAD_4, _LOAD_2, _LOAD_1 = 0x20, 0x28, 0x30
_IF_EQUAL, _IF_SET, _RETURN = 0x15, 0x45, 0x06
TAKE: Step = (_RETURN, 0, 0, 0xFFFFFFFF)
_LEAVE: Step = (_RETURN, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a recorder has kept: `lost` frames came after its buffer was full."""

    frames: tuple[Frame, ...]
    lost: int


class Recorder:
    """Frames on `interface` of the current network namespace, from its making to its closing."""

    def __init__(self, interface: str, tenants: Iterable[TenantPlan] = ()) -> None:
        """Record the frames of `tenants`, or all if there are none or too many for a filter."""
        steps = filter_of(tenants)
        of_nobody = len(filter_of(()))
        is_filter = of_nobody < len(steps) <= _LONGEST_FILTER
        self._frames: list[Frame] = []
        self._lost = 0
        self._socket = open_socket(interface, steps if is_filter else [TAKE], BUFFER_BYTES)
        self._socket.settimeout(0)

    def read(self) -> Recorded:
        """Return everything up to now; frees the kernel's buffer."""
        with suppress(BlockingIOError):
            while True:
                frame = receive(self._socket)
                if frame is not None:
                    self._frames.append(frame)
        self._lost += count_lost(self._socket)
        return Recorded(tuple(self._frames), self._lost)

    def close(self) -> None:
        """End recording. Closed already is fine."""
        self._socket.close()


def save(frames: Iterable[Frame], path: Path) -> None:
    """Write `frames` as a pcap file with times in nanoseconds, for its owner alone."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(PCAP_HEADER)
        for frame in frames:
            file.write(pcap_record(frame))


PCAP_HEADER = struct.pack("=IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, _LONGEST_FRAME, 1)
"""The beginning of a pcap file of Ethernet frames with times in nanoseconds."""


def pcap_record(frame: Frame) -> bytes:
    """Return `frame` as it stands in a pcap file."""
    seconds, fraction = divmod(round(frame.time_s * 1e9), 1_000_000_000)
    length = len(frame.raw)
    return struct.pack("=IIII", seconds, fraction, length, length) + frame.raw


def open_socket(interface: str, steps: list[Step], buffer_bytes: int) -> socket.socket:
    """Return a packet socket on `interface` that takes what the filter `steps` take."""
    # No protocol yet: nothing comes in before filter and buffer are as they should be.
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, buffer_bytes // 2)
    opened.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    _attach(opened, steps)
    opened.bind((interface, _ETH_P_ALL))
    return opened


def receive(source: socket.socket) -> Frame | None:
    """Return the next frame, or None if it is a capture's own marker."""
    raw, extra, _, _ = source.recvmsg(_LONGEST_FRAME, 64)
    return None if raw[12:14] == struct.pack("!H", _MARKER_TYPE) else Frame(_time(extra), raw)


def count_lost(source: socket.socket) -> int:
    """Return how many frames found no room since the last call: the kernel forgets when asked."""
    statistics = source.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
    return int(struct.unpack("II", statistics)[1])


def filter_of_routers(tenants: Iterable[TenantPlan]) -> list[Step]:
    """Return a filter for what the routers of `tenants` send and get on the shared segment."""
    steps: list[Step] = []
    for tenant in tenants:
        for offset in (0, 6):
            steps += _equal(offset, _packed_mac(tenant.router.uplink.mac))
    return [*steps, _LEAVE]


def filter_of(tenants: Iterable[TenantPlan]) -> list[Step]:
    """Return a filter for the frames of `tenants`.

    Those that a tenant's router sends or gets, those with one of its server addresses wherever they
    go, and those that go to everybody.
    """
    chosen = tuple(tenants)
    macs = [tenant.router.uplink.mac for tenant in chosen]
    servers = [address.ip for tenant in chosen for address in tenant.server_addresses]
    steps: list[Step] = [(_LOAD_1, 0, 0, 0), *_take_if(_IF_SET, 1)]
    for offset in (0, 6):
        for mac in macs:
            steps += _equal(offset, _packed_mac(mac))
    steps += _of_family(0x0800, (26, 30), [a for a in servers if isinstance(a, IPv4Address)])
    steps += _of_family(0x86DD, (22, 38), [a for a in servers if isinstance(a, IPv6Address)])
    return [*steps, _LEAVE]


def _of_family(ether_type: int, offsets: tuple[int, int], addresses: list[Address]) -> list[Step]:
    """Take frames with one of `addresses`.

    Each check looks at the EtherType for itself: jumps reach no further than 255 instructions.
    """
    kind = struct.pack("!H", ether_type)
    return [
        step
        for address in addresses
        for offset in offsets
        for step in _all_equal([(12, kind), *_words(offset, address.packed)])
    ]


def _equal(offset: int, value: bytes) -> list[Step]:
    return _all_equal(_words(offset, value))


def _words(offset: int, value: bytes) -> list[tuple[int, bytes]]:
    return [(offset + at, value[at : at + 4]) for at in range(0, len(value), 4)]


def _all_equal(parts: list[tuple[int, bytes]]) -> list[Step]:
    steps: list[Step] = []
    length = 2 * len(parts) + 1  # two instructions a part, and the one that takes the frame
    for place, (offset, value) in enumerate(parts):
        beyond = length - 2 * place - 2
        load = _LOAD_4 if len(value) == 4 else _LOAD_2
        steps += [(load, 0, 0, offset), (_IF_EQUAL, 0, beyond, int.from_bytes(value))]
    return [*steps, TAKE]


def _take_if(test: int, operand: int) -> list[Step]:
    return [(test, 0, 1, operand), TAKE]


def _packed_mac(mac: Mac) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def _attach(target: socket.socket, steps: list[Step]) -> None:
    program = b"".join(struct.pack("=HBBI", *step) for step in steps)
    buffer = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("@HP", len(steps), ctypes.addressof(buffer))
    target.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, header)


def _time(extra: list[tuple[int, int, bytes]]) -> float:
    for level, kind, data in extra:
        if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS:
            seconds, nanoseconds = struct.unpack("@qq", data[:16])
            return float(seconds) + float(nanoseconds) / 1e9
    return time.time()
