"""What the VM's management network lets out: QEMU's own network code, without a machine.

A hub joins it with a socket on which the test plays the guest, frame by frame. The same frames with
`restrict=off` are the control: they do reach a service on the host's loopback.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import ARP, Ether

from testbed.drivers.process import Talking
from testbed.sut import qemu
from testbed.tests.sut.test_qemu import WIRING

pytestmark = pytest.mark.vm

GUEST = qemu.MANAGEMENT
GATEWAY = str(GUEST.network[2])  # QEMU's choice: in there, the host's loopback
MAC = "52:54:00:f1:b0:01"
WORD = b"out of the guest"


@contextmanager
def management_network(folder: Path, restrict: str) -> Iterator[socket.socket]:
    """Yield a socket that is the guest's end of its wire."""
    free = replace(WIRING, ssh_address=WIRING.ssh_address + 99)
    argv = qemu.wiring_arguments(free)
    user = next(v for o, v in pairwise(argv) if o == "-netdev" and v.startswith("user,"))
    user = user.replace("restrict=on", f"restrict={restrict}")
    ends = f"local.type=unix,local.path={folder}/qemu,remote.type=unix,remote.path={folder}/guest"
    # fmt: off
    argv = [
        qemu.BINARY, "-machine", "none", "-nodefaults", "-display", "none",
        "-netdev", user, "-netdev", "hubport,id=a,hubid=1,netdev=management",
        "-netdev", f"dgram,id=wire,{ends}", "-netdev", "hubport,id=b,hubid=1,netdev=wire",
        "-chardev", "stdio,id=told", "-mon", "chardev=told",
    ]
    # fmt: on
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as guest:
        guest.bind(f"{folder}/guest")
        guest.settimeout(20)
        running = Talking(argv, {})
        try:
            assert "QEMU" in next(iter(running.lines()))  # it is there
            guest.connect(f"{folder}/qemu")
            yield guest
        finally:
            running.kill()


def answer(guest: socket.socket, question: Ether) -> Ether:
    """Send a frame and return the first that comes for us."""
    guest.send(bytes(question))
    while True:
        frame = Ether(guest.recv(2048))
        if frame.dst == MAC:
            return frame


@pytest.mark.parametrize(("restrict", "heard"), [("on", []), ("off", [WORD])])
def test_a_guest_reaches_nothing_of_the_host(
    tmp_path: Path, restrict: str, heard: list[bytes]
) -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as service,
        management_network(tmp_path, restrict) as guest,
    ):
        service.bind(("127.0.0.1", 0))
        ask = ARP(hwsrc=MAC, psrc=str(GUEST.ip), pdst=GATEWAY)
        told = answer(guest, Ether(src=MAC, dst="ff:ff:ff:ff:ff:ff") / ask)
        assert told[ARP].psrc == GATEWAY
        to_gateway = Ether(src=MAC, dst=told[ARP].hwsrc) / IP(src=str(GUEST.ip), dst=GATEWAY)
        port = service.getsockname()[1]
        guest.send(bytes(to_gateway / UDP(sport=9, dport=port) / WORD))
        # When the next frame is answered, the datagram was delivered or dropped.
        answer(guest, Ether(src=MAC, dst="ff:ff:ff:ff:ff:ff") / ask)
        service.settimeout(0)
        received = []
        with suppress(BlockingIOError):
            while True:
                received.append(service.recv(2048))
        assert received == heard
