"""Pinned eBPF maps through bpf(2) itself, standard library only.

Mirrors bpf/shared.h: integers in host byte order, addresses and MACs as on the wire.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

ROOT: Final = Path("/sys/fs/bpf/fib")
MAPS: Final = ROOT / "v1"
LINKS: Final = ROOT / "links"

OF_INTERFACE: Final = 0xFFFFFFFF
"""Value of an own address that follows the interface FIB; also "any FIB" of a router."""

HAS_IPV4, HAS_IPV6, HAS_ROUTERS = 1, 2, 4
STRICT_MAC, GUARD_OFF, THREAD_LEAK, ACTIVE, POLICIES, WORKER_LEAK = 1, 2, 4, 8, 16, 32
ACCEPT_SETS_THREAD, JAIL = 1, 2

DROPS: Final = (
    "hairpin",
    "sender",
    "foreign-icmp",
    "malformed",
    "guard-source",
    "guard-router",
    "guard-no-fib",
    "interface",
    "only",
)
"""Names of the drop counters, in the order of enum fib_drop."""

_BPF = {"x86_64": 321, "aarch64": 280}[platform.machine()]
_LOOKUP, _UPDATE, _DELETE, _NEXT, _OBJ_GET = 1, 2, 3, 4, 7
_LOOKUP_BATCH, _UPDATE_BATCH, _DELETE_BATCH = 24, 26, 27
_BATCH = struct.Struct("=QQQQIIQQ")  # in, out, keys, values, count, descriptor, two flags
_BATCH_ENTRIES = 8192
_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def _bpf(command: int, attributes: bytes) -> int:
    return call(command, ctypes.create_string_buffer(attributes, len(attributes)))


def call(command: int, buffer: ctypes.Array[ctypes.c_char]) -> int:
    """Make a bpf(2) call; the kernel may answer in its attributes, the `buffer`.

    Raises:
        OSError: the kernel refuses.
    """
    result = _libc.syscall(_BPF, command, buffer, len(buffer))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return int(result)


class BpfMap:
    """A pinned map opened by name; close it, or use it as a context manager.

    `values` is how many values an entry holds: one for each possible CPU in a per-CPU map.
    """

    def __init__(self, name: str, key_bytes: int, value_bytes: int, values: int = 1) -> None:
        path = ctypes.create_string_buffer(os.fsencode(MAPS / name))
        self._sizes = key_bytes, value_bytes
        self._key = ctypes.create_string_buffer(key_bytes)
        self._next = ctypes.create_string_buffer(key_bytes)
        self._value = ctypes.create_string_buffer(value_bytes * values)
        self._path = path
        self._fd = _bpf(_OBJ_GET, struct.pack("=QII", ctypes.addressof(path), 0, 0))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the map's descriptor."""
        os.close(self._fd)

    def _element(self, flags: int = 0) -> bytes:
        return struct.pack(
            "=IxxxxQQQ", self._fd, ctypes.addressof(self._key), ctypes.addressof(self._value), flags
        )

    def get(self, key: bytes) -> bytes | None:
        """Return the value of `key`, or nothing."""
        self._key.raw = key
        try:
            _bpf(_LOOKUP, self._element())
        except OSError as error:
            if error.errno == errno.ENOENT:
                return None
            raise
        return self._value.raw

    def put(self, key: bytes, value: bytes) -> None:
        """Set `key` to `value`."""
        self._key.raw = key
        self._value.raw = value
        _bpf(_UPDATE, self._element())

    def discard(self, key: bytes) -> None:
        """Remove `key` if it is there."""
        self._key.raw = key
        try:
            # The kernel refuses a deletion that names a value.
            _bpf(_DELETE, struct.pack("=IxxxxQQQ", self._fd, ctypes.addressof(self._key), 0, 0))
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise

    def keys(self) -> Iterator[bytes]:
        """Yield every key; do not change the map meanwhile."""
        current = 0
        while True:
            try:
                _bpf(
                    _NEXT,
                    struct.pack("=IxxxxQQQ", self._fd, current, ctypes.addressof(self._next), 0),
                )
            except OSError as error:
                if error.errno == errno.ENOENT:
                    return
                raise
            key = self._next.raw
            self._key.raw = key
            current = ctypes.addressof(self._key)
            yield key
            self._key.raw = key

    def items(self) -> dict[bytes, bytes]:
        """Return the whole content of a map whose entries hold one value."""
        key_bytes, value_bytes = self._sizes
        keys = ctypes.create_string_buffer(key_bytes * _BATCH_ENTRIES)
        values = ctypes.create_string_buffer(value_bytes * _BATCH_ENTRIES)
        position = ctypes.create_string_buffer(max(key_bytes, 4))  # the kernel's place to go on at
        found: dict[bytes, bytes] = {}
        start = 0
        while True:
            count, is_last = self._batch(
                _LOOKUP_BATCH,
                keys,
                values,
                _BATCH_ENTRIES,
                start=start,
                end=ctypes.addressof(position),
            )
            found |= zip(
                _split(keys.raw, key_bytes, count),
                _split(values.raw, value_bytes, count),
                strict=True,
            )
            if is_last:
                return found
            start = ctypes.addressof(position)

    def put_all(self, entries: dict[bytes, bytes]) -> None:
        """Set every key to its value."""
        if entries:
            keys = ctypes.create_string_buffer(b"".join(entries), len(entries) * self._sizes[0])
            values = b"".join(entries.values())
            buffer = ctypes.create_string_buffer(values, len(values))
            self._batch(_UPDATE_BATCH, keys, buffer, len(entries))

    def discard_all(self, keys: Iterable[bytes]) -> None:
        """Remove those keys that are there."""
        for key in keys:  # a batch would end at the first that is gone
            self.discard(key)

    def _batch(
        self, command: int, keys: Any, values: Any, count: int, *, start: int = 0, end: int = 0
    ) -> tuple[int, bool]:
        """Run a batch command; return how many entries it did, and whether there are no more."""
        attributes = ctypes.create_string_buffer(
            _BATCH.pack(
                *(start, end, ctypes.addressof(keys), ctypes.addressof(values)),
                *(count, self._fd, 0, 0),
            ),
            _BATCH.size,
        )
        result = _libc.syscall(_BPF, command, attributes, _BATCH.size)
        code = ctypes.get_errno() if result < 0 else 0
        if code not in {0, errno.ENOENT}:
            raise OSError(code, os.strerror(code))
        return int(_BATCH.unpack(attributes.raw)[4]), code == errno.ENOENT


