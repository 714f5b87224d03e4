from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.drivers import ipam, process


def test_twins_get_pools_of_their_own() -> None:
    pools = {
        ipam.answer("IpamDriver.RequestPool", pool_request(network))["PoolID"]
        for network in ("tb-x-castor", "tb-x-pollux")
    }
    assert len(pools) == 2


def test_requested_address_is_granted_with_its_prefix() -> None:
    pool = ipam.answer("IpamDriver.RequestPool", pool_request("tb-x-castor"))["PoolID"]
    granted = ipam.answer("IpamDriver.RequestAddress", {"PoolID": pool, "Address": "192.168.0.89"})
    assert granted["Address"] == "192.168.0.89/24"


def test_ipv6_pool() -> None:
    request = {**pool_request("tb-x-castor"), "Pool": "fd00:c0a8::/64", "V6": True}
    pool = ipam.answer("IpamDriver.RequestPool", request)["PoolID"]
    granted = ipam.answer("IpamDriver.RequestAddress", {"PoolID": pool, "Address": "fd00:c0a8::59"})
    assert granted["Address"] == "fd00:c0a8::59/64"


@pytest.mark.parametrize(
    ("method", "body", "words"),
    [
        ("IpamDriver.RequestPool", {}, "testbed up"),
        ("IpamDriver.RequestPool", {"Pool": "10.0.0.0/8"}, "testbed up"),
        ("IpamDriver.RequestAddress", {"PoolID": "n/10.0.0.0/8"}, "--ip"),
        (
            "IpamDriver.RequestAddress",
            {"PoolID": "n/10.0.0.0/8", "Address": "11.0.0.1"},
            "11.0.0.1 is outside 10.0.0.0/8",
        ),
        ("IpamDriver.RequestAddress", {"PoolID": "n/10.0.0.0/8", "Address": "x"}, "'x'"),
        ("NetworkDriver.Join", {}, "no method 'NetworkDriver.Join'"),
    ],
)
def test_what_cannot_be_granted_is_explained(method: str, body: dict[str, str], words: str) -> None:
    with pytest.raises(ipam.RefusedError, match=words.replace("(", r"\(")):
        ipam.answer(method, body)


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(ipam, "PLUGINS", tmp_path)
    owner = f"selftest-{tmp_path.name}/ipam"
    ipam.ensure_running("twins", owner, tmp_path)
    yield ipam.socket_of("twins")
    for pid in process.owned(owner):
        process.stop(pid)


def test_served_over_its_socket_with_chunked_bodies(plugin: Path) -> None:
    status, reply = call(plugin, "Plugin.Activate", [])
    assert (status, reply) == (200, {"Implements": ["IpamDriver"]})
    body = json.dumps(pool_request("tb-x-castor")).encode()
    status, reply = call(plugin, "IpamDriver.RequestPool", [body[:7], body[7:]])
    assert (status, reply["Pool"]) == (200, "192.168.0.0/24")


def test_refusal_reaches_docker_as_its_error_text(plugin: Path) -> None:
    status, reply = call(plugin, "IpamDriver.RequestPool", [b"{"])
    assert status == 400
    assert str(reply["Err"]).startswith("not JSON")


def test_socket_is_roots_only(plugin: Path) -> None:
    assert plugin.stat().st_mode & 0o077 == 0


def test_killed_server_is_replaced(plugin: Path) -> None:
    owner = f"selftest-{plugin.parent.name}/ipam"
    pids = sorted(process.owned(owner))
    children = Path(f"/proc/{pids[0]}/task/{pids[0]}/children").read_text().split()
    process.stop(int(children[0]), grace_s=0)
    from testbed.deadline import Deadline, wait_for  # noqa: PLC0415 - only here

    wait_for(lambda: ipam.is_serving("twins"), Deadline.after(10), what="the new server")
    assert call(plugin, "Plugin.Activate", [])[0] == 200


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("docker")
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self.path))


def call(path: Path, method: str, chunks: list[bytes]) -> tuple[int, dict[str, object]]:
    connection = UnixConnection(path)
    connection.request(
        "POST",
        f"/{method}",
        body=iter(chunks),
        encode_chunked=True,
        headers={"Transfer-Encoding": "chunked"},
    )
    response = connection.getresponse()
    return response.status, json.loads(response.read())


def pool_request(network: str) -> dict[str, object]:
    return {"Pool": "192.168.0.0/24", "Options": ipam.pool_options(network), "V6": False}
