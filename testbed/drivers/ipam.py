"""A remote IPAM driver for Docker that lets every tenant have the same subnet.

Docker's built-in IPAM refuses overlapping pools; a remote one decides for itself
(design.md, section 4). The plan has fixed every address already, so the driver only repeats what
it is asked: it keeps no state that a restart could lose. Run as a process:
`python -m testbed.drivers.ipam SOCKET`, supervised by itself (a dead plugin stalls dockerd).

Protocol: https://github.com/moby/moby/blob/v20.10.24/libnetwork/docs/ipam.md
"""

from __future__ import annotations

import ipaddress
import json
import os
import signal
import socket
import socketserver
import sys
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import FrameType
from typing import Any

from testbed.deadline import Deadline, wait_for
from testbed.drivers import dockerd, hostlock, process

PLUGINS = Path("/run/docker/plugins")
_CONTENT_TYPE = "application/vnd.docker.plugins.v1+json"
_POOL_OPTION = "testbed.network"
_LONGEST_BODY = 1 << 20
_RESTART_PAUSE_S = 0.2

Body = Mapping[str, Any]


class RefusedError(Exception):
    """A request that cannot be granted; Docker shows the text to whoever asked."""


def socket_of(driver: str) -> Path:
    """Return the socket by which Docker finds the plugin called `driver`."""
    return PLUGINS / f"{driver}.sock"


def pool_options(network: str) -> dict[str, str]:
    """Return the IPAM options that make the pool of `network` unlike its twins."""
    return {_POOL_OPTION: network}


def ensure_running(driver: str, owner: str, folder: Path) -> bool:
    """Start the plugin called `driver` unless it serves; return whether it was started.

    `owner` marks its processes (see `process.spawn`); its log goes to `folder`.
    """
    path = socket_of(driver)
    if _is_serving(path):
        return False
    with hostlock.held(hostlock.SHARED / f"{driver}.lock"):
        if _is_serving(path):  # another process has started it meanwhile
            return False
        for pid in process.owned(owner):
            process.stop(pid)
        if not PLUGINS.is_dir():
            dockerd.note_folders()
        process.spawn(
            [sys.executable, "-m", "testbed.drivers.ipam", str(path)],
            owner=owner,
            log=folder / "ipam.log",
        )
        what = f"IPAM driver {driver!r} serves"
        wait_for(lambda: _is_serving(path), Deadline.after(20), what=what)
    return True


def is_serving(driver: str) -> bool:
    """Whether the plugin called `driver` takes connections."""
    return _is_serving(socket_of(driver))


def remove_sockets(driver: str) -> None:
    """Remove what ended processes of the plugin called `driver` left in Docker's plugin folder."""
    socket_of(driver).unlink(missing_ok=True)
    for beside in PLUGINS.glob(f".{driver}.sock.*"):
        beside.unlink(missing_ok=True)


def _is_serving(path: Path) -> bool:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with connection:
        try:
            connection.connect(str(path))
        except OSError:
            return False
    return True


def answer(method: str, body: Body) -> Body:
    """Answer one call of Docker's.

    Raises:
        RefusedError: with a sentence for the person who gave the command.
    """
    try:
        handler = _HANDLERS[method]
    except KeyError:
        raise RefusedError(f"this IPAM driver has no method {method!r}") from None
    return handler(body)


def _activate(_: Body) -> Body:
    return {"Implements": ["IpamDriver"]}


def _capabilities(_: Body) -> Body:
    return {"RequiresMACAddress": False, "RequiresRequestReplay": False}


def _address_spaces(_: Body) -> Body:
    return {"LocalDefaultAddressSpace": "testbed", "GlobalDefaultAddressSpace": "testbed-global"}


