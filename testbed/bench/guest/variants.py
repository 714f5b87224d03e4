"""Four ways to serve tenants with equal networks, side by side in one kernel: cost and speed of each.

Runs inside the SUT as root, standard library only; the host sends it with `load`. Clients are
sockets at 192.168.0.1 in a namespace of their own, at the other end of a veth pair; the server's end
is `bench0`. One variant in the life of a VM: nothing is left of an earlier one, and nothing is taken
down. Prints one JSON object a measurement.

    variants.py INTERFACE adding VARIANT TENANTS
    variants.py INTERFACE load VARIANT TENANTS SECONDS
    variants.py INTERFACE programs TENANTS SECONDS
    variants.py INTERFACE operations ROUNDS

INTERFACE is the one whose FIBs are taken off first; TENANTS is 1, or more than 3.
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
from collections.abc import Callable, Iterable, Iterator, Sequence
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


def free_kib() -> int:
    """Return the memory that nothing uses, once the kernel has freed what went before."""
    last, unchanged = 0, 0
    for _ in range(30):
        Path("/proc/sys/vm/drop_caches").write_text("3")
        Path("/proc/sys/vm/compact_memory").write_text("1")  # returns what processors set aside
        rows = Path("/proc/meminfo").read_text().splitlines()
        found = int(next(row for row in rows if row.startswith("MemFree")).split()[1])
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
    run("fibctl", "apply", "-", stdin=json.dumps(document))


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
    """Make a network namespace a tenant, as VIMAGE has it: a listener and a thread in each."""
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
# Each adds some tenants to those there are; returns the namespaces that want a listener of their own.
VARIANTS: dict[str, Callable[[Sequence[int]], list[str]]] = {
    "fib": fibs,
    "one-fib": one_fib,
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
    if name not in OURS:
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
    measure_load("fib", count, seconds, lambda: times.extend(program_times()))
    return times


def measure_adding(name: str, count: int) -> dict[str, Any]:
    """Make a variant, and see what time that takes, until all tenants are served.

    That is the first tenant's, with all that tenants share; of many it is what each of them takes, without
    what it takes to add one by itself (`alone_ms`: a command's start).
    """
    connect(name, count)
    servers: list[subprocess.Popen[str]] = []
    took_ms: list[float] = []
    try:
        for tenants in filter(None, (range(1, 2), range(2, count + 1)[:1], range(3, count + 1))):
            start = time.monotonic()
            servers += added(name, tenants)
            took_ms.append((time.monotonic() - start) * 1000)
    finally:
        end(servers)
    return {
        "add_ms": took_ms[0] if count == 1 else (took_ms[2] - took_ms[1]) / (count - 3),
        "alone_ms": took_ms[min(1, count - 1)],
    }


def measure_load(
    name: str, count: int, seconds: float, at_end: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """Make a variant, see what memory it takes, and load it.

    That is the first tenant's, with all that tenants share; of more than one what each of the others adds.
    """
    connect(name, count)
    free = [free_kib()]
    servers = added(name, range(1, 2))
    try:
        free.append(free_kib())
        if count > 1:
            servers += added(name, range(2, count + 1))
            free.append(free_kib())
        tasks = [len(list(Path(f"/proc/{server.pid}/task").iterdir())) for server in servers]
        result: dict[str, Any] = {
            "memory_kib": (free[-2] - free[-1]) / max(1, count - 1),
            "threads": sum(tasks),
            "listeners": 2 * (count if name == "netns" else 1),
        }
        for kind in ("conn", "req", "udp"):
            client = ("taskset", "-c", "0", "nsenter", f"--net=/run/netns/{CLIENTS}", "--", LOAD)
            said = run(*client, kind, str(count), str(PORT), str(seconds))
            result[kind] = json.loads(said)
        at_end()
    finally:
        end(servers)
    return result


def added(name: str, tenants: Sequence[int]) -> list[subprocess.Popen[str]]:
    """Add tenants; return what was started to answer them, which in most designs the first tenant's does."""
    spaces = VARIANTS[name](tenants)
    return [serve(name, spaces)] if spaces or 1 in tenants else []


def end(servers: list[subprocess.Popen[str]]) -> None:
    """End what answers."""
    for listening in servers:
        listening.kill()
        listening.communicate()


def serve(name: str, spaces: list[str]) -> subprocess.Popen[str]:
    """Start what answers, a thread for each of `spaces`; it listens."""
    prefix = [] if name in OURS else ["nsenter", f"--net=/run/netns/{SERVER}", "--"]
    environment = {**os.environ, **({"LOAD_KEEP_DEVICE": "1"} if name == "vrf" else {})}
    started = subprocess.Popen(
        ["taskset", "-c", "0", *prefix, LOAD, "serve", str(PORT), *spaces],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    if not started.stdout or started.stdout.readline() != "ready\n":
        raise RuntimeError(f"the server of {name} ended with {started.wait()}")
    return started


def operations(repeats: int) -> Iterator[dict[str, Any]]:
    """Cost of system calls: without the extensions, with them, in a thread's FIB."""
    for number in range(repeats):
        yield {"operation": "without", "round": number, **json.loads(run(LOAD, "ops", COUNT))}
        connect("fib", 1)
        fibs([1])
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
    if what == "adding":
        name, count = arguments
        found = [measure_adding(name, int(count))]
    elif what == "load":
        name, count, seconds = arguments
        found = [measure_load(name, int(count), float(seconds))]
    elif what == "programs":
        count, seconds = arguments
        found = measure_programs(int(count), float(seconds))
    else:
        found = operations(int(arguments[0]))
    for one in found:
        print(json.dumps(one), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
