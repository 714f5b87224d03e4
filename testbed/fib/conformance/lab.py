"""Three tenants in namespaces, all with the client 192.168.0.1 and fd00:c0a8::1.

    fibc0 (this namespace) -- veth -- bridge in fibc-seg -- veth -- fibc-r1 .. fibc-r3

A tenant's namespace is its router and, on the loopback interface, its client.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from .. import apply, bpfmap
from ..failure import EnvironmentFailure

T = TypeVar("T")

NIC: Final = "fibc0"
TENANTS: Final = (1, 2, 3)
FAMILIES: Final = (socket.AF_INET, socket.AF_INET6)
CLIENT: Final = {socket.AF_INET: "192.168.0.1", socket.AF_INET6: "fd00:c0a8::1"}
STRANGER: Final = {socket.AF_INET: "10.64.255.1", socket.AF_INET6: "fd00:64:ffff::1"}
"""An address of the interface that is in no FIB: it follows the interface FIB, 3."""

TIMEOUT_S: Final = 10.0
"""For what comes on a busy host too."""
QUIET_S: Final = 0.3
"""How long nothing must arrive; always after a positive control on the same path."""
SYN_AGAIN_S: Final = 1.0
"""When TCP sends a SYN again (RFC 6298): whom it takes less, the first one served. A bound by the clock
(row 42 names 100 ms) would tell only how busy an emulated CPU is."""

_WATCH: Final = (
    *("--pidfile", "/run/fib/watch.pid", "--output", "/run/fib/watch.log"),
    *("--startas", "/usr/local/bin/fibctl", "--", "watch"),
)
"""How the SUT runs `fibctl watch`, where it does (sut/extension.py)."""

_TENTATIVE = 0x40  # IFA_F_TENTATIVE

_libc = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET = 0x40000000


def server(tenant: int, family: socket.AddressFamily) -> str:
    """S_k: the server's address in a tenant."""
    return f"10.64.0.{8 * tenant - 7}" if family == socket.AF_INET else f"fd00:64:0:{tenant}::1"


def router(tenant: int, family: socket.AddressFamily) -> str:
    """Return the router's address on the uplink."""
    return f"10.64.0.{8 * tenant - 2}" if family == socket.AF_INET else f"fd00:64:0:{tenant}::fe"


def mac(tenant: int) -> str:
    """Return the router's MAC address."""
    return f"02:fb:00:00:00:{tenant:02x}"


def fib_entry(tenant: int) -> dict[str, Any]:
    """Return a tenant's entry of the document."""
    four, six = socket.AF_INET, socket.AF_INET6
    return {
        "id": tenant,
        "name": f"tenant{tenant}",
        "addresses": [f"{server(tenant, four)}/29", f"{server(tenant, six)}/64"],
        "routes": [
            {"to": f"10.64.0.{8 * tenant - 8}/29"},
            {"to": f"fd00:64:0:{tenant}::/64"},
            {"to": "192.168.0.0/24", "via": router(tenant, four)},
            {"to": "fd00:c0a8::/64", "via": router(tenant, six)},
        ],
        "neighbours": [
            {"address": router(tenant, family), "mac": mac(tenant)} for family in FAMILIES
        ],
    }


def document(**changes: Any) -> dict[str, Any]:
    """Return the lab's document with top-level keys changed."""
    return {
        "version": 1,
        "interface": NIC,
        "default_fib": 3,
        "strict_mac": True,
        "unassigned": [f"{STRANGER[socket.AF_INET]}/32", f"{STRANGER[socket.AF_INET6]}/128"],
        "fibs": [fib_entry(tenant) for tenant in TENANTS],
        **changes,
    }


def put(wanted: dict[str, Any]) -> dict[str, object]:
    """Apply a document as fibctl would."""
    return apply.apply_text(json.dumps(wanted))