def _request_pool(body: Body) -> Body:
    pool = body.get("Pool") or ""
    network = (body.get("Options") or {}).get(_POOL_OPTION)
    if not pool or not network:
        raise RefusedError(
            f"networks of this driver are made by `testbed up`: --subnet and "
            f"--ipam-opt {_POOL_OPTION}=NAME are needed"
        )
    try:
        subnet = ipaddress.ip_network(pool)
    except ValueError as error:
        raise RefusedError(f"bad pool: {error}") from error
    return {"PoolID": f"{network}/{subnet}", "Pool": str(subnet), "Data": {}}


def _request_address(body: Body) -> Body:
    pool_id, wanted = body.get("PoolID") or "", body.get("Address") or ""
    _, _, subnet_text = pool_id.partition("/")
    if not wanted:
        raise RefusedError("this IPAM driver picks no address: give one with --ip (and --ip6)")
    try:
        subnet = ipaddress.ip_network(subnet_text)
        address = ipaddress.ip_address(wanted)
    except ValueError as error:
        raise RefusedError(str(error)) from error
    if address not in subnet:
        raise RefusedError(f"{address} is outside {subnet}")
    return {"Address": f"{address}/{subnet.prefixlen}", "Data": {}}


def _nothing(_: Body) -> Body:
    return {}


_HANDLERS: dict[str, Callable[[Body], Body]] = {
    "Plugin.Activate": _activate,
    "IpamDriver.GetCapabilities": _capabilities,
    "IpamDriver.GetDefaultAddressSpaces": _address_spaces,
    "IpamDriver.RequestPool": _request_pool,
    "IpamDriver.ReleasePool": _nothing,
    "IpamDriver.RequestAddress": _request_address,
    "IpamDriver.ReleaseAddress": _nothing,
}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        try:
            body = json.loads(self._body() or b"{}")
            status, reply = 200, answer(self.path.lstrip("/"), body)
        except RefusedError as refused:
            status, reply = 400, {"Err": str(refused)}
        except ValueError as error:
            status, reply = 400, {"Err": f"not JSON: {error}"}
        payload = json.dumps(reply).encode()
        self.send_response(status)
        self.send_header("Content-Type", _CONTENT_TYPE)
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            return b"".join(iter(self._chunk, b""))
        return self.rfile.read(min(int(self.headers.get("Content-Length") or 0), _LONGEST_BODY))

    def _chunk(self) -> bytes:
        size = int(self.rfile.readline().split(b";")[0], 16)
        data = self.rfile.read(min(size, _LONGEST_BODY))
        self.rfile.readline()
        return data

    def address_string(self) -> str:
        return "docker"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - inherited name
        sys.stderr.write(f"{time.strftime('%FT%T')} {format % args}\n")


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


def serve(path: Path) -> None:
    """Serve on the socket `path`, root's only, until SIGTERM; the socket is removed at the end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Bind beside and rename: Docker never sees a socket that nobody serves, and a stale one is
    # replaced at once.
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    previous = os.umask(0o177)
    try:
        server = _Server(str(beside), _Handler)
    finally:
        os.umask(previous)
    beside.replace(path)
    with server:
        server.serve_forever()


def supervise(path: Path) -> None:
    """Keep one serving child alive until SIGTERM, then end it and remove the socket."""
    child = 0
    ending = False

    def end(_number: int, _frame: FrameType | None) -> None:
        nonlocal ending
        ending = True
        if child:
            os.kill(child, signal.SIGTERM)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    both, supervisor = {signal.SIGTERM, signal.SIGINT}, os.getpid()
    while not ending:
        # A signal between the fork and the assignment would miss the child: hold it back.
        signal.pthread_sigmask(signal.SIG_BLOCK, both)
        child = os.fork()
        if child == 0:
            for number in both:
                signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, both)
        if child == 0:
            process.die_with(supervisor)
            serve(path)
            os._exit(0)
        os.waitpid(child, 0)
        if not ending:
            sys.stderr.write(f"{time.strftime('%FT%T')} the serving process died: restarted\n")
            time.sleep(_RESTART_PAUSE_S)  # a crash loop must not burn a core
    path.unlink(missing_ok=True)


if __name__ == "__main__":
    supervise(Path(sys.argv[1]))
