"""What a failure leaves for whoever looks for its cause: the state of everything it touched.

Each thing is asked for on its own, at the same time as the others, and what cannot be had is told
in `missing.txt`: a SUT that no longer answers must not cost the logs of the containers. Files and
folders are for their owner alone, since configurations and captures hold the tenants' passwords.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path

import docker

from testbed.drivers import containers, namespace, process
from testbed.errors import TestbedError
from testbed.lifecycle import checkout
from testbed.lifecycle.daemon import LOG as DAEMON_LOG
from testbed.lifecycle.deployment import Deployment
from testbed.lifecycle.private import make_private, write_private
from testbed.plan.resources import ContainerPlan, TenantPlan

_SKEW_S = 2.0  # between the SUT's clock and ours
_CONSOLE_LINES = 300
_SUT_LIMIT_S = 30.0
_MOST_TENANTS = 50
_SECTION = "\x1e"  # the ASCII record separator: in no tool's output
_PACKAGES = ("docker", "jinja2", "pydantic", "pyroute2", "pytest", "pytest-xdist", "scapy")

# One round trip for everything. A tool that is not there says so in its own file.
_SUT_QUESTIONS = {
    "fib-show.json": "fibctl show --format json",
    "fib-sockets.json": "fibctl sockets --format json",
    "rules.txt": "ip rule; ip -6 rule",
    "routes.txt": "ip route show table all; ip -6 route show table all",
    "addresses.txt": "ip -s address",
    "neighbours.txt": "ip neighbour",
    "sockets.txt": "ss -tuanpe",
    "counters.txt": "nstat -az",
    "processes.txt": "ps -eLo pid,tid,user,stat,etime,time,args",
    "kernel.log": "dmesg | tail -n 300",
    "daemon.log": f"tail -c 1000000 {DAEMON_LOG}",
    "system.txt": "uname -a; date +%s.%N; uptime",
    "packages.txt": "dpkg-query -W",
}
_ROUTER_QUESTIONS = "ip -s address; ip route; ip -6 route; ip neighbour; nft list ruleset"


@dataclass(frozen=True, slots=True)
class Scene:
    """Where something failed: the deployment, the tenants concerned, and when it began."""

    docker: docker.DockerClient
    deployment: Deployment
    tenants: tuple[TenantPlan, ...]
    since_s: float


def collect(scene: Scene, folder: Path) -> tuple[str, ...]:
    """Write all that can be had of `scene` below `folder`; return what could not.

    Takes as long as its slowest part: half a second, or 30 s when the SUT hangs. Of more tenants than
    somebody would read about, some: thousands of routers take a quarter of an hour.
    """
    shown, left_out = scene.tenants[:_MOST_TENANTS], scene.tenants[_MOST_TENANTS:]
    make_private(folder / "sut")
    make_private(folder / "logs")
    parts: dict[str, Callable[[], None]] = {
        "SUT": partial(_ask_sut, scene, folder / "sut"),
        "console": partial(_copy_console, scene, folder / "logs"),
        "versions": partial(_write_versions, scene, folder / "versions.json"),
    }
    for tenant in shown:
        path = folder / f"router-{tenant.name}.txt"
        parts[f"router of {tenant.name}"] = partial(_ask_router, tenant, path)
        for container in tenant.containers:
            path = folder / "logs" / f"{tenant.name}-{container.role}.log"
            parts[f"log of {container.name}"] = partial(_log, scene, container, path)
    with ThreadPoolExecutor(6) as pool:
        running = {name: pool.submit(part) for name, part in parts.items()}
        errors = {name: future.exception() for name, future in running.items()}
    missing = tuple(f"{name}: {error}" for name, error in errors.items() if error is not None)
    if left_out:
        missing += (f"routers and logs of {len(left_out):,} more tenants: ask by `testbed exec`",)
    for error in errors.values():
        if error is not None and not isinstance(error, TestbedError | OSError):
            raise error  # a bug of ours
    if missing:
        write_private(folder / "missing.txt", "\n".join(missing) + "\n")
    return missing


def _ask_sut(scene: Scene, folder: Path) -> None:
    script = "\n".join(
        f"printf '{_SECTION}{name}\\n'; {{ {question}; }} 2>&1 | head -c 4000000"
        for name, question in _SUT_QUESTIONS.items()
    )
    answer = scene.deployment.sut().channel.run(
        ["sh", "-s"], stdin=script, timeout_s=_SUT_LIMIT_S, check=False
    )
    for section in answer.stdout.split(_SECTION)[1:]:
        name, _, text = section.partition("\n")
        if name == "daemon.log":
            text = _lines_since(text, scene.since_s - _SKEW_S)
        write_private(folder / name, text)


def _lines_since(log: str, since_s: float) -> str:
    """Return the lines of a JSON log from then on, and those that are no JSON."""
    kept = []
    for line in log.splitlines(keepends=True):
        try:
            is_older = float(json.loads(line)["time"]) < since_s
        except (ValueError, KeyError, TypeError):
            is_older = False  # a traceback, say: what we look for
        if not is_older:
            kept.append(line)
    return "".join(kept)


def _copy_console(scene: Scene, folder: Path) -> None:
    path = scene.deployment.folder / "console.log"
    if path.exists():
        lines = path.read_text(errors="replace").splitlines(keepends=True)
        write_private(folder / "console.log", "".join(lines[-_CONSOLE_LINES:]))


def _ask_router(tenant: TenantPlan, path: Path) -> None:
    space = namespace.RUN_NETNS / tenant.router.netns
    argv = ["nsenter", f"--net={space}", "--", "sh", "-c", _ROUTER_QUESTIONS]
    answer = process.run(argv, timeout_s=10, check=False)
    write_private(path, answer.stdout + answer.stderr)


def _log(scene: Scene, container: ContainerPlan, path: Path) -> None:
    text = containers.read_log(
        scene.docker, container.name, tail=5000, since_s=scene.since_s - 1, timestamps=True
    )
    write_private(path, text)


def _write_versions(scene: Scene, path: Path) -> None:
    write_private(path, json.dumps(versions(scene.docker), indent=2) + "\n")


def versions(client: docker.DockerClient | None = None) -> Mapping[str, str]:
    """Return the versions of what a result depends on, of the host's side."""
    found = {
        "testbed": checkout.version(),
        "host": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        **{package: metadata.version(package) for package in _PACKAGES},
    }
    if client is not None:
        found["dockerd"] = str(client.version()["Version"])
    return found
