"""Delay, loss and reordering in a router's namespace, by a TUN device whose other end is a thread of ours.

Not by netem, which not every host's kernel has: packets that come in by the chosen interfaces are
routed into the TUN device, kept as long as told, and written back, from where the router forwards
them as ever (each hop limit is one less). Only what is forwarded is concerned, not what the router
itself sends or is sent.

The device lives as long as our descriptor: with our process it goes, and packets take the ordinary
way again. Sources: linux/if_tun.h; ip-rule(8).
"""

from __future__ import annotations

import fcntl
import heapq
import os
import random
import select
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from testbed.drivers import namespace, process

_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_DEVICE = "impaired"
_TABLE, _PREFERENCE = "4242", "100"
_LARGEST = 65535


@dataclass(frozen=True, slots=True)
class Impairment:
    """What happens to each packet: kept for `delay_s`; lost or kept `late_s` longer by chance."""

    delay_s: float = 0.0
    loss: float = 0.0
    late: float = 0.0
    late_s: float = 0.05
    seed: int = 0


@dataclass
class Passed:
    """What has become of packets so far."""

    passed: int = 0
    lost: int = 0
    late: int = 0


@dataclass
class _Forwarder:
    """The thread at the other end of the TUN device."""

    device: int
    impairment: Impairment
    counts: Passed = field(default_factory=Passed)
    _waiting: list[tuple[float, int, bytes]] = field(default_factory=list)
    _number: int = 0

    def run(self, wake: int) -> None:
        """Forward until `wake` is readable; then what waits goes at once."""
        chance = random.Random(self.impairment.seed)  # noqa: S311 - no secret
        while True:
            next_s = self._waiting[0][0] - time.monotonic() if self._waiting else None
            timeout_s = None if next_s is None else max(0.0, next_s)
            ready, _, _ = select.select([self.device, wake], [], [], timeout_s)
            if wake in ready:
                break
            if self.device in ready:
                self._take(os.read(self.device, _LARGEST), chance)
            self._send(time.monotonic())
        self._send(float("inf"))

    def _take(self, packet: bytes, chance: random.Random) -> None:
        due_s = time.monotonic() + self.impairment.delay_s
        if chance.random() < self.impairment.loss:
            self.counts.lost += 1
            return
        if chance.random() < self.impairment.late:
            self.counts.late += 1
            due_s += self.impairment.late_s
        self._number += 1
        heapq.heappush(self._waiting, (due_s, self._number, packet))

    def _send(self, now_s: float) -> None:
        while self._waiting and self._waiting[0][0] <= now_s:
            packet = heapq.heappop(self._waiting)[2]
            with suppress(OSError):  # what the router would not take is lost, as on any line
                os.write(self.device, packet)
            self.counts.passed += 1


@contextmanager
def impaired(netns: str, interfaces: Sequence[str], impairment: Impairment) -> Iterator[Passed]:
    """Impair what the router in `netns` forwards from `interfaces` while the block lasts."""
    remove_rules(netns, interfaces)  # of a process that was killed
    device = namespace.run_inside(netns, _open_device)
    reading, writing = os.pipe()
    forwarder = _Forwarder(device, impairment)
    thread = threading.Thread(target=forwarder.run, args=(reading,), name="impairment", daemon=True)
    try:
        _ip(netns, "link", "set", _DEVICE, "up")
        for family in ("-4", "-6"):
            _ip(netns, family, "route", "add", "default", "dev", _DEVICE, "table", _TABLE)
            for interface in interfaces:
                _ip(netns, family, "rule", "add", *_rule(interface))
        thread.start()
        yield forwarder.counts
    finally:
        remove_rules(netns, interfaces)
        if thread.ident is not None:
            os.write(writing, b"x")
            thread.join()
        for handle in (device, reading, writing):
            os.close(handle)


def remove_rules(netns: str, interfaces: Sequence[str]) -> None:
    """Remove the rules that lead into the device. None there is fine."""
    for family in ("-4", "-6"):
        for interface in interfaces:
            _ip(netns, family, "rule", "del", *_rule(interface), check=False)


def _rule(interface: str) -> tuple[str, ...]:
    return ("iif", interface, "lookup", _TABLE, "pref", _PREFERENCE)


def _open_device() -> int:
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    try:
        request = struct.pack("16sH22x", _DEVICE.encode(), _IFF_TUN | _IFF_NO_PI)
        fcntl.ioctl(device, _TUNSETIFF, request)
    except OSError:
        os.close(device)
        raise
    return device


def _ip(netns: str, *arguments: str, check: bool = True) -> None:
    process.run(["ip", "-n", netns, *arguments], check=check)
