"""The ways to serve tenants with equal networks that are compared, wired up in a VM's kernel.

Clients are sockets at 192.168.0.1 in a namespace of their own, at the other end of a veth pair; the
server's end is `bench0`.
"""

from __future__ import annotations

import ctypes
import fcntl
import gc
import json
import os
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import Process
from pathlib import Path
from typing import Any

from fib.apply import read_present
from fib.change import compare, execute
from fib.desired import build_config, build_desired
from fib.document import parse_document
from fib.entries import Address, Neighbour, Route
from fib.netlink import Rtnetlink

NIC, PEER, CLIENTS, SERVER = "bench0", "peer0", "bench-clients", "bench-server"
NETWORK = "10.64.0.0/12"
MOST_ADDRESSES = 10_000  # on one interface; of more a local route is made
RESOLVER, VIRTUAL = "192.168.0.53", "192.0.2.53"
MAC, PEER_MAC = "02:fe:00:00:00:01", "02:fe:00:00:00:02"
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def run(*argv: str, stdin: str = "") -> str:
    """Run a command; return its output."""
    done = subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{argv[:6]} exited {done.returncode}: {done.stderr[-500:]}")
    return done.stdout


def batch(lines: Iterator[str] | list[str], space: str = "") -> None:
    """Run ip(8) over `lines`, in one process."""
    run("ip", *(["-n", space] if space else []), "-batch", "-", stdin="\n".join(lines) + "\n")


def server(tenant: int) -> str:
    """Return the server address of a tenant, counted from 1."""
    return str_of(8 * (tenant - 1) + 1)


def router(tenant: int) -> str:
    """Return the next hop to a tenant's network, which is outside NETWORK."""
    return str_of((1 << 20) + 8 * (tenant - 1))


def str_of(offset: int) -> str:
    """Return the address at `offset` from NETWORK's first."""
    return socket.inet_ntoa(struct.pack("!I", 0x0A400000 + offset))


def leg_mac(tenant: int) -> str:
    """Return the MAC of a tenant's own leg, in the variants that need one each."""
    return f"02:fd:00:{tenant >> 16:02x}:{tenant >> 8 & 255:02x}:{tenant & 255:02x}"


