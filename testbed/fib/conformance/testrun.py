"""BPF_PROG_TEST_RUN: the very programs that are attached judge what a test makes up."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from .. import bpfmap
from . import lab

_TEST_RUN, _OBJ_GET, _PROG_FD_BY_ID, _INFO = 10, 7, 13, 15
_SKB_BYTES: Final = 192
"""struct __sk_buff; `mark` is its third word, and for sk_lookup struct bpf_sk_lookup has 72 bytes: cookie, family,
protocol, remote_ip4, remote_ip6, remote_port, 2 bytes, local_ip4, local_ip6, local_port, interface."""

TC_ACT_OK, TC_ACT_SHOT = 0, 2


@dataclass(frozen=True)
class Program:
    """A program that is attached; close it."""

    descriptor: int

    def judge(self, frame: bytes, mark: int = 0) -> tuple[int, int]:
        """Run a tc program on a frame; return what it says and the mark that the frame then has.

        The kernel runs none on a frame without a whole IP header (bpf_prog_test_run_skb).
        """
        context = ctypes.create_string_buffer(_SKB_BYTES)
        struct.pack_into("=I", context, 8, mark)
        verdict = self._run(context, ctypes.create_string_buffer(frame, len(frame)))
        return verdict, int(struct.unpack_from("=I", context, 8)[0])

    def brings(self, protocol: int, local: tuple[str, int], remote: tuple[str, int]) -> bool:
        """Run the socket lookup program; whether it chooses a socket itself.

        Listeners of FIBs have SO_REUSEPORT, and a test run that chooses one ends with EOPNOTSUPP
        (bpf_prog_test_run_sk_lookup): which one it is, only a connection can tell.
        """
        family = socket.AF_INET6 if ":" in local[0] else socket.AF_INET
        context = ctypes.create_string_buffer(72)
        struct.pack_into("=II", context, 8, family, protocol)
        offsets = (16, 40) if family == socket.AF_INET else (20, 44)
        for offset, (address, _) in zip(offsets, (remote, local), strict=True):
            packed = socket.inet_pton(family, address)
            struct.pack_into(f"{len(packed)}s", context, offset, packed)
        struct.pack_into("!H", context, 36, remote[1])
        struct.pack_into("=I", context, 60, local[1])
        try:
            self._run(context, None)
        except OSError as error:
            if error.errno == errno.EOPNOTSUPP:
                return True
            raise
        return any(context.raw[:8])  # the cookie of the socket chosen

    def _run(
        self, context: ctypes.Array[ctypes.c_char], data: ctypes.Array[ctypes.c_char] | None
    ) -> int:
        attributes = ctypes.create_string_buffer(
            struct.pack(
                "=IIIIQQIIIIQQIII4x",
                *(self.descriptor, 0, len(data) if data else 0, 0),
                *(ctypes.addressof(data) if data else 0, 0, 0, 0),
                *(len(context), len(context)),
                *(ctypes.addressof(context), ctypes.addressof(context), 0, 0, 0),
            ),
            80,
        )
        bpfmap.call(_TEST_RUN, attributes)
        return int(struct.unpack_from("=I", attributes, 4)[0])


def _open(identity: int) -> int:
    return bpfmap.call(
        _PROG_FD_BY_ID, ctypes.create_string_buffer(struct.pack("=III", identity, 0, 0), 12)
    )


@contextmanager
def tc_program(side: str) -> Iterator[Program]:
    """Open the program at one side of the lab's interface."""
    shown = json.loads(lab.run("tc", "-j", "filter", "show", "dev", lab.NIC, side))
    identity = next(e["options"]["prog"]["id"] for e in shown if "prog" in e.get("options", {}))
    descriptor = _open(identity)
    try:
        yield Program(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def lookup_program() -> Iterator[Program]:
    """Open the socket lookup program by its link."""
    path = ctypes.create_string_buffer(os.fsencode(bpfmap.LINKS / "fib_lookup"))
    request = struct.pack("=QII", ctypes.addressof(path), 0, 0)
    link = bpfmap.call(_OBJ_GET, ctypes.create_string_buffer(request, 16))
    try:
        info = ctypes.create_string_buffer(64)
        request = struct.pack("=IIQ", link, len(info), ctypes.addressof(info))
        bpfmap.call(_INFO, ctypes.create_string_buffer(request, 16))
    finally:
        os.close(link)
    descriptor = _open(struct.unpack_from("=III", info)[2])
    try:
        yield Program(descriptor)
    finally:
        os.close(descriptor)
