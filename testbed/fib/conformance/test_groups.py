"""Row 51, pitfall P25: groups, broadcast and link-local addresses are FIB 0's alone."""

from __future__ import annotations

import contextlib
import errno
import json
import socket
import struct
import time

from . import lab, packet
from .case import Case, fib_socket
from .test_guards import SO_BINDTODEVICE
from .test_sockets import DGRAM, STREAM, wildcard

FOUR, SIX = socket.AF_INET, socket.AF_INET6
GROUP = {FOUR: "224.0.0.251", SIX: "ff02::fb"}
ROUTER_ON_LINK = "fe80::fb:ff:fe00:1"
"""What tenant 1's router makes of its MAC."""


def join(made: socket.socket) -> None:
    """Let a socket hear the group on the FIBs' interface."""
    index = socket.if_nametoindex(lab.NIC)
    if made.family == FOUR:
        member = socket.inet_aton(GROUP[FOUR]) + struct.pack("=4xi", index)
        made.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
    else:
        member = socket.inet_pton(SIX, GROUP[SIX]) + struct.pack("=i", index)
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, member)


def own_link_address() -> str:
    """Return the link-local address of the FIBs' interface."""
    shown = json.loads(lab.run("ip", "-6", "-j", "addr", "show", "dev", lab.NIC, "scope", "link"))
    return str(next(a["local"] for link in shown for a in link.get("addr_info", []) if a))


class Groups(Case):
    def test_row_51_and_p25_a_fib_sends_to_no_group(self) -> None:
        targets = ((FOUR, GROUP[FOUR]), (FOUR, "255.255.255.255"), (SIX, GROUP[SIX]))
        for family, target in targets:
            for bound in (False, True):
                with self.subTest(target=target, bound=bound), contextlib.ExitStack() as stack:
                    captures = [stack.enter_context(lab.Capture(t)) for t in lab.TENANTS]
                    made = stack.enter_context(fib_socket(1, family, DGRAM))
                    made.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
                    if bound:
                        made.setsockopt(socket.SOL_SOCKET, SO_BINDTODEVICE, lab.NIC.encode())
                    scope = (0, socket.if_nametoindex(lab.NIC)) if family == SIX else ()
                    with contextlib.suppress(OSError):
                        made.sendto(b"group", (target, 9, *scope))
                    time.sleep(lab.QUIET_S)
                    for capture in captures:
                        self.assertFalse([p for p in capture.packets() if b"group" in p])

    def test_row_51_and_p25_a_group_is_heard_by_fib_0(self) -> None:
        for family in self.families():
            with (
                self.subTest(family=family),
                wildcard(family, DGRAM) as everyone,
                fib_socket(1, family, DGRAM) as own,
            ):
                own.bind(("", 5000))
                own.settimeout(lab.QUIET_S)
                join(everyone)
                frame = packet.udp(lab.CLIENT[family], GROUP[family], (40000, 5000), b"g")
                lab.send_frame(1, frame)
                self.assertEqual(everyone.recv(9), b"g")
                with self.assertRaises(TimeoutError):
                    own.recv(9)

    def test_row_51_and_p25_what_comes_for_all_is_not_heard_in_a_fib(self) -> None:
        """However the socket was bound; the control is the same socket of FIB 0."""
        for family in self.families():
            for target in self.targets(family):
                for is_named in (True, False):
                    with self.subTest(target=target, is_named=is_named):
                        heard = [self.hears(n, family, target, is_named) for n in (0, 1, 3)]
                        self.assertEqual(heard, [True, False, False])

    def targets(self, family: socket.AddressFamily) -> tuple[str, ...]:
        if family == FOUR:
            return (GROUP[FOUR], "255.255.255.255")
        return (GROUP[SIX], own_link_address())

    def hears(
        self,
        number: int,
        family: socket.AddressFamily,
        target: str,
        is_named: bool,  # noqa: FBT001 - one of two ways to bind
    ) -> bool:
        """Whether a socket of a FIB hears what tenant 2 sends to an address of all."""
        scope = (0, socket.if_nametoindex(lab.NIC)) if family == SIX else ()
        with fib_socket(number, family, DGRAM) as made:
            if target == GROUP[family]:
                join(made)
            if is_named:
                made.bind((target, 0, *scope))
            else:  # the kernel binds it when it sends; that needs no answer, nor to succeed
                with contextlib.suppress(OSError):
                    made.sendto(b"x", (lab.CLIENT[family], 9))
            made.settimeout(lab.QUIET_S)
            ports = (40000, made.getsockname()[1])
            lab.send_frame(2, packet.udp(lab.CLIENT[family], target, ports, b"g"))
            try:
                return made.recv(9) == b"g"
            except TimeoutError:
                return False

    def test_row_51_a_fib_has_no_way_to_a_link_local_address(self) -> None:
        scope = (0, socket.if_nametoindex(lab.NIC))
        for kind in (STREAM, DGRAM):
            for number in (1, 2):
                with fib_socket(number, SIX, kind) as made, self.refused(errno.ENETUNREACH):
                    made.connect((ROUTER_ON_LINK, 9, *scope))
        # FIB 0 has a way, but not to the tenants' routers: the guard knows them.
        with fib_socket(0, SIX, DGRAM) as made, self.counted(guard_router=1):
            made.sendto(b"x", (ROUTER_ON_LINK, 9, *scope))