def _split(data: bytes, size: int, count: int) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, size * count, size))


def address_map() -> BpfMap:
    """Own address (mapped to 16 bytes) -> FIB."""
    return BpfMap("fib_addr", 16, 4)


def state_map() -> BpfMap:
    """FIB -> flags of what it has, preferred addresses."""
    return BpfMap("fib_states", 4, 36)


def router_map() -> BpfMap:
    """(FIB, MAC) of neighbours."""
    return BpfMap("fib_routers", 12, 4)


def resolver_map() -> BpfMap:
    """(FIB, family) -> the address that the virtual resolver stands for."""
    return BpfMap("fib_resolvers", 8, 16)


def policy_map() -> BpfMap:
    """Cgroup id -> flags."""
    return BpfMap("fib_policies", 8, 4)


def permit_map() -> BpfMap:
    """(Jailed cgroup, FIB) -> 1."""
    return BpfMap("fib_allowed", 16, 4)


CONFIGURED: Final = (state_map, router_map, resolver_map, address_map)
"""What `fibctl apply` fills, an address after everything that it leads to."""


class Config(NamedTuple):
    """The one entry of fib_config; virtual resolvers as 16 bytes, all zero: none."""

    interface_fib: int
    flags: int
    resolver_ipv4: bytes = bytes(16)
    resolver_ipv6: bytes = bytes(16)


_CONFIG = struct.Struct("=II16s16s")


def read_config() -> Config:
    """Return the settings."""
    with BpfMap("fib_config", 4, _CONFIG.size) as config:
        return Config(*_CONFIG.unpack(config.get(bytes(4)) or bytes(_CONFIG.size)))


def write_config(wanted: Config) -> None:
    """Set the settings."""
    with BpfMap("fib_config", 4, _CONFIG.size) as config:
        config.put(bytes(4), _CONFIG.pack(*wanted))


def set_flag(flag: int, *, on: bool) -> None:
    """Set or clear one flag of the settings."""
    config = read_config()
    write_config(config._replace(flags=config.flags | flag if on else config.flags & ~flag))


def read_drops() -> dict[str, int]:
    """Return the drop counters by name, summed over CPUs."""
    cpus = _possible_cpus()
    with BpfMap("fib_counters", 4, 8, cpus) as drops:
        return {
            name: sum(struct.unpack(f"={cpus}Q", drops.get(struct.pack("=I", index)) or b""))
            for index, name in enumerate(DROPS)
        }


def _possible_cpus() -> int:
    """Size of a per-CPU value: the kernel's possible CPUs, which may be more than are on line."""
    last = Path("/sys/devices/system/cpu/possible").read_text("ascii").strip().split("-")[-1]
    return int(last.split(",")[-1]) + 1
