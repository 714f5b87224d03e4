"""The thread that owns all sockets: readiness, calls from other threads, signals, a clock tick."""

from __future__ import annotations

import contextlib
import selectors
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable

_TICK_S = 0.5
_CALL = 0  # no signal has this number


class Loop:
    """Calls handlers in the thread that runs it; only `call_soon` may be used from others."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._calls: deque[Callable[[], None]] = deque()
        self._ticks: list[Callable[[float], None]] = []
        self._signals: dict[int, Callable[[], None]] = {}
        self._is_stopped = False
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.settimeout(0)
        self._wake_out.settimeout(0)
        self._selector.register(self._wake_in, selectors.EVENT_READ, self._on_wake)

    def watch(self, sock: socket.socket, events: int, handler: Callable[[int], None]) -> None:
        """Call `handler` with the events that are ready; 0 events: stop watching."""
        is_watched = sock in self._selector.get_map()
        if not events:
            if is_watched:
                self._selector.unregister(sock)
        elif is_watched:
            self._selector.modify(sock, events, handler)
        else:
            self._selector.register(sock, events, handler)

    def call_soon(self, call: Callable[[], None]) -> None:
        """Have `call` made in the loop's thread; from any thread."""
        self._calls.append(call)
        # A full pipe wakes the loop as well.
        with contextlib.suppress(BlockingIOError):
            self._wake_out.send(bytes([_CALL]))

    def every_tick(self, call: Callable[[float], None]) -> None:
        """Have `call` made about twice a second with the monotonic time."""
        self._ticks.append(call)

    def on_signals(
        self, numbers: Iterable[signal.Signals], call: Callable[[signal.Signals], None]
    ) -> None:
        """Have `call` made in the loop for these signals; only in the main thread."""
        for number in numbers:
            self._signals[number] = lambda number=number: call(number)  # type: ignore[misc]
            signal.signal(number, _ignore)
        signal.set_wakeup_fd(self._wake_out.fileno(), warn_on_full_buffer=False)

    def stop(self) -> None:
        """End `run` after the handlers of this round."""
        self._is_stopped = True

    def run(self) -> None:
        """Serve until stopped."""
        next_tick_s = time.monotonic() + _TICK_S
        while not self._is_stopped:
            for key, events in self._selector.select(max(0.0, next_tick_s - time.monotonic())):
                key.data(events)
            self._make_calls()
            now_s = time.monotonic()
            if now_s >= next_tick_s:
                next_tick_s = now_s + _TICK_S
                for tick in self._ticks:
                    tick(now_s)

    def _on_wake(self, _events: int) -> None:
        with contextlib.suppress(BlockingIOError):
            for number in self._wake_in.recv(4096):
                if number != _CALL:
                    self._signals[number]()

    def _make_calls(self) -> None:
        # Calls made meanwhile come in the next round: sockets must not starve.
        for _ in range(len(self._calls)):
            self._calls.popleft()()


def _ignore(_number: int, _frame: object) -> None:
    """Stand in the signal table so that the wake-up descriptor is told."""
