"""Answers the host on the second serial port: puts a started or restored SUT in order.

A restored VM has the clock and the randomness of the moment it was saved. Both are set here, before
any ssh connection draws its keys from them. One JSON object a line, each way; a request's "id" comes
back in its answer. On the serial port because it needs no network, no driver and no time to open.

Shipped into the guest as one file: it imports nothing but Python's own library.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import struct
import sys
import time
import traceback
import tty
from pathlib import Path
from typing import Any

PORT = "/dev/ttyS1"
MARK = Path("/run/testbed/mark")

# linux/random.h: _IOW('R', 0x03, int[2]) and _IO('R', 0x07)
_RNDADDENTROPY = 0x40085203
_RNDRESEEDCRNG = 0x5207
# linux/sockios.h, linux/if.h, linux/if_arp.h
_SIOCGIFFLAGS = 0x8913
_SIOCSIFFLAGS = 0x8914
_SIOCSIFNAME = 0x8923
_SIOCSIFHWADDR = 0x8924
_IFF_UP = 1
_ARPHRD_ETHER = 1
# net/tcp_states.h, as /proc/net/tcp shows them; 0016 is ssh's port
_TIME_WAIT, _LISTEN = "06", "0A"
_SSH = ":0016"


def main() -> int:
    """Answer requests for ever; a serial port has no end."""
    handle = os.open(PORT, os.O_RDWR | os.O_NOCTTY)
    tty.setraw(handle)
    with os.fdopen(handle, "rb") as lines:
        os.write(handle, b'\n{"ready": true}\n')
        for line in lines:
            # An empty line only ends what a client that was killed left unfinished.
            if line.strip():
                os.write(handle, answer(line).encode() + b"\n")
    return 1  # init starts us again


def answer(line: bytes) -> str:
    """Return the answer to a request: its id, and what it led to or the error's traceback."""
    number = None
    reply: dict[str, Any]
    try:
        request = json.loads(line)
        number = request.get("id")
        _obey(request)
        reply = {"id": number, "logins": _count_logins(), "time": time.time()}
    except Exception:  # noqa: BLE001 - an agent's loop: whatever it was, the host wants to read it
        reply = {"id": number, "error": traceback.format_exc()}
    return json.dumps(reply)


def _obey(request: dict[str, Any]) -> None:
    """Do what `request` asks for. The mark comes last: where it is, all the rest was done."""
    if "time" in request:
        # First of all, since the host's clock goes on meanwhile.
        time.clock_settime(time.CLOCK_REALTIME, request["time"])
    if "seed" in request:
        _reseed(bytes.fromhex(request["seed"]))
    if "nic" in request:
        _set_nic(request["nic"]["name"], request["nic"]["mac"])
    if "mark" in request:
        MARK.parent.mkdir(exist_ok=True)
        MARK.write_text(json.dumps(request["mark"]) + "\n", encoding="utf-8")


def _reseed(seed: bytes) -> None:
    """Mix `seed` into the kernel's pool, credit it, and make the generator start anew from it."""
    header = struct.pack("ii", len(seed) * 8, len(seed))
    with Path("/dev/urandom").open("wb", buffering=0) as device:
        fcntl.ioctl(device, _RNDADDENTROPY, header + seed)
        fcntl.ioctl(device, _RNDRESEEDCRNG)


def _set_nic(name: str, mac: str) -> None:
    """Give the data NIC its deployment's MAC, and its name if that is not eth0."""
    address = bytes.fromhex(mac.replace(":", ""))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        present = name if name in [entry for _, entry in socket.if_nameindex()] else "eth0"
        asked = fcntl.ioctl(any_socket, _SIOCGIFFLAGS, struct.pack("16s24x", present.encode()))
        (flags,) = struct.unpack("16xH22x", asked)
        # Down meanwhile: a name can only be changed then, and the link-local address made from the
        # MAC goes and comes with the link.
        _set_flags(any_socket, present, flags & ~_IFF_UP)
        if name != present:
            renaming = struct.pack("16s16s8x", present.encode(), name.encode())
            fcntl.ioctl(any_socket, _SIOCSIFNAME, renaming)
        addressing = struct.pack("16sH6s16x", name.encode(), _ARPHRD_ETHER, address)
        fcntl.ioctl(any_socket, _SIOCSIFHWADDR, addressing)
        _set_flags(any_socket, name, flags)


def _set_flags(any_socket: socket.socket, name: str, flags: int) -> None:
    fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH22x", name.encode(), flags))


def _count_logins() -> int:
    """Return how many ssh connections there are."""
    rows = Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]
    states = [row.split()[3] for row in rows if row.split()[1].endswith(_SSH)]
    return sum(state not in (_TIME_WAIT, _LISTEN) for state in states)


if __name__ == "__main__":
    sys.exit(main())
