"""The Docker daemon: found running, or started by us where no init system does it.

A daemon of ours makes no bridge and no packet filter rule (`--bridge=none --iptables=false`): the
testbed needs neither, and the host stays as it was. One that others started is never stopped.
"""

from __future__ import annotations

import os
from pathlib import Path

import docker
from docker.errors import DockerException
from docker.models.networks import Network

from testbed.deadline import Deadline, NotYet, wait_for
from testbed.drivers import process
from testbed.errors import PreflightError
from testbed.events import Events

OWNER = "shared/dockerd"
_SYSTEMD = Path("/run/systemd/system")
_START_LIMIT_S = 60
_ARGV = (
    "dockerd",
    "--bridge=none",
    "--iptables=false",
    "--ip6tables=false",
    "--ip-forward=false",
    "--ip-masq=false",
    "--userland-proxy=false",
)


def connect() -> docker.DockerClient | None:
    """Return a client of the running daemon, or None when none answers."""
    try:
        client = docker.from_env(timeout=120)
        client.ping()
    except DockerException:
        return None
    return client


def version() -> str:
    """Return the running daemon's version, empty when none answers."""
    client = connect()
    return str(client.version()["Version"]) if client is not None else ""


def ensure(events: Events, log: Path) -> docker.DockerClient:
    """Return a client of the daemon, starting one when none runs; `log` takes its output.

    Raises:
        PreflightError: when no daemon can be had, with the daemon's last words.
    """
    client = connect()
    if client is not None:
        return client
    if "DOCKER_HOST" in os.environ:
        raise PreflightError(
            f"no Docker daemon answers at DOCKER_HOST={os.environ['DOCKER_HOST']}",
            hint="start it, or unset DOCKER_HOST",
        )
    with events.step("start dockerd"):
        if _SYSTEMD.is_dir():
            process.run(["systemctl", "start", "docker"])
            pid = 0
        else:
            pid = _spawn(log)
        return wait_for(
            lambda: _answering(pid, log), Deadline.after(_START_LIMIT_S), what="dockerd answers"
        )


def is_ours() -> bool:
    """Whether a daemon runs that we started."""
    return any(_command(pid) == "dockerd" for pid in process.owned(OWNER))


def may_hold_state() -> bool:
    """Whether a daemon has ever run here, so that containers may wait for its return."""
    return Path("/var/lib/docker/containers").is_dir()


def stop_ours() -> bool:
    """Stop the daemon if it is ours and nobody has anything there; return whether it was stopped."""
    ours = [pid for pid in process.owned(OWNER) if _command(pid) == "dockerd"]
    if not ours:
        return False
    client = connect()
    if client is not None and (client.containers.list(all=True) or _own_networks(client)):
        return False
    for pid in ours:
        process.stop(pid, grace_s=15)
    return True


def _own_networks(client: docker.DockerClient) -> list[Network]:
    """Return the networks that are not Docker's own three."""
    built_in = {"bridge", "host", "none"}
    return [network for network in client.networks.list() if network.name not in built_in]


def _spawn(log: Path) -> int:
    log.parent.mkdir(parents=True, exist_ok=True)
    return process.spawn(_ARGV, owner=OWNER, log=log)


def _answering(pid: int, log: Path) -> docker.DockerClient | None:
    client = connect()
    if client is None and pid and _command(pid) != "dockerd":
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-3:])
        raise PreflightError(f"dockerd ended at once: {tail}", hint=f"its log is {log}")
    if client is None:
        raise NotYet("no answer on its socket")
    return client


def _command(pid: int) -> str:
    """Return the command name of `pid`, empty when it has ended."""
    try:
        status = (Path("/proc") / str(pid) / "stat").read_text()
    except OSError:
        return ""
    name, _, rest = status.partition("(")[2].rpartition(")")
    return "" if rest.split()[0] == "Z" else name
