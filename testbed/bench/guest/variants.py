"""Four ways to serve tenants with equal networks, side by side in one kernel: cost and speed of each.

Runs inside the SUT as root, standard library only; the host sends it with `load`. Clients are
sockets at 192.168.0.1 in a namespace of their own, at the other end of a veth pair; the server's end
is `bench0`. One variant in the life of a VM: nothing is left of an earlier one, and nothing is taken
down. Prints one JSON object a measurement.

    variants.py INTERFACE design VARIANT TENANTS SECONDS
    variants.py INTERFACE programs TENANTS SECONDS
    variants.py INTERFACE operations ROUNDS

INTERFACE is the one whose FIBs are taken off first.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, "/opt/fib")
from fib.entries import Address, Neighbour, Route
from fib.netlink import Rtnetlink

LOAD = "/opt/bench/load"
NIC, PEER, CLIENTS, SERVER = "bench0", "peer0", "bench-clients", "bench-server"
PORT = 7100
COUNT = "10000"
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
    """Return the next hop to a tenant's network."""
    return str_of(8 * (tenant - 1) + 6)


def str_of(offset: int) -> str:
    """Return the address at `offset` in 10.64.0.0/12."""
    return socket.inet_ntoa(struct.pack("!I", 0x0A400000 + offset))


def leg_mac(tenant: int) -> str:
    """Return the MAC of a tenant's own leg, in the variants that need one each."""
    return f"02:fd:00:{tenant >> 16:02x}:{tenant >> 8 & 255:02x}:{tenant & 255:02x}"


def available_kib() -> int:
    """Return the memory that is free or can be freed, once the kernel has freed what went before."""
    last, unchanged = 0, 0
    for _ in range(30):
        Path("/proc/sys/vm/drop_caches").write_text("3")
        rows = Path("/proc/meminfo").read_text().splitlines()
        found = int(next(row for row in rows if row.startswith("MemAvailable")).split()[1])
        unchanged = unchanged + 1 if abs(found - last) < 128 else 0
        if unchanged == 2:
            break
        last = found
        time.sleep(0.4)
    return found


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


def fibs(count: int) -> list[str]:
    """Make the FIB extensions serve them."""
    document = {
        "version": 1,
        "interface": NIC,
        "virtual_resolvers": [VIRTUAL],
        "fibs": [
            {
                "id": k,
                "name": f"t{k}",
                "addresses": [f"{server(k)}/32"],
                "routes": [
                    {"to": f"{router(k)}/32"},
                    {"to": "192.168.0.0/24", "via": router(k)},
                ],
                "neighbours": [{"address": router(k), "mac": PEER_MAC}],
                "resolvers": [RESOLVER],
            }
            for k in range(1, count + 1)
        ],
    }
    run("fibctl", "apply", "-", stdin=json.dumps(document))
    return []


def rules(count: int) -> list[str]:
    """Make a list of `ip rule from`, walked from its start: what stock Linux offers."""
    everyone = range(1, count + 1)
    batch([f"addr add {server(k)}/32 dev {NIC}" for k in everyone], SERVER)
    batch(
        [f"neigh add {router(k)} lladdr {PEER_MAC} dev {NIC} nud permanent" for k in everyone],
        SERVER,
    )
    batch(
        [
            f"route add 192.168.0.0/24 via {router(k)} dev {NIC} onlink src {server(k)} table {1000 + k}"
            for k in everyone
        ],
        SERVER,
    )
    batch(
        [f"rule add pref {1000 + k} from {server(k)} lookup {1000 + k}" for k in everyone], SERVER
    )
    return []


def vrfs(count: int) -> list[str]:
    """Make a VRF a tenant; it needs a device a tenant on the segment, here a macvlan."""
    with inside(SERVER):
        for key in ("tcp_l3mdev_accept", "udp_l3mdev_accept"):
            Path(f"/proc/sys/net/ipv4/{key}").write_text("1")
    lines = []
    for k in range(1, count + 1):
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


def namespaces(count: int) -> list[str]:
    """Make a network namespace a tenant, as VIMAGE has it: a listener and a thread in each."""
    everyone = range(1, count + 1)
    batch([f"netns add b{k}" for k in everyone])
    batch(
        [
            f"link add link {NIC} name m0 address {leg_mac(k)} netns b{k} type macvlan mode private"
            for k in everyone
        ],
        SERVER,
    )
    mac = bytes.fromhex(PEER_MAC.replace(":", ""))
    four = socket.AF_INET
    for k in everyone:
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
    return [f"/run/netns/b{k}" for k in everyone]


def set_up(name: str) -> None:
    """Set an interface up."""
    request = struct.Struct("16sH22x")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, 0x8914, request.pack(name.encode(), 1))


VARIANTS: dict[str, Callable[[int], list[str]]] = {
    "fib": fibs,
    "rules": rules,
    "vrf": vrfs,
    "netns": namespaces,
}


