"""Load of many tenants by played clients, in a thread of its own, while a scenario does something."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from testbed.api import Conversation, Deadline, Player

REPLY_LIMIT_S = 20


@dataclass
class Load:
    """What was asked and answered so far; `failures` are answers that were not the tenant's own."""

    fibs: dict[str, int]
    failures: list[str] = field(default_factory=list)
    replies: int = 0
    slowest_s: float = 0.0
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def await_more(self, count: int) -> None:
        """Wait until `count` more replies have come, or one has failed."""
        with self._changed:
            wanted = self.replies + count
            self._changed.wait_for(lambda: self.replies >= wanted or self.failures, 120)
            assert not self.failures, self.failures[:3]
            assert self.replies >= wanted, "the load has stopped"

    def count(self, failure: str, took_s: float) -> None:
        """Count a reply."""
        with self._changed:
            self.replies += 1
            self.slowest_s = max(self.slowest_s, took_s)
            if failure:
                self.failures.append(failure)
            self._changed.notify_all()


@contextmanager
def load(players: Sequence[Player]) -> Iterator[Load]:
    """Ask the daemon from all `players` in turn: over a connection held open, and over a new one."""
    counted = Load({player.tenant.name: player.tenant.fib for player in players})
    ended = threading.Event()
    thread = threading.Thread(target=_run, args=(players, counted, ended), name="load")
    thread.start()
    try:
        yield counted
    finally:
        ended.set()
        thread.join()


def _run(players: Sequence[Player], counted: Load, ended: threading.Event) -> None:
    held: dict[str, Conversation] = {}
    try:
        while not ended.is_set():
            for player in players:
                if ended.is_set():
                    break
                name = player.tenant.name
                if name not in held:
                    held[name] = _connected(player, counted)
                _ask(held[name], counted)
                fresh = _connected(player, counted)
                _ask(fresh, counted)
                fresh.close()
    except OSError as error:
        counted.count(f"cannot ask: {error}", 0)
    finally:
        for conversation in held.values():
            conversation.close()


def _connected(player: Player, counted: Load) -> Conversation:
    conversation = player.connect()
    failure = conversation.connected(Deadline.after(REPLY_LIMIT_S))
    if failure:
        counted.count(f"{player.tenant.name}: connect: {failure}", REPLY_LIMIT_S)
    return conversation


def _ask(conversation: Conversation, counted: Load) -> None:
    start_s = time.monotonic()
    reply = conversation.ask({"op": "whoami"}, Deadline.after(REPLY_LIMIT_S))
    seen = (reply.error, reply.tenant, reply.fib)
    expected = ("", conversation.tenant, counted.fibs[conversation.tenant])
    counted.count("" if seen == expected else f"{seen}, not {expected}", time.monotonic() - start_s)
