"""As many isolated 192.168.0.0/24 as asked, by Mininet's API: a host and a router node each.

Run by testbed.bench.peers with Mininet on its path; the second argument is a command that succeeds in a
host which reaches its router. Prints one JSON object.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from mininet.net import VERSION, Mininet


def main(count: int, proof: str) -> dict[str, object]:
    """Build, prove, remove."""
    Mininet.inited = True  # or else it changes sysctls of the host
    before = available_kib()
    start = time.monotonic()
    net = Mininet(topo=None, build=False)
    for k in range(count):
        host = net.addHost(f"h{k}", ip="192.168.0.1/24")
        router = net.addHost(f"r{k}", ip="192.168.0.254/24")
        net.addLink(host, router)
    net.build()
    up_s = time.monotonic() - start
    used_kib = before - available_kib()
    far = {0, count // 2, count - 1}
    codes = [net.get(f"h{k}").cmd(f"{proof}; echo $?").strip() for k in far]
    start = time.monotonic()
    net.stop()
    return {
        "version": VERSION,
        "up_s": up_s,
        "down_s": time.monotonic() - start,
        "memory_kib": used_kib,
        "works": set(codes) == {"0"},
    }


def available_kib() -> int:
    """Return the memory that is free or can be freed."""
    Path("/proc/sys/vm/drop_caches").write_text("2")
    rows = Path("/proc/meminfo").read_text().splitlines()
    return int(next(row for row in rows if row.startswith("MemAvailable")).split()[1])


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(int(sys.argv[1]), sys.argv[2])))
