"""Peers that can be had here, on the same number of isolated networks: Mininet and munet.

They are fetched into the cache, not installed: the host stays as it was. Each runs in namespaces of
its own (PID, mount, network), so that nothing of it is left, whatever happens to it.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from testbed.bench.memory import available_kib, settled
from testbed.drivers import process, store
from testbed.drivers.cache import Family
from testbed.errors import TestbedError
from testbed.lifecycle.store import cache_root

_HERE = Path(__file__).parent
_FETCH_LIMIT_S, _RUN_LIMIT_S = 300, 900
_UNSHARE = ("unshare", "--pid", "--fork", "--mount", "--mount-proc", "--net")
# The system's: the programs they bring name it, and one of a clone goes with the clone.
_PYTHON = "/usr/bin/python3"
MUNET = "0.17.3"
# A host reaches its router, which refuses: the machine may have no ping.
_PROOF = (
    "import errno, socket; s = socket.socket(); s.settimeout(2); "
    "raise SystemExit(s.connect_ex(('192.168.0.254', 9)) != errno.ECONNREFUSED)"
)
_PROVE = shlex.join([_PYTHON, "-c", _PROOF])

CANNOT = {
    "Mininet": "no service but processes on the host's own files; no Docker, no VM as one end of all "
    "networks, no overlapping addresses outside its namespaces; a shell process a node",
    "munet": "the same, but VMs and containers (podman) as nodes; two processes a node, one "
    "asyncio program that builds them one after the other",
}


def measure(count: int) -> Iterator[dict[str, Any]]:
    """Yield what each takes for `count` isolated networks with a host and a router each."""
    for name, run in (("Mininet", _mininet), ("munet", _munet)):
        found: dict[str, Any] = {"peer": name, "tenants": count}
        try:
            settled(available_kib)  # what was there before is not theirs
            yield found | run(count)
        except TestbedError as error:
            yield found | {"error": error.message}


def _mininet(count: int) -> dict[str, Any]:
    root = store.obtain(
        cache_root() / Family.PEERS / "mininet", _unpack_mininet, limit_s=_FETCH_LIMIT_S
    )
    paths = (f"{root}/usr/bin", f"{root}/sbin")
    env = {"PYTHONPATH": f"{root}/usr/lib/python3/dist-packages"}
    return _run([_PYTHON, str(_HERE / "with_mininet.py"), str(count), _PROVE], env, paths)


def _unpack_mininet(folder: Path) -> None:
    packages = ["mininet", "net-tools"]  # it calls ifconfig
    script = f"cd {shlex.quote(str(folder))} && apt-get -qq download {' '.join(packages)}"
    process.run(["sh", "-c", script], timeout_s=_FETCH_LIMIT_S)
    for package in folder.glob("*.deb"):
        process.run(["dpkg-deb", "-x", str(package), str(folder)])


def _munet(count: int) -> dict[str, Any]:
    root = store.obtain(
        cache_root() / Family.PEERS / f"munet-{MUNET}-system",
        _install_munet,
        limit_s=_FETCH_LIMIT_S,
    )
    script = _HERE / "with_munet.py"
    argv = [_PYTHON, str(script), str(count), _PROVE]
    return _run(argv, {"PYTHONPATH": str(root / "lib")}, (f"{root}/lib/bin",))


def _install_munet(folder: Path) -> None:
    argv = ["install", "--quiet", "--target", str(folder / "lib"), f"munet=={MUNET}"]
    pip = [sys.executable, "-m", "pip", "--python", _PYTHON]
    process.run([*pip, *argv], timeout_s=_FETCH_LIMIT_S)


def _run(argv: list[str], env: dict[str, str], paths: tuple[str, ...]) -> dict[str, Any]:
    # Not as process 1 of its namespace, which munet would take for a process without a parent.
    script = f"PATH=$PATH:{':'.join(paths)} {shlex.join(argv)}; exit $?"
    said = process.run(
        [*_UNSHARE, "sh", "-c", script], env=env, timeout_s=_RUN_LIMIT_S, whole_tree=True
    )
    found: dict[str, Any] = json.loads(said.stdout.splitlines()[-1])
    return found


def rows(measured: list[dict[str, Any]]) -> Iterator[str]:
    """Yield a table for people."""
    found = [item for item in measured if "peer" in item]
    if not found:
        return
    yield "| | tenants | up, s a tenant | down, s a tenant | memory, KiB a tenant | cannot |"
    yield "|---|---|---|---|---|---|"
    for item in found:
        if "error" in item:
            yield f"| {item['peer']} | {item['tenants']} | failed, see below | | | {CANNOT[item['peer']]} |"
            continue
        count = item["tenants"]
        figures = (item["up_s"] / count, item["down_s"] / count, item["memory_kib"] / count)
        shown = " | ".join(f"{figure:,.3g}" for figure in figures[:2])
        name = f"{item['peer']} {item['version']}{'' if item['works'] else ' (did not work)'}"
        yield f"| {name} | {count} | {shown} | {figures[2]:,.0f} | {CANNOT[item['peer']]} |"
