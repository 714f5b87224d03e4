from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from testbed.deadline import Deadline
from testbed.errors import GuestError, ResourceError, WaitTimeoutError
from testbed.sut.agent import Agent, Nic
from testbed.sut.guest import agent as guest
from testbed.sut.qmp import Qmp, connect_socket

Talk = Callable[[socket.socket], None]


@contextmanager
def listener(path: Path, talk: Talk) -> Iterator[None]:
    """Serve one connection on the unix socket `path`."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                talk(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        yield
        thread.join()


def answering(change: dict[str, Any], noise: bytes = b"") -> Talk:
    """Return a talk that answers each request with its id and `change`, after `noise`."""

    def talk(connection: socket.socket) -> None:
        for line in connection.makefile("rb"):
            if line.strip():
                answer = {"id": json.loads(line)["id"], "time": time.time(), "logins": 0}
                connection.sendall(noise + json.dumps({**answer, **change}).encode() + b"\n")

    return talk


def test_answer_is_found_among_noise_and_answers_to_others(tmp_path: Path) -> None:
    noise = b'SeaBIOS\n{"ready": true}\n{"id": "another", "time": 1}\n[1]\n{"id": \n'
    with (
        listener(tmp_path / "agent", answering({}, noise)),
        Agent(tmp_path / "agent", Deadline(5)) as agent,
    ):
        assert abs(agent.set_clock(Deadline(5))) < 0.1


def test_clock_that_stays_off_is_an_error_that_tells_by_how_much(tmp_path: Path) -> None:
    with (
        listener(tmp_path / "agent", answering({"time": time.time() - 500})),
        Agent(tmp_path / "agent", Deadline(5)) as agent,
        pytest.raises(GuestError, match=r"clock stays off by -500\.\d s"),
    ):
        agent.set_clock(Deadline(5))


def test_guests_traceback_is_carried_over(tmp_path: Path) -> None:
    with (
        listener(tmp_path / "agent", answering({"error": "Traceback: no eth0"})),
        Agent(tmp_path / "agent", Deadline(5)) as agent,
        pytest.raises(GuestError, match="no eth0"),
    ):
        agent.set_up(Nic("eth0", "02:00:00:00:00:01"), {}, Deadline(5))


def test_silent_agent_is_waited_for_no_longer_than_allowed(tmp_path: Path) -> None:
    def talk(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(b"half an ans")
        while connection.recv(4096):
            pass

    with (
        listener(tmp_path / "agent", talk),
        Agent(tmp_path / "agent", Deadline(5)) as agent,
        pytest.raises(WaitTimeoutError, match="half an ans"),
    ):
        agent.request({}, Deadline(0.1))


def test_end_of_qemu_is_noticed_at_once(tmp_path: Path) -> None:
    def hang_up(connection: socket.socket) -> None:
        connection.shutdown(socket.SHUT_RDWR)

    with (
        listener(tmp_path / "agent", hang_up),
        Agent(tmp_path / "agent", Deadline(5)) as agent,
    ):
        with pytest.raises(ResourceError, match="QEMU ended"):
            agent.await_start(Deadline(60))
        with pytest.raises(ResourceError, match="QEMU ended"):
            agent.request({}, Deadline(60))


def test_guest_answers_nonsense_with_an_error() -> None:
    assert "JSONDecodeError" in json.loads(guest.answer(b"nonsense\n"))["error"]
    assert "AttributeError" in json.loads(guest.answer(b"[1]\n"))["error"]


@pytest.mark.timeout(20)
def test_listener_that_takes_nobody_any_more_is_told(tmp_path: Path) -> None:
    """As the kernel lets connections to a stopped process queue, and blocks who comes too late."""
    with socket.socket(socket.AF_UNIX) as server, ExitStack() as queue:
        server.bind(str(tmp_path / "qmp"))
        server.listen(0)
        queue.enter_context(connect_socket(tmp_path / "qmp", Deadline(5), what="the first"))
        with pytest.raises(WaitTimeoutError, match="last seen: others wait for it"):
            connect_socket(tmp_path / "qmp", Deadline(0.1), what="the second")


def test_guest_answers_an_empty_request_with_its_id_and_time() -> None:
    answer = json.loads(guest.answer(b'{"id": "7"}\n'))
    assert answer["id"] == "7"
    assert abs(answer["time"] - time.time()) < 5


def qemu(*answers: dict[str, Any]) -> Talk:
    """Return a talk like QEMU's: a greeting, then one of `answers` to each command."""

    def talk(connection: socket.socket) -> None:
        connection.sendall(b'{"QMP": {}}\n')
        lines = connection.makefile("rb")
        for answer in ({"return": {}}, *answers):
            lines.readline()
            connection.sendall(b'{"event": "RESUME"}\n' + json.dumps(answer).encode() + b"\n")

    return talk


def test_answer_is_told_from_events(tmp_path: Path) -> None:
    with (
        listener(tmp_path / "qmp", qemu({"return": {"running": True}})),
        Qmp.connect(tmp_path / "qmp", Deadline(5)) as control,
    ):
        assert control.execute("query-status") == {"running": True}


def test_refusal_carries_qemus_words(tmp_path: Path) -> None:
    with (
        listener(tmp_path / "qmp", qemu({"error": {"class": "X", "desc": "no such thing"}})),
        Qmp.connect(tmp_path / "qmp", Deadline(5)) as control,
        pytest.raises(ResourceError, match="refused 'cont': no such thing"),
    ):
        control.execute("cont")


def test_qemu_that_hangs_up_is_an_error(tmp_path: Path) -> None:
    with (
        listener(tmp_path / "qmp", qemu()),
        Qmp.connect(tmp_path / "qmp", Deadline(5)) as control,
        pytest.raises(ResourceError, match="hung up"),
    ):
        control.execute("stop")
