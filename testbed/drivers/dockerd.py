"""The Docker daemon: found running, or started by us where no init system does it.

A daemon of ours makes no bridge and no packet filter rule (`--bridge=none --iptables=false`): the
testbed needs neither, and the host stays as it was. One that others started is never stopped.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import docker
from docker.errors import DockerException
from requests import RequestException

from testbed.deadline import Deadline, NotYet, wait_for
from testbed.drivers import hostlock, process, traces
from testbed.errors import PreflightError, ResourceError, WaitTimeoutError
from testbed.events import Events

OWNER = "shared/dockerd"
NOT_KNOWN = "not known without a Docker daemon"
"""What is told of a container where none can be asked."""
_SYSTEMD = Path("/run/systemd/system")
# Restoring networks whose IPAM driver is gone, it waits a quarter of a minute for each of them.
_START_LIMIT_S = 180
_STOP_LIMIT_S = 15
_PING_LIMIT_S = 10
_CALL_LIMIT_S = 120
_DEFAULT_SOCKETS = ("", "unix:///var/run/docker.sock", "unix:///run/docker.sock")
_PID_FILE = Path("/run/docker.pid")
_DATA = Path("/var/lib/docker")
# All that a daemon of ours leaves behind when it stops.
_RUN_FOLDERS = (Path("/run/docker"), Path("/run/containerd"))
_SETTINGS = Path("/etc/docker/daemon.json")
_BUILT_IN_NETWORKS = {"bridge", "host", "none"}
_STARTING = hostlock.SHARED / "dockerd-start.lock"
ARGV = (
    "dockerd",
    "--bridge=none",
    "--iptables=false",
    "--ip6tables=false",
    "--ip-forward=false",
    "--ip-masq=false",
    "--userland-proxy=false",
)


def connect() -> docker.DockerClient | None:
    """Return a client of the running daemon, or None when none answers within 10 s."""
    try:
        client = docker.from_env(timeout=_PING_LIMIT_S)
        client.ping()
    except (DockerException, RequestException):
        return None
    client.api.timeout = _CALL_LIMIT_S
    return client


def version() -> str:
    """Return the running daemon's version, empty when none answers."""
    client = connect()
    return str(client.version()["Version"]) if client is not None else ""


def ensure(events: Events, log: Path) -> docker.DockerClient:
    """Return a client of the daemon, starting one when none runs; `log` takes its output.

    Several processes may call it at once: one starts it, the others wait.

    Raises:
        PreflightError: when no daemon can be had, with the daemon's last words.
    """
    client = connect()
    if client is not None:
        return client
    if not _is_default():
        raise PreflightError(
            f"no Docker daemon answers at DOCKER_HOST={os.environ['DOCKER_HOST']}",
            hint="start it, or unset DOCKER_HOST",
        )
    with hostlock.held(_STARTING, limit_s=2 * _START_LIMIT_S):
        client = connect()  # somebody else may have started it while we waited
        if client is not None:
            return client
        with events.step("start dockerd"):
            return _start(log)


def is_ours() -> bool:
    """Whether anything runs of a daemon that we started: it, or what it left when it was killed."""
    return _is_default() and any(process.owned(OWNER))


def may_hold_state() -> bool:
    """Whether a daemon has ever run here, so that containers may wait for its return."""
    return (_DATA / "containers").is_dir()


def control_group() -> str:
    """Return the control group, in each hierarchy, in which the daemon makes those of containers."""
    try:
        settings = json.loads(_SETTINGS.read_text())
    except (OSError, ValueError):  # none, or what the daemon itself will refuse
        settings = {}
    return str(settings.get("cgroup-parent") or "docker").strip("/")


def stop_ours() -> bool:
    """Stop the daemon if it is ours and nobody has anything there; return whether it was stopped.

    Hold `hostlock.IN_USE` alone, so that nobody is about to use it.
    """
    if not is_ours() or _holds_anything():
        return False
    logs = [_log_of(pid) for pid in _running()]
    for pid in (*_running(), *process.owned(OWNER)):  # first the daemon, which stops its own
        process.stop(pid, grace_s=_STOP_LIMIT_S)
    _PID_FILE.unlink(missing_ok=True)
    for log in logs:
        log.unlink(missing_ok=True)
    return True


