"""The daemon's loop, sockets and workers on loopback, in threads of the test's process."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

from testbed.fib.services.answer import Answerer
from testbed.fib.services.config import Config
from testbed.fib.services.dispatch import Dispatcher
from testbed.fib.services.job import Job
from testbed.fib.services.log import Log
from testbed.fib.services.loop import Loop
from testbed.fib.services.scheduler import Scheduler
from testbed.fib.services.settings import Limits
from testbed.fib.services.sockets import open_wildcards
from testbed.fib.services.tcp import TcpService
from testbed.fib.services.udp import UdpService
from testbed.fib.services.workers import Workers
from testbed.tests.services.fakes import FakeFibs, FakeServers


class Running:
    """A service that runs, and clients of it."""

    def __init__(self, config: Config, limits: Limits, *, capacity: int = 1000) -> None:
        self.fibs = FakeFibs()
        self.servers = FakeServers(self.fibs)
        self.loop = Loop()
        self.scheduler: Scheduler[Job] = Scheduler(
            limits.workers, longest_queue=limits.longest_queue
        )
        self._log_read, log_write = os.pipe()
        self._log_write = log_write
        self.log = Log(log_write)
        self.dispatcher = Dispatcher(config, scheduler=self.scheduler, log=self.log)
        wildcards = open_wildcards(0, prepare=self.fibs.set_socket_any)
        self.port = int(wildcards.listener.getsockname()[1])
        answerer = Answerer(
            fibs=self.fibs,
            resolve=self.servers.resolve,
            directory=self.servers,
            realm=self.servers,
            timeout_s=limits.request_timeout_s,
        )
        self.workers = Workers(
            limits.workers, scheduler=self.scheduler, answerer=answerer, log=self.log
        )
        self.tcp = TcpService(
            wildcards.listener,
            loop=self.loop,
            dispatcher=self.dispatcher,
            fibs=self.fibs,
            limits=limits,
            capacity=capacity,
            log=self.log,
        )
        self.udp = UdpService(
            wildcards.datagram,
            loop=self.loop,
            dispatcher=self.dispatcher,
            fibs=self.fibs,
            log=self.log,
        )
        self.udp_port = int(wildcards.datagram.getsockname()[1])
        self._thread = threading.Thread(target=self.loop.run, daemon=True)

    def start(self) -> None:
        self.workers.start()
        self.tcp.start()
        self.udp.start()
        self._thread.start()

    def stop(self) -> None:
        self.servers.release.set()
        self.loop.call_soon(self.tcp.close)
        self.loop.call_soon(self.udp.close)
        self.loop.call_soon(self.loop.stop)
        self._thread.join(5)
        self.scheduler.close()
        self.workers.join(5)
        os.close(self._log_write)
        os.close(self._log_read)

    def logged(self) -> list[dict[str, Any]]:
        """Return what was logged since the last call; waits for a line."""
        return [json.loads(line) for line in os.read(self._log_read, 1 << 20).splitlines()]

    def client(self, fib: int = 1) -> Client:
        return Client(socket.create_connection((f"127.0.0.{fib}", self.port), timeout=5))


class Client:
    """One TCP connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._file = sock.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self.sock.close()

    def send(self, **request: object) -> None:
        self.sock.sendall(json.dumps({"nonce": "n", **request}).encode() + b"\n")

    def reply(self) -> dict[str, Any]:
        line = self._file.readline()
        assert line, "closed without a reply"
        reply: dict[str, Any] = json.loads(line)
        return reply

    def ask(self, **request: object) -> dict[str, Any]:
        self.send(**request)
        return self.reply()

    def log_in(self, user: str, password: str, **more: object) -> dict[str, Any]:
        return self.ask(op="login", user=user, password=password, **more)

    def present(self, token: str) -> dict[str, Any]:
        return self.ask(op="ticket", token=token)

    def rest(self) -> bytes:
        return self._file.read()


@contextmanager
def running(config: Config, *, capacity: int = 1000, **limits: Any) -> Iterator[Running]:
    service = Running(config, Limits(**limits), capacity=capacity)
    service.start()
    try:
        yield service
    finally:
        service.stop()
