"""The client's tool against the service on loopback, as its own process would run it."""

from __future__ import annotations

import importlib.util
import io
import json
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from testbed.tests.services.fakes import config, tenant
from testbed.tests.services.running import Running, running

pytestmark = pytest.mark.timeout(10)

_TOOL = Path(__file__).parents[3] / "tenants" / "client" / "tool" / "tenant_request.py"
Lines = list[dict[str, Any]]
Run = Callable[..., tuple[int, Lines]]


def _load() -> Any:
    spec = importlib.util.spec_from_file_location("tenant_request", _TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["tenant_request"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


_TENANT_REQUEST = _load()


@pytest.fixture(scope="module")
def service() -> Iterator[Running]:
    with running(config(tenant(1, "alpha"))) as one:
        yield one


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def run_tool(*arguments: object, stdin: bytes = b"") -> tuple[int, Lines]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        code = _TENANT_REQUEST.main([str(argument) for argument in arguments])
        return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return run_tool


def test_a_reply_is_printed_with_what_the_client_saw(service: Running, run: Run) -> None:
    code, (line,) = run("--server", "127.0.0.1", "--port", service.port, "whoami")
    assert (code, line["tenant"]) == (0, "alpha")
    assert line["client"]["peer"] == line["local"]
    assert line["client"]["local"] == line["peer"]


def test_the_source_port_is_ours_to_choose(service: Running, run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    server = ("--server", "127.0.0.1", "--port", service.port)
    code, (line,) = run(*server, "--source", "127.0.0.1", "--source-port", port, "whoami")
    assert (code, line["peer"]) == (0, {"address": "127.0.0.1", "port": port})


def test_requests_come_on_stdin_over_one_connection(service: Running, run: Run) -> None:
    requests = [
        {"op": "login", "nonce": "1", "user": "anna", "password": "anna-1"},
        {"op": "login", "nonce": "2", "user": "anna", "password": "x"},
    ]
    stdin = b"".join(json.dumps(request).encode() + b"\n" for request in requests)
    code, lines = run("--server", "127.0.0.1", "--port", service.port, "-", stdin=stdin)
    assert (code, [line["verdict"] for line in lines]) == (0, ["accepted", "refused"])
    assert lines[0]["peer"] == lines[1]["peer"]


def test_a_held_connection_is_told_before_anything_is_sent(service: Running, run: Run) -> None:
    server = ("--server", "127.0.0.1", "--port", service.port)
    code, (held, reply) = run(*server, "--hold", "login", "anna", stdin=b"anna-1\n")
    assert (code, held["connected"]["local"], reply["verdict"]) == (0, reply["peer"], "accepted")


def test_bad_input_goes_out_as_it_is(service: Running, run: Run) -> None:
    server = ("--server", "127.0.0.1", "--port", service.port)
    code, (line,) = run(*server, "-", stdin=b"junk\n")
    assert (code, line["verdict"], line["nonce"]) == (0, "error", None)


def test_datagrams_are_counted(service: Running, run: Run) -> None:
    server = ("--server", "127.0.0.1", "--port", service.udp_port, "--udp")
    code, lines = run(*server, "--count", 3, "--nonce", "n", "echo", "hi")
    assert (code, [line["nonce"] for line in lines]) == (0, ["n-0", "n-1", "n-2"])


@pytest.mark.parametrize("transport", [(), ("--udp",)])
def test_a_closed_port_is_refused(run: Run, transport: tuple[str, ...]) -> None:
    code, (line,) = run("--server", "127.0.0.1", "--port", 1, *transport, "whoami")
    assert (code, line["error"]) == (1, "ECONNREFUSED")


def test_silence_is_a_timeout(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server = ("--server", "127.0.0.1", "--port", silent.getsockname()[1])
        code, (line,) = run(*server, "--timeout", 0.1, "whoami")
    assert (code, line["error"], line["phase"]) == (3, "ETIMEDOUT", "reply")


def test_an_address_of_no_network_is_unreachable(run: Run) -> None:
    # TCP to the broadcast address: refused by the kernel whatever the host's routes are.
    code, (line,) = run("--server", "255.255.255.255", "whoami")
    assert (code, line["error"]) == (4, "ENETUNREACH")


@pytest.mark.parametrize(
    "arguments",
    [
        ("whoami",),
        ("--server", "127.0.0.1"),
        ("--server", "127.0.0.1", "login"),
        ("--server", "127.0.0.1", "whoami", "x"),
        ("--server", "127.0.0.1", "ticket"),
        ("--server", "127.0.0.1", "--timeout", "0", "whoami"),
        ("--token-only",),
    ],
)
def test_wrong_usage_is_exit_code_2(run: Run, arguments: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as caught:
        run(*arguments)
    assert caught.value.code == 2


def test_a_reply_to_another_request_is_not_taken() -> None:
    with pytest.raises(_TENANT_REQUEST.RequestFailedError, match="EBADMSG"):
        _TENANT_REQUEST._understood(
            b'{"nonce":"a","verdict":"accepted"}', _TENANT_REQUEST.Request(b"", "b")
        )
