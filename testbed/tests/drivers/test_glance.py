"""The state of a container, by a daemon's answers as Docker 20.10 and 28 send them."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest

from testbed.drivers import glance
from testbed.errors import ResourceError


@pytest.fixture(autouse=True)
def usual_docker(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT"):
        monkeypatch.delenv(name, raising=False)


@contextmanager
def daemon(path: Path, answer: str) -> Iterator[list[bytes]]:
    """Answer one request; yield what was asked."""
    asked: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                asked.append(connection.recv(4096))
                connection.sendall(answer.encode())

        thread = Thread(target=serve)
        thread.start()
        yield asked
        thread.join()


def answer(code: str, body: object) -> str:
    return f"HTTP/1.0 {code}\r\nContent-Type: application/json\r\n\r\n{json.dumps(body)}"


@pytest.mark.parametrize(
    ("told", "state"),
    [
        (answer("200 OK", {"State": {"Status": "running"}}), "running"),
        (answer("200 OK", {"State": {"Status": "exited"}}), "exited"),
        (answer("404 Not Found", {"message": "No such container: a"}), glance.MISSING),
        (answer("500 Internal Server Error", {"message": "?"}), ""),
        ("", ""),
    ],
)
def test_state_is_what_the_daemon_tells(tmp_path: Path, told: str, state: str) -> None:
    path = tmp_path / "docker.sock"
    with daemon(path, told) as asked:
        assert glance.state_of("tb-a", at=str(path)) == state
    assert asked[0].startswith(b"GET /containers/tb-a/json HTTP/1.0\r\n")


def test_no_daemon_is_told_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match="No such file") as caught:
        glance.state_of("tb-a", at=str(tmp_path / "docker.sock"))
    assert caught.value.hint


def test_nothing_is_told_of_a_daemon_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://192.0.2.1:2375")
    assert glance.state_of("tb-a", at=str(tmp_path / "docker.sock")) == ""
