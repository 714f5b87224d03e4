"""As many isolated 192.168.0.0/24 as asked, by munet: a host and a router node each, linked directly.

Run by testbed.bench.peers in a Python environment that has munet; the second argument is a command that
succeeds in a host which reaches its router. Prints one JSON object.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import logging
import sys
import tempfile
import time
from pathlib import Path

from munet.parser import async_build_topology


def topology(count: int) -> dict[str, object]:
    """Return munet's configuration."""
    nodes: list[dict[str, object]] = []
    for k in range(count):
        nodes += [
            {
                "name": f"h{k}",
                "connections": [{"to": f"r{k}", "name": "eth0", "ip": "192.168.0.1/24"}],
            },
            {
                "name": f"r{k}",
                "connections": [{"to": f"h{k}", "name": "lan", "ip": "192.168.0.254/24"}],
            },
        ]
    return {"version": 1, "topology": {"networks": [], "nodes": nodes}}


async def main(count: int, proof: str, folder: str) -> dict[str, object]:
    """Build, prove, remove."""
    before = available_kib()
    start = time.monotonic()
    config = {**topology(count), "config_pathname": f"{folder}/munet.yaml"}
    net = await async_build_topology(config, rundir=folder, unshare_inline=True)
    await net.run()
    up_s = time.monotonic() - start
    used_kib = before - available_kib()
    far = {0, count // 2, count - 1}
    codes = [net.hosts[f"h{k}"].cmd_status(proof)[0] for k in far]
    start = time.monotonic()
    await net.async_delete()
    return {
        "version": importlib.metadata.version("munet"),
        "up_s": up_s,
        "down_s": time.monotonic() - start,
        "memory_kib": used_kib,
        "works": not any(codes),
    }


def available_kib() -> int:
    """Return the memory that is free or can be freed."""
    Path("/proc/sys/vm/drop_caches").write_text("2")
    rows = Path("/proc/meminfo").read_text().splitlines()
    return int(next(row for row in rows if row.startswith("MemAvailable")).split()[1])


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        sys.stdout.write(json.dumps(asyncio.run(main(int(sys.argv[1]), sys.argv[2], folder))))