@contextmanager
def inside(name: str) -> Iterator[None]:
    """Be in the namespace `name` meanwhile."""
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    away = os.open(f"/run/netns/{name}", os.O_RDONLY)
    try:
        if _libc.setns(away, _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
        yield
    finally:
        _libc.setns(home, _CLONE_NEWNET)
        os.close(home)
        os.close(away)


def fibs(tenants: Sequence[int]) -> list[str]:
    """Make the FIB extensions serve them, and all before them."""
    apply([entry(k, [k]) for k in range(1, tenants[-1] + 1)])
    return []


def one_fib(tenants: Sequence[int]) -> list[str]:
    """Give one FIB the addresses of all: what so many addresses cost, without their FIBs."""
    apply([entry(1, range(1, tenants[-1] + 1))])
    return []


def entry(fib: int, tenants: Sequence[int]) -> dict[str, Any]:
    """Return a FIB that has the addresses of `tenants`, and the router of that number."""
    return {
        "id": fib,
        "name": f"t{fib}",
        "addresses": [f"{server(k)}/32" for k in tenants],
        "routes": [
            {"to": f"{router(fib)}/32"},
            {"to": "192.168.0.0/24", "via": router(fib)},
        ],
        "neighbours": [{"address": router(fib), "mac": PEER_MAC}],
        "resolvers": [RESOLVER],
    }


def apply(entries: list[dict[str, Any]]) -> None:
    """Make these all the FIBs there are."""
    document = {
        "version": 1,
        "interface": NIC,
        "virtual_resolvers": [VIRTUAL],
        "fibs": entries,
    }
    if sum(len(each["addresses"]) for each in entries) > MOST_ADDRESSES:
        _apply_by_prefix(document)
    else:
        run("fibctl", "apply", "-", stdin=json.dumps(document))


def _apply_by_prefix(document: dict[str, Any]) -> None:
    """Do the same, but let one local route stand for the addresses of the interface.

    For each new one the kernel walks all that the interface has (__inet_insert_ifa).
    """
    first = {**document["fibs"][0], "addresses": document["fibs"][0]["addresses"][:1]}
    run("fibctl", "apply", "-", stdin=json.dumps({**document, "fibs": [first]}))
    batch([f"route add local {NETWORK} dev {NIC} table local"])
    child = Process(target=_add_without_addresses, args=(document,))  # whose memory goes with it
    child.start()
    child.join()
    if child.exitcode:
        raise RuntimeError(f"FIBs without addresses: exit code {child.exitcode}")


def _add_without_addresses(document: dict[str, Any]) -> None:
    gc.disable()  # as fibctl does
    index = socket.if_nametoindex(NIC)
    parsed = parse_document(document)
    with Rtnetlink(index) as netlink:
        present = read_present(netlink)
        desired = build_desired(parsed, index, present.rules)
        desired.addresses.intersection_update(present.addresses)
        execute(netlink, desired, present, compare(desired, present), build_config(parsed))


def rules(tenants: Sequence[int]) -> list[str]:
    """Make a list of `ip rule from`, walked from its start: what stock Linux offers."""
    batch([f"addr add {server(k)}/32 dev {NIC}" for k in tenants], SERVER)
    batch(
        [f"neigh add {router(k)} lladdr {PEER_MAC} dev {NIC} nud permanent" for k in tenants],
        SERVER,
    )
    batch(
        [
            f"route add 192.168.0.0/24 via {router(k)} dev {NIC} onlink src {server(k)} table {1000 + k}"
            for k in tenants
        ],
        SERVER,
    )
    batch([f"rule add pref {1000 + k} from {server(k)} lookup {1000 + k}" for k in tenants], SERVER)
    return []


def vrfs(tenants: Sequence[int]) -> list[str]:
    """Make a VRF a tenant; it needs a device a tenant on the segment, here a macvlan."""
    with inside(SERVER):
        for key in ("tcp_l3mdev_accept", "udp_l3mdev_accept"):
            Path(f"/proc/sys/net/ipv4/{key}").write_text("1")
    lines = []
    for k in tenants:
        lines += [
            f"link add v{k} type vrf table {1000 + k}",
            f"link add link {NIC} name m{k} address {leg_mac(k)} type macvlan mode private",
            f"link set m{k} addrgenmode none master v{k}",
            f"link set v{k} addrgenmode none up",
            f"link set m{k} up",
            f"addr add {server(k)}/32 dev m{k}",
            f"neigh add {router(k)} lladdr {PEER_MAC} dev m{k} nud permanent",
            f"route add 192.168.0.0/24 via {router(k)} dev m{k} onlink src {server(k)} table {1000 + k}",
        ]
    batch(lines, SERVER)
    return []


def namespaces(tenants: Sequence[int]) -> list[str]:
    """Make a network namespace a tenant, as VIMAGE has it: a listener in each."""
    batch([f"netns add b{k}" for k in tenants])
    batch(
        [
            f"link add link {NIC} name m0 address {leg_mac(k)} netns b{k} type macvlan mode private"
            for k in tenants
        ],
        SERVER,
    )
    mac = bytes.fromhex(PEER_MAC.replace(":", ""))
    four = socket.AF_INET
    for k in tenants:
        with inside(f"b{k}"):
            set_up("lo")
            set_up("m0")
            index = socket.if_nametoindex("m0")
            own, hop = socket.inet_aton(server(k)), socket.inet_aton(router(k))
            lan = socket.inet_aton("192.168.0.0")
            with Rtnetlink(index) as netlink:
                netlink.add([Address(four, own, 32)])
                netlink.add([Neighbour(four, hop, mac)])
                netlink.add(
                    [
                        Route(four, 254, 1, hop, 32, b"", own, 0, index),
                        Route(four, 254, 1, lan, 24, hop, own, 0, index),
                    ]
                )
    return [f"/run/netns/b{k}" for k in tenants]


def set_up(name: str) -> None:
    """Set an interface up."""
    request = struct.Struct("16sH22x")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, 0x8914, request.pack(name.encode(), 1))


# They are where the SUT's extensions are, others in a namespace.
OURS = frozenset({"fib", "one-fib"})
# Each tenant has an interface of its own.
OWN_LEG = frozenset({"vrf", "netns", "procs"})
# Each adds some tenants to those there are; returns the namespaces that want a listener of their own.
DESIGNS: dict[str, Callable[[Sequence[int]], list[str]]] = {
    "fib": fibs,
    "one-fib": one_fib,
    "rules": rules,
    "vrf": vrfs,
    "netns": namespaces,
    "procs": namespaces,
}


def connect(name: str, count: int) -> None:
    """Make the two ends: clients that know every tenant's address, and the server's side."""
    run("ip", "netns", "add", CLIENTS)
    run("ip", "netns", "add", SERVER)
    ends = f"link add {NIC} address {MAC} type veth peer name {PEER} address {PEER_MAC} netns {CLIENTS}"
    batch([ends])
    if name not in OURS:
        batch([f"link set {NIC} netns {SERVER}"])
        batch(["link set lo up", f"link set {NIC} addrgenmode none up"], SERVER)
    else:
        batch([f"link set {NIC} addrgenmode none up"])
    everyone = range(1, count + 1)
    batch(
        [
            "link set lo up",
            "addr add 192.168.0.1/32 dev lo",
            f"link set {PEER} addrgenmode none up",
            f"route add {NETWORK} dev {PEER} src 192.168.0.1",
            *(
                f"neigh add {server(k)} lladdr {leg_mac(k) if name in OWN_LEG else MAC} dev {PEER} nud permanent"
                for k in everyone
            ),
        ],
        CLIENTS,
    )


def take_down() -> None:
    """Remove the extensions' design, and wait until the kernel has."""
    run("fibctl", "detach", NIC)
    batch([f"link del {NIC}", f"netns del {CLIENTS}", f"netns del {SERVER}"])
    deadline = time.monotonic() + 60
    while f" {NIC}@" in run("ip", "-o", "link") and time.monotonic() < deadline:
        time.sleep(0.05)
