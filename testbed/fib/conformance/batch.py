"""sendmmsg(2) and recvmmsg(2), which Python does not have: several datagrams by one system call.

The kernel shortens its work on all but the first: for a datagram that goes where the one before it
went, ____sys_sendmsg (net/socket.c) asks no security module.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from collections.abc import Sequence
from typing import Final

Address = tuple[str, int]
Control = tuple[int, int, bytes]

_libc = ctypes.CDLL(None, use_errno=True)
_WAIT_FOR_ONE: Final = 0x10000
_NAME_ROOM = 28  # struct sockaddr_in6


class _Vector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("size", ctypes.c_size_t))


class _Header(ctypes.Structure):
    """struct msghdr."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_size", ctypes.c_uint32),
        ("vectors", ctypes.POINTER(_Vector)),
        ("vector_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_size", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Message(ctypes.Structure):
    """struct mmsghdr."""

    _fields_ = (("header", _Header), ("size", ctypes.c_uint32))


def send(
    made: socket.socket, datagrams: Sequence[tuple[bytes, Sequence[Control]]], where: Address
) -> int:
    """Send datagrams, each with its control messages, to one address; return how many went.

    Raises:
        OSError: the first one was refused.
    """
    name = _packed(made.family, where)
    names = [ctypes.create_string_buffer(name, len(name)) for _ in datagrams]
    contents = [ctypes.create_string_buffer(content, len(content)) for content, _ in datagrams]
    controls = [_control(entries) for _, entries in datagrams]
    messages = _messages(names, contents)
    for message, control in zip(messages, controls, strict=True):
        message.header.control = ctypes.addressof(control)
        message.header.control_size = len(control)
    return _call("sendmmsg", made, messages, 0)


def receive(made: socket.socket, count: int) -> list[tuple[bytes, Address]]:
    """Return as many datagrams as are there, up to `count` and at least one, and whence they came.

    A time limit of the socket's is not heeded: make sure that one comes.
    """
    names = [ctypes.create_string_buffer(_NAME_ROOM) for _ in range(count)]
    contents = [ctypes.create_string_buffer(512) for _ in range(count)]
    messages = _messages(names, contents)
    made.settimeout(None)
    number = _call("recvmmsg", made, messages, _WAIT_FOR_ONE, None)
    return [
        (content.raw[: message.size], _unpacked(name.raw))
        for name, content, message in zip(names, contents, messages[:number], strict=False)
    ]


def _messages(
    names: Sequence[ctypes.Array[ctypes.c_char]], contents: Sequence[ctypes.Array[ctypes.c_char]]
) -> ctypes.Array[_Message]:
    vectors = [_Vector(ctypes.addressof(content), len(content)) for content in contents]
    return (_Message * len(names))(
        *(
            _Message(_Header(ctypes.addressof(name), len(name), ctypes.pointer(vector), 1))
            for name, vector in zip(names, vectors, strict=True)
        )
    )


def _call(
    name: str, made: socket.socket, messages: ctypes.Array[_Message], flags: int, *rest: None
) -> int:
    done: int = _libc[name](made.fileno(), messages, len(messages), flags, *rest)
    if done < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")
    return done


def _control(entries: Sequence[Control]) -> ctypes.Array[ctypes.c_char]:
    """Return control messages as the kernel reads them, each aligned to a long."""
    header = struct.Struct("@Nii")
    packed = b""
    for level, kind, data in entries:
        packed += header.pack(header.size + len(data), level, kind) + data
        packed += bytes(-len(packed) % struct.calcsize("@N"))
    return ctypes.create_string_buffer(packed, len(packed))


def _packed(family: int, where: Address) -> bytes:
    """Return struct sockaddr_in or sockaddr_in6."""
    address = socket.inet_pton(family, where[0])
    if family == socket.AF_INET:
        return struct.pack("=H2s4s8x", family, where[1].to_bytes(2, "big"), address)
    return struct.pack("=H2s4x16s4x", family, where[1].to_bytes(2, "big"), address)


def _unpacked(name: bytes) -> Address:
    family = int.from_bytes(name[:2], "little")
    start, size = (4, 4) if family == socket.AF_INET else (8, 16)
    return socket.inet_ntop(family, name[start : start + size]), int.from_bytes(name[2:4], "big")