def connect(name: str, count: int) -> None:
    """Make the two ends: clients that know every tenant's address, and the server's side."""
    run("ip", "netns", "add", CLIENTS)
    run("ip", "netns", "add", SERVER)
    ends = f"link add {NIC} address {MAC} type veth peer name {PEER} address {PEER_MAC} netns {CLIENTS}"
    batch([ends])
    if name != "fib":
        batch([f"link set {NIC} netns {SERVER}"])
        batch(["link set lo up", f"link set {NIC} addrgenmode none up"], SERVER)
    else:
        batch([f"link set {NIC} addrgenmode none up"])
    everyone = range(1, count + 1)
    own_leg = name in {"vrf", "netns"}
    batch(
        [
            "link set lo up",
            "addr add 192.168.0.1/32 dev lo",
            f"link set {PEER} addrgenmode none up",
            f"route add 10.64.0.0/12 dev {PEER} src 192.168.0.1",
            *(
                f"neigh add {server(k)} lladdr {leg_mac(k) if own_leg else MAC} dev {PEER} nud permanent"
                for k in everyone
            ),
        ],
        CLIENTS,
    )


def take_down() -> None:
    """Remove the extensions' variant, and wait until the kernel has."""
    run("fibctl", "detach", NIC)
    batch([f"link del {NIC}", f"netns del {CLIENTS}", f"netns del {SERVER}"])
    deadline = time.monotonic() + 60
    while f" {NIC}@" in run("ip", "-o", "link") and time.monotonic() < deadline:
        time.sleep(0.05)


def measure_programs(count: int, seconds: float) -> list[dict[str, Any]]:
    """Load the extensions while the kernel takes the times of their programs."""
    Path("/proc/sys/kernel/bpf_stats_enabled").write_text("1")
    times: list[dict[str, Any]] = []
    measure("fib", count, seconds, lambda: times.extend(program_times()))
    return times


def measure(
    name: str, count: int, seconds: float, at_end: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """Make a variant and load it."""
    connect(name, count)
    before_kib = available_kib()
    start = time.monotonic()
    spaces = VARIANTS[name](count)
    added_s = time.monotonic() - start
    prefix = [] if name == "fib" else ["nsenter", f"--net=/run/netns/{SERVER}", "--"]
    environment = {**os.environ, **({"LOAD_KEEP_DEVICE": "1"} if name == "vrf" else {})}
    listening = subprocess.Popen(
        ["taskset", "-c", "0", *prefix, LOAD, "serve", str(PORT), *spaces],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        if not listening.stdout or listening.stdout.readline() != "ready\n":
            raise RuntimeError(f"the server of {name} ended with {listening.wait()}")
        used_kib = before_kib - available_kib()
        result: dict[str, Any] = {
            "variant": name,
            "tenants": count,
            "add_s": round(added_s, 3),
            "memory_kib": used_kib,
            "threads": len(list(Path(f"/proc/{listening.pid}/task").iterdir())),
            "listeners": 2 * max(1, len(spaces)),
        }
        for kind in ("conn", "req", "udp"):
            client = ("taskset", "-c", "0", "nsenter", f"--net=/run/netns/{CLIENTS}", "--", LOAD)
            said = run(*client, kind, str(count), str(PORT), str(seconds))
            result[kind] = json.loads(said)
        at_end()
    finally:
        listening.kill()
        listening.communicate()
    return result


def operations(repeats: int) -> Iterator[dict[str, Any]]:
    """Cost of system calls: without the extensions, with them, in a thread's FIB."""
    for number in range(repeats):
        yield {"operation": "without", "round": number, **json.loads(run(LOAD, "ops", COUNT))}
        connect("fib", 1)
        fibs(1)
        yield {"operation": "attached", "round": number, **json.loads(run(LOAD, "ops", COUNT))}
        said = run("fibctl", "exec", "1", "--", LOAD, "ops", COUNT, RESOLVER, VIRTUAL)
        yield {"operation": "thread-fib", "round": number, **json.loads(said)}
        take_down()


def program_times() -> Iterator[dict[str, Any]]:
    """Nanoseconds that each eBPF program has taken a run, by the kernel's own clock."""
    for program in json.loads(run("bpftool", "--json", "prog", "show")):
        runs = program.get("run_cnt", 0)
        if runs and str(program.get("name", "")).startswith("fib_"):
            yield {
                "program": program["name"],
                "runs": runs,
                "ns": program["run_time_ns"] / runs,
            }


def main(interface: str, what: str, *arguments: str) -> None:
    """Measure one thing."""
    run("fibctl", "detach", interface)
    found: Iterable[dict[str, Any]]
    if what == "design":
        name, count, seconds = arguments
        found = [measure(name, int(count), float(seconds))]
    elif what == "programs":
        count, seconds = arguments
        found = measure_programs(int(count), float(seconds))
    else:
        found = operations(int(arguments[0]))
    for one in found:
        print(json.dumps(one), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