def run(*argv: str, check: bool = True) -> str:
    """Run a command and return its output."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise AssertionError(f"{argv} failed with {done.returncode}: {done.stderr}")
    return done.stdout


def environment() -> dict[str, str]:
    """Return the environment in which another Python process finds this package."""
    return {**os.environ, "PYTHONPATH": str(Path(apply.__file__).parent.parent)}


@contextlib.contextmanager
def setting(name: str, value: str) -> Iterator[None]:
    """Have a sysctl, by its path below /proc/sys, at a value while the block lasts."""
    path = Path("/proc/sys", name)
    former = path.read_text("ascii")
    path.write_text(value, "ascii")
    try:
        yield
    finally:
        path.write_text(former, "ascii")


@contextlib.contextmanager
def namespace(tenant: int) -> Iterator[None]:
    """Run a block, this thread alone, in a tenant's namespace."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    away = os.open(f"/run/netns/fibc-r{tenant}", os.O_RDONLY)
    try:
        _enter(away)
        yield
    finally:
        _enter(home)
        os.close(home)
        os.close(away)


def _enter(descriptor: int) -> None:
    if _libc.setns(descriptor, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def tenant_socket(
    tenant: int, family: socket.AddressFamily, kind: int, port: int = 0
) -> socket.socket:
    """Return a socket of a tenant's client, bound to its address."""
    with namespace(tenant):
        made = socket.socket(family, kind)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.settimeout(TIMEOUT_S)
    made.bind((CLIENT[family], port))
    return made


def wait_for(condition: Callable[[], T | None], what: str, within_s: float = TIMEOUT_S) -> T:
    """Poll until `condition` returns something true."""
    end = time.monotonic() + within_s
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {within_s} s")
        time.sleep(0.01)


@dataclass
class Capture:
    """IP packets that arrive at a tenant's router, without neighbour discovery."""

    tenant: int
    _socket: socket.socket = field(init=False)

    def __enter__(self) -> Self:
        with namespace(self.tenant):
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self._socket.bind((f"u{self.tenant}", 3))
        self._socket.settimeout(0)
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def packets(self) -> list[bytes]:
        """Return the IP packets from the SUT seen since the last call, oldest first."""
        seen: list[bytes] = []
        while True:
            try:
                frame, where = self._socket.recvfrom(65535)
            except BlockingIOError:
                return seen
            kind = struct.unpack_from("!H", frame, 12)[0]
            if kind == 0x86DD and _is_link_talk(frame[14:]):
                continue
            if where[2] != socket.PACKET_OUTGOING and kind in (0x800, 0x86DD):
                seen.append(frame[14:])


def _is_link_talk(packet: bytes) -> bool:
    """Whether an IPv6 packet is of neighbour or group discovery; the latter's has an option."""
    protocol, start = packet[6], 40
    if protocol == 0:
        protocol, start = packet[40], 48
    return protocol == 58 and 130 <= packet[start] <= 143


def send_frame(tenant: int, packet: bytes, *, source_mac: str | None = None) -> None:
    """Send an IP packet to the SUT as a tenant's router does, or with another MAC."""
    kind = 0x800 if packet[0] >> 4 == 4 else 0x86DD
    nic_mac = bytes.fromhex(Path(f"/sys/class/net/{NIC}/address").read_text().replace(":", ""))
    own = bytes.fromhex((source_mac or mac(tenant)).replace(":", ""))
    with namespace(tenant):
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    with raw:
        raw.bind((f"u{tenant}", 0))
        raw.send(nic_mac + own + struct.pack("!H", kind) + packet)


@contextlib.contextmanager
def one_processor_if_emulated() -> Iterator[None]:
    """Keep this thread and what it starts to one CPU, where QEMU emulates several.

    Before 8.1 QEMU may translate code on one CPU while another patches it, and keep the old for ever
    (accel/tcg locks the pages first since). Programs that are exchanged patch the code of their hooks:
    both CPUs then take text_poke's breakpoint at a hook again and again.
    """
    former = os.sched_getaffinity(0)
    if "QEMU TCG" in Path("/proc/cpuinfo").read_text("ascii"):
        os.sched_setaffinity(0, {min(former)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, former)


@contextlib.contextmanager
def cut_off() -> Iterator[None]:
    """Keep frames away from the interface: routers of earlier tests ask whether its addresses live."""
    wire = ("ip", "-n", "fibc-seg", "link", "set", "wire")
    run(*wire, "nomaster")  # unlike a link that is down, it takes no route away
    try:
        yield
    finally:
        run(*wire, "master", "br0")


def _has_link_local(name: str) -> bool:
    """Whether an interface of this thread's namespace has a link-local address that it may use."""
    rows = Path("/proc/thread-self/net/if_inet6").read_text("ascii").splitlines()
    fields = [row.split() for row in rows]
    return any(
        (scope, device) == ("20", name) and not int(flags, 16) & _TENTATIVE
        for _, _, _, scope, flags, device in fields
    )


def await_link_local() -> None:
    """Wait for what the kernel makes some time after a link is up: FIB 0 has no other source there."""
    wait_for(lambda: _has_link_local(NIC), f"link-local address of {NIC}")
    for tenant in TENANTS:
        with namespace(tenant):
            wait_for(lambda t=tenant: _has_link_local(f"u{t}"), "a router's link-local address")  # type: ignore[misc]


def drops() -> dict[str, int]:
    """Return the drop counters."""
    return bpfmap.read_drops()


class Lab:
    """Makes and removes the namespaces; remembers the document that was in force."""

    def __init__(self) -> None:
        self._former: str | None = None
        self._is_watched = False

    def start(self) -> None:
        """Make everything and apply the lab's document."""
        # The service would refuse what tests do by hand.
        stop = ["start-stop-daemon", "--stop", "--retry", "10", *_WATCH[:2]]
        self._is_watched = not subprocess.run(stop, capture_output=True, check=False).returncode
        with contextlib.suppress(EnvironmentFailure):
            interface = apply.saved_document().interface
            if interface != NIC:  # else a run that was killed has left it
                self._former = apply.saved_text()
            apply.remove_everything(interface)
        self._remove_links()
        run("ip", "netns", "add", "fibc-seg")
        run("ip", "link", "add", NIC, "type", "veth", "peer", "name", "wire", "netns", "fibc-seg")
        segment = ("ip", "-n", "fibc-seg", "link")
        run(*segment, "add", "br0", "type", "bridge")
        run("ip", "netns", "exec", "fibc-seg", "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
        run(*segment, "set", "br0", "up")
        run(*segment, "set", "wire", "master", "br0", "up")
        for tenant in TENANTS:
            self._start_tenant(tenant)
        put(document())  # which brings the link up
        await_link_local()

    def _start_tenant(self, tenant: int) -> None:
        name, leg = f"fibc-r{tenant}", f"u{tenant}"
        run("ip", "netns", "add", name)
        run(
            *("ip", "link", "add", leg, "netns", name, "address", mac(tenant)),
            *("type", "veth", "peer", "name", f"p{tenant}", "netns", "fibc-seg"),
        )
        run("ip", "-n", "fibc-seg", "link", "set", f"p{tenant}", "master", "br0", "up")
        four, six = socket.AF_INET, socket.AF_INET6
        nic_mac = Path(f"/sys/class/net/{NIC}/address").read_text("ascii").strip()
        commands = f"""
            sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
            sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
            sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.{leg}.accept_dad=0
            ip link set lo up
            ip link set {leg} up
            ip addr add {router(tenant, four)}/29 dev {leg}
            ip addr add {router(tenant, six)}/64 dev {leg} nodad
            ip addr add {CLIENT[four]}/32 dev lo
            ip addr add {CLIENT[six]}/128 dev lo nodad
            ip route add 10.64.0.0/16 dev {leg}
            ip route add fd00:64::/32 dev {leg}
            for s in {server(tenant, four)} {server(tenant, six)} {STRANGER[four]} {STRANGER[six]}
            do ip neigh add $s lladdr {nic_mac} dev {leg} nud permanent; done
        """
        run("ip", "netns", "exec", name, "sh", "-ec", commands)

    def stop(self) -> None:
        """Remove everything and bring the former document back."""
        apply.remove_everything(NIC)
        self._remove_links()
        if self._former is not None:
            apply.apply_text(self._former)
        if self._is_watched:
            run("start-stop-daemon", "--start", "--background", "--make-pidfile", *_WATCH)

    def _remove_links(self) -> None:
        run("ip", "link", "del", NIC, check=False)
        for name in ("fibc-seg", *(f"fibc-r{tenant}" for tenant in TENANTS)):
            run("ip", "netns", "del", name, check=False)
