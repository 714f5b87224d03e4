from __future__ import annotations

import os
import socket
import threading

import pytest

from testbed.fib.services.cutoff import cut_off
from testbed.tests.services.fakes import FakeFibs


@pytest.fixture
def server() -> socket.socket:
    """Listens on 127.0.0.9 and never says a word."""
    return socket.create_server(("127.0.0.9", 0))


def connected(server: socket.socket, source: str) -> socket.socket:
    return socket.create_connection(server.getsockname(), source_address=(source, 0), timeout=5)


@pytest.mark.timeout(5)
def test_a_call_that_waits_in_the_fib_ends_and_others_go_on(server: socket.socket) -> None:
    with server, connected(server, "127.0.0.1") as stuck, connected(server, "127.0.0.2") as other:
        read: list[bytes] = []
        reader = threading.Thread(target=lambda: read.append(stuck.recv(1)))
        reader.start()
        assert cut_off(1, socket_fib=FakeFibs().socket_fib, own_port=1) == 1
        reader.join()
        assert read == [b""]
        other.sendall(b"still here")


@pytest.mark.timeout(5)
def test_a_silent_datagram_server_is_cut_off_too() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.connect(("127.0.0.9", 9))
        assert cut_off(1, socket_fib=FakeFibs().socket_fib, own_port=1) == 1
        assert sock.recv(1) == b""


def test_clients_of_the_daemon_are_not_cut_off(server: socket.socket) -> None:
    with server, connected(server, "127.0.0.1") as client:
        port = client.getsockname()[1]
        assert cut_off(1, socket_fib=FakeFibs().socket_fib, own_port=port) == 0


def test_no_descriptor_is_left_open(server: socket.socket) -> None:
    with server, connected(server, "127.0.0.1"):
        before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
        cut_off(1, socket_fib=FakeFibs().socket_fib, own_port=1)
        assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
