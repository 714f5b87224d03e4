"""Addresses that somebody adds or removes by hand: seen at once, refused, and told (row 39).

The data path does not wait for this: the FIB of an address is what fibctl has put into the map, and
a packet that came by another interface is not heard (bpf/hear.bpf.c). But the kernel would believe
that the address is there, give FIB 0 routes for it and choose it as a source; so it goes again.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable
from typing import NamedTuple

from . import bpfmap, store
from .address import Address
from .apply import locked
from .desired import map_key
from .entries import AddressEvent
from .netlink import Rtnetlink

Say = Callable[[dict[str, str]], None]


class Seen(NamedTuple):
    """An address that came or went, and where."""

    interface: str
    event: AddressEvent


def watch(say: Say) -> None:
    """Watch until interrupted, or everything is taken off.

    `say` is told each alarm, with `address`, `interface`, `alarm`.
    """
    with Rtnetlink(0) as listening:
        listening.follow_addresses()
        judge(listening.address_events_of_all(), say)
        while store.exists():
            try:
                events = listening.receive_addresses()
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                events = listening.address_events_of_all()  # some were lost: look at all
            judge(events, say)


def judge(events: list[AddressEvent], say: Say) -> None:
    """Refuse what is not fibctl's doing; a change of its own that is under way is waited for."""
    suspects = [event for event in events if not _is_ours(event)]
    if not suspects:
        return
    with locked():
        if store.exists():
            _judge_each(suspects, say)


def _judge_each(suspects: list[AddressEvent], say: Say) -> None:
    with bpfmap.address_map() as owners:
        home = store.interface()
        for event in suspects:
            owner = owners.get(map_key(event.address.address))
            name = _name(event.interface)
            if owner is None or not name or _is_expected(event, name, home):
                continue
            fib = struct.unpack("=I", owner)[0]
            if fib:
                _refuse(Seen(name, event), fib, say)


def _is_ours(event: AddressEvent) -> bool:
    """Whether it looks like what fibctl does on its interface; the interface itself is asked later."""
    return event.is_new and event.is_without_route and event.interface == _home_index()


def _home_index() -> int:
    try:
        return socket.if_nametoindex(store.interface())
    except OSError:
        return 0


def _is_expected(event: AddressEvent, name: str, home: str) -> bool:
    """Whether the map and the interface agree by now."""
    if event.is_new:
        return name == home and event.is_without_route
    if name != home:
        return True  # it was none of ours there
    with Rtnetlink(event.interface) as netlink:
        present = {entry.address for entry in netlink.addresses()}
    return event.address.address in present


def _refuse(seen: Seen, fib: int, say: Say) -> None:
    address = seen.event.address
    text = f"{Address(address.address)}/{address.prefix_length}"
    owner = _owner(fib)
    if not seen.event.is_new:
        alarm = f"removed by hand; it belongs to {owner}: 'fibctl apply' brings it back"
    else:
        with Rtnetlink(seen.event.interface) as netlink:
            netlink.remove({address})
        alarm = f"added by hand, and removed again: it belongs to {owner}"
    say({"address": text, "interface": seen.interface, "alarm": alarm})


def _owner(fib: int) -> str:
    if fib == bpfmap.OF_INTERFACE:
        return "the interface of the FIBs"
    names = {entry["id"]: entry["name"] for entry in store.load()["fibs"]}
    return f"FIB {fib} '{names.get(fib, '')}'"


def _name(index: int) -> str:
    try:
        return socket.if_indextoname(index)
    except OSError:
        return ""  # gone, and its addresses with it
