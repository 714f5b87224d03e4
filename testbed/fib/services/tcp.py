"""TCP side: accepts, reads lines, sends replies, and keeps what a client can hold in bounds.

Everything here runs in the loop's thread. A connection is watched only while it is its client's
turn, so thousands of idle ones cost a descriptor and a few hundred bytes each, and no worker.
"""

from __future__ import annotations

import errno
import socket
import time
from collections import Counter
from enum import Enum, auto
from selectors import EVENT_READ, EVENT_WRITE

from .dispatch import Dispatcher
from .fibs import Fibs
from .job import Origin, Transport
from .log import Log
from .loop import Loop
from .protocol import MAX_LINE_BYTES
from .settings import Limits
from .sockets import endpoint

_ACCEPTS_PER_ROUND = 64
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class _State(Enum):
    READING = auto()
    BUSY = auto()  # a request is with the workers; not watched
    WRITING = auto()
    DRAINING = auto()  # said our last; reading on so that no RST overtakes the reply
    CLOSED = auto()


class TcpService:
    """Accepts on `listener` until closed. At most `capacity` connections, half of them a FIB's."""

    def __init__(
        self,
        listener: socket.socket,
        *,
        loop: Loop,
        dispatcher: Dispatcher,
        fibs: Fibs,
        limits: Limits,
        capacity: int,
        log: Log,
    ) -> None:
        self.loop = loop
        self.dispatcher = dispatcher
        self.fibs = fibs
        self.limits = limits
        self._listener = listener
        self._capacity = capacity
        self._log = log
        self._connections: set[_Connection] = set()
        self._by_fib: Counter[int] = Counter()
        self._is_closing = False

    def start(self) -> None:
        """Begin to accept."""
        self.loop.watch(self._listener, EVENT_READ, self._on_acceptable)
        self.loop.every_tick(self._on_tick)

    def close(self) -> None:
        """Accept no more and drop whoever has no request under way."""
        self._is_closing = True
        self.loop.watch(self._listener, 0, self._on_acceptable)
        self._listener.close()
        for connection in list(self._connections):
            if connection.state in {_State.READING, _State.DRAINING}:
                connection.close()

    @property
    def is_closing(self) -> bool:
        """Whether `close` was called: replies are then the last on their connection."""
        return self._is_closing

    @property
    def number_open(self) -> int:
        """How many connections are open."""
        return len(self._connections)

    def descriptors(self) -> set[int]:
        """Return the descriptors of all connections."""
        return {connection.descriptor for connection in self._connections}

    def forget(self, connection: _Connection) -> None:
        """Take note that a connection is closed."""
        self._connections.discard(connection)
        self._by_fib[connection.fib] -= 1
        if not self._by_fib[connection.fib]:
            del self._by_fib[connection.fib]

    def _on_acceptable(self, _events: int) -> None:
        for _ in range(_ACCEPTS_PER_ROUND):
            try:
                sock, name = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    # The listener stays readable: look again at the next tick, do not spin.
                    self.loop.watch(self._listener, 0, self._on_acceptable)
                    self._log.write({"event": "accept-paused", "error": str(error)})
                    return
                continue  # accept(2): errors of the new connection, not of the listener
            self._admit(sock, name)

    def _admit(self, sock: socket.socket, name: tuple[object, ...]) -> None:
        sock.settimeout(0)
        try:
            fib = self.fibs.socket_fib(sock)
            origin = Origin(Transport.TCP, fib, endpoint(sock.getsockname()), endpoint(name))
        except OSError as error:
            self._log.write({"event": "accept-failed", "error": str(error), "peer": str(name)})
            sock.close()
            return
        connection = _Connection(sock, origin, self)
        is_full = len(self._connections) >= self._capacity
        has_share = self._by_fib[fib] < max(1, self._capacity // 2)
        self._connections.add(connection)
        self._by_fib[fib] += 1
        if is_full or not has_share:
            connection.reject("too many connections" + ("" if is_full else " of this tenant"))
            connection.close()
        else:
            connection.advance()

    def _on_tick(self, now_s: float) -> None:
        if not self._is_closing:
            self.loop.watch(self._listener, EVENT_READ, self._on_acceptable)
        for connection in [one for one in self._connections if one.deadline_s <= now_s]:
            connection.expire()


class _Connection:
    """One client. `deadline_s` is when its present state must be over (monotonic)."""

    __slots__ = (
        "_buffer",
        "_eof",
        "_in_line",
        "_is_last",
        "_origin",
        "_out",
        "_scanned",
        "_service",
        "_sock",
        "deadline_s",
        "state",
    )

    def __init__(self, sock: socket.socket, origin: Origin, service: TcpService) -> None:
        self._sock = sock
        self._origin = origin
        self._service = service
        self._buffer = bytearray()
        self._scanned = 0  # bytes of the buffer known to hold no newline
        self._out = b""
        self._eof = False
        self._in_line = False
        self._is_last = False
        self.state = _State.READING
        self.deadline_s = time.monotonic() + service.limits.idle_timeout_s

    @property
    def fib(self) -> int:
        """The FIB of its local address, fixed for its life."""
        return self._origin.fib

    @property
    def descriptor(self) -> int:
        """Its descriptor."""
        return self._sock.fileno()

    def advance(self) -> None:
        """Go on to the next request in the buffer, else wait for one."""
        end = self._buffer.find(b"\n", self._scanned)
        if end >= 0:
            line = bytes(self._buffer[:end])
            del self._buffer[: end + 1]
            self._scanned = 0
            self._in_line = False
            self._enter(_State.BUSY, 0)
            self._service.dispatcher.dispatch(line, self._origin, self._respond)
            return
        self._scanned = len(self._buffer)
        if len(self._buffer) > MAX_LINE_BYTES:
            self.reject(f"a line is longer than {MAX_LINE_BYTES} bytes")
        elif self._eof and self._buffer:
            self.reject("the last line has no end")
        elif self._eof:
            self.close()
        else:
            self._await_line()

    def reject(self, reason: str) -> None:
        """Send one error, then no more."""
        self._enter(_State.BUSY, 0)
        self._service.dispatcher.reject(reason, self._origin, self._send)

    def expire(self) -> None:
        """End what should have been over by now."""
        if self.state is _State.READING and self._buffer:
            limit_s = self._service.limits.line_timeout_s
            self.reject(f"a line did not end within {limit_s:g} s")
        elif self.state is not _State.BUSY:
            self.close()

    def close(self) -> None:
        """Give everything up."""
        if self.state is _State.CLOSED:
            return
        self._service.loop.watch(self._sock, 0, self._on_ready)
        self.state = _State.CLOSED
        self._sock.close()
        self._service.forget(self)

    def _await_line(self) -> None:
        limits = self._service.limits
        if not self._buffer:
            self._enter(_State.READING, limits.idle_timeout_s)
        elif not self._in_line:
            # From its first byte on: more bytes, however slow, do not move the deadline.
            self._in_line = True
            self._enter(_State.READING, limits.line_timeout_s)

    def _enter(self, state: _State, timeout_s: float) -> None:
        events = {_State.READING: EVENT_READ, _State.DRAINING: EVENT_READ}
        events[_State.WRITING] = EVENT_WRITE
        self.state = state
        self.deadline_s = time.monotonic() + timeout_s if timeout_s else float("inf")
        self._service.loop.watch(self._sock, events.get(state, 0), self._on_ready)

    def _respond(self, reply: bytes, *, is_last: bool) -> None:
        self._service.loop.call_soon(lambda: self._send(reply, is_last=is_last))

    def _send(self, reply: bytes, *, is_last: bool) -> None:
        self._out = reply
        self._is_last = is_last or self._service.is_closing
        self._flush()

    def _on_ready(self, _events: int) -> None:
        if self.state is _State.WRITING:
            self._flush()
        else:
            self._read()

    def _read(self) -> None:
        try:
            data = self._sock.recv(MAX_LINE_BYTES + 1 - len(self._buffer))
        except BlockingIOError:
            return
        except OSError:  # reset by the client
            self.close()
            return
        if self.state is _State.DRAINING:
            if not data:
                self.close()
            return
        self._eof = not data
        self._buffer += data
        self.advance()

    def _flush(self) -> None:
        try:
            sent = self._sock.send(self._out)
        except BlockingIOError:
            sent = 0
        except OSError:  # the client has gone
            self.close()
            return
        self._out = self._out[sent:]
        if self._out:
            self._enter(_State.WRITING, self._service.limits.line_timeout_s)
        elif self._is_last:
            self._hang_up()
        else:
            self.advance()

    def _hang_up(self) -> None:
        """Close our half. Closing all with bytes unread would send RST and lose the reply."""
        self._buffer.clear()
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.close()
            return
        if self._eof:
            self.close()
        else:
            self._enter(_State.DRAINING, self._service.limits.linger_timeout_s)