def remove_traces() -> None:
    """Remove what a daemon of ours has left: folders in /run, mounts, control groups.

    Only what was not there before it, and only while no daemon runs. Hold `hostlock.IN_USE` alone.
    """
    with hostlock.held(traces.LOCK):
        if traces.noted() and _is_default() and not is_ours() and connect() is None:
            traces.undo((*_RUN_FOLDERS, *traces.control_groups(control_group())))


def note_folders() -> None:
    """Note which of Docker's folders are missing, before something of ours makes them."""
    with hostlock.held(traces.LOCK):
        traces.note_missing(_RUN_FOLDERS)


def _holds_anything() -> bool:
    client = connect()
    if client is None:  # killed: its containers may live on
        return any(_command(pid).startswith("containerd-shim") for pid in process.owned(OWNER))
    own_networks = {network.name for network in client.networks.list()} - _BUILT_IN_NETWORKS
    return bool(own_networks or client.containers.list(all=True, ignore_removed=True))


def _is_default() -> bool:
    """Whether the daemon that we talk to is the host's, and none of the user's choice."""
    return os.environ.get("DOCKER_HOST", "") in _DEFAULT_SOCKETS


def _start(log: Path) -> docker.DockerClient:
    pid = 0
    if _SYSTEMD.is_dir():
        process.run(["systemctl", "start", "docker"])
    else:
        for stopped in _running():
            with suppress(ProcessLookupError):
                os.kill(stopped, signal.SIGCONT)  # of no effect on one that runs
        pid = _starting() or _spawn(log)
    try:
        return wait_for(
            lambda: _answering(pid, log), Deadline.after(_START_LIMIT_S), what="dockerd answers"
        )
    except WaitTimeoutError as error:
        error.hint = "end it, or restart it as your system does; then run this again"
        raise


def _starting() -> int:
    """Return the daemon that runs already and does not answer yet, 0 when there is none.

    A pid file that a kill left behind keeps a new daemon from starting once its pid is somebody
    else's (moby, pkg/pidfile): it goes.
    """
    try:
        pid = int(_PID_FILE.read_text())
    except (FileNotFoundError, ValueError):
        pid = 0
    if pid and _command(pid) == "dockerd":
        return pid
    _PID_FILE.unlink(missing_ok=True)
    return next(iter(_running()), 0)


def _spawn(log: Path) -> int:
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with hostlock.held(traces.LOCK):
        traces.note_missing((*_RUN_FOLDERS, *traces.control_groups(control_group())))
    return process.spawn(ARGV, owner=OWNER, log=log)


def _answering(pid: int, log: Path) -> docker.DockerClient:
    client = connect()
    if client is None and pid and _command(pid) != "dockerd":
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-3:]) if log.exists() else ""
        raise PreflightError(f"dockerd ended at once: {tail}", hint=f"its log is {log}")
    if client is None:
        raise NotYet("no answer on its socket")
    return client


def _running() -> tuple[int, ...]:
    """Return the daemons that we started; containerd and its shims inherit the mark from them."""
    return tuple(pid for pid in process.owned(OWNER) if _command(pid) == "dockerd")


def _log_of(pid: int) -> Path:
    return Path(f"/proc/{pid}/fd/2").readlink()


def _command(pid: int) -> str:
    """Return the command name of `pid`, empty when it has ended."""
    try:
        status = (Path("/proc") / str(pid) / "stat").read_text()
    except OSError:
        return ""
    name, _, rest = status.partition("(")[2].rpartition(")")
    return "" if rest.split()[0] == "Z" else name


@contextmanager
def explained(action: str) -> Iterator[None]:
    """Turn Docker's errors into ours, with what we were about to do."""
    try:
        yield
    except (DockerException, RequestException) as error:
        detail = getattr(error, "explanation", None) or str(error)
        raise ResourceError(f"cannot {action}: {detail}") from error


def everything(client: docker.DockerClient) -> Iterator[tuple[str, str, str]]:
    """Yield all that Docker holds, of anybody: kind, name, details. For inventories."""
    with explained("list what Docker holds"):
        for one in client.api.containers(all=True):
            yield "container", one["Names"][0].lstrip("/"), f"{one['State']} {one['Image']}"
        for one in client.api.networks():
            yield "network", one["Name"], f"{one['Driver']} {sorted((one['Labels'] or {}).items())}"
        for one in client.api.volumes()["Volumes"] or ():
            yield "volume", one["Name"], one["Driver"]
        for one in client.api.images(all=True):
            yield "image", one["Id"], " ".join(one["RepoTags"] or ())
