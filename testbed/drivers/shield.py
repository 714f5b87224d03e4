"""Keeps the host's own network stack off a link that guests share.

An interface without an address is no wall: Linux takes IPv4 packets for any of its addresses on any
link, and answers ARP for them (ip-sysctl.rst, arp_ignore). So root in a guest could speak to the
host's services by the MAC of its tap. A classifier at the link's ingress marks every frame as
somebody else's (PACKET_OTHERHOST): the host's IPv4, IPv6 and ARP drop it. macvlan legs, which set
the mark anew for what they take, and packet sockets, which come first, see all as before. It is
part of the link and goes with it: there is nothing to remove.
Sources: bpf(2), bpf-helpers(7) bpf_skb_change_type, tc-bpf(8), net/core/dev.c and macvlan.c.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from testbed.drivers import namespace
from testbed.errors import ResourceError

NAME = "testbed-shield"
_INGRESS = 0xFFFFFFF2
_BPF_SYSCALL = {"x86_64": 321, "aarch64": 280}
_PROG_LOAD, _SCHED_CLS = 5, 3
_OTHERHOST, _CHANGE_TYPE = 3, 32


def _step(code: int, register: int = 0, value: int = 0) -> bytes:
    return struct.pack("=BBhi", code, register, 0, value)


_PROGRAM = (
    _step(0xB7, 2, _OTHERHOST)  # r2 = PACKET_OTHERHOST; r1 is the frame
    + _step(0x85, 0, _CHANGE_TYPE)  # bpf_skb_change_type(r1, r2)
    + _step(0xB7, 0, 0)  # return TC_ACT_OK
    + _step(0x95)
)


def shield(netlink: IPRoute, index: int) -> None:
    """Keep the host off the link of that index. Shielded already is fine.

    Raises:
        ResourceError: when the kernel has no classifier of that kind.
    """
    if _is_shielded(netlink, index):
        return
    handle = _load()
    try:
        if not any(q.get_attr("TCA_KIND") == "clsact" for q in netlink.get_qdiscs(index=index)):
            netlink.tc("add", "clsact", index)
        options: dict[str, Any] = {"fd": handle, "name": NAME, "direct_action": True}
        netlink.tc("add-filter", "bpf", index, parent=_INGRESS, classid=1, **options)
    except NetlinkError as error:
        raise ResourceError(
            f"the host cannot be kept off its tap: {error}",
            hint="modprobe sch_ingress cls_bpf (CONFIG_NET_SCH_INGRESS, CONFIG_NET_CLS_BPF)",
        ) from error
    finally:
        os.close(handle)


def try_shield() -> str:
    """Try it on a link that vanishes at once; return what is wrong, empty when it works."""

    def attempt() -> str:
        with IPRoute() as netlink:
            netlink.link("add", ifname="probe-veth", kind="veth", peer="probe-peer")
            try:
                shield(netlink, netlink.link_lookup(ifname="probe-veth")[0])
            except ResourceError as error:
                return error.message
        return ""

    return namespace.run_in_passing(attempt)


def _is_shielded(netlink: IPRoute, index: int) -> bool:
    for found in netlink.get_filters(index=index, parent=_INGRESS):
        options = found.get_attr("TCA_OPTIONS")
        if options is not None and NAME in str(options.get_attr("TCA_BPF_NAME")):
            return True
    return False


def _load() -> int:
    """Load the program and return its descriptor."""
    program = ctypes.create_string_buffer(_PROGRAM, len(_PROGRAM))
    licence = ctypes.create_string_buffer(b"Dual BSD/GPL")
    attributes = struct.pack(
        "=IIQQIIQI",
        *(_SCHED_CLS, len(_PROGRAM) // 8),
        *(ctypes.addressof(program), ctypes.addressof(licence)),
        *(0, 0, 0, 0),  # no log of the verifier's, no particular kernel
    )
    buffer = ctypes.create_string_buffer(attributes, 128)
    libc = ctypes.CDLL(None, use_errno=True)
    number = _BPF_SYSCALL.get(platform.machine())
    if number is None:
        raise ResourceError(f"bpf(2) has no known number on {platform.machine()}")
    handle = int(libc.syscall(number, _PROG_LOAD, buffer, len(attributes)))
    if handle < 0:
        reason = os.strerror(ctypes.get_errno())
        raise ResourceError(
            f"the host cannot be kept off its tap: bpf: {reason}",
            hint="the kernel must allow root bpf(2) with CONFIG_BPF_SYSCALL",
        )
    return handle
