"""Remembers which of a tenant's KDCs answered when another did not, so that nobody waits twice.

libkrb5 finds KDCs by DNS SRV and asks one after the other, a second for each address, at every
exchange anew: with the first KDC of two dead, a login takes seven seconds for as long as that lasts.
What libkrb5 tells of its work (its trace) names the servers that it has asked, and who answered.
After a silence those are given to it in a better order, by a file that it reads before its other
configuration. By FIB, since the realms and KDCs of two tenants may have the same names and addresses.
"""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

_KEPT_S = 300.0
"""Then the order is DNS's again, which may have changed: a login of a tenant waits once for that."""

# Of MIT Kerberos 1.20 (src/include/k5-trace.h), behind process and time: `[385] 1795811001.768017: `;
# servers are `dgram 192.168.0.88:88` or `stream fd00:c0a8::88:88`.
_ASKED = re.compile(r"(?:Sending initial UDP request|Initiating TCP connection) to \w+ (\S+):(\d+)")
_ANSWERED = re.compile(r"Received answer \(\d+ bytes\) from \w+ (\S+):(\d+)")

Server = tuple[str, str]  # address and port


@dataclass(slots=True)
class Conversation:
    """Which servers a context of libkrb5 has asked since this was last looked at, and who answered."""

    asked: list[Server] = field(default_factory=list)
    answered: Server | None = None

    @property
    def had_silence(self) -> bool:
        """Whether somebody answered, and not the one that was asked first."""
        return self.answered is not None and self.answered != self.asked[0]

    def take(self) -> Conversation:
        """Return what was heard, and begin anew."""
        taken = Conversation(self.asked, self.answered)
        self.asked, self.answered = [], None
        return taken

    def hear(self, message: str) -> None:
        """Take a line of the trace."""
        if found := _ASKED.match(message, _said_at(message)):
            server = (found[1], found[2])
            if server not in self.asked:
                self.asked.append(server)
        elif self.asked and (found := _ANSWERED.match(message, _said_at(message))):
            self.answered = (found[1], found[2])


def _said_at(message: str) -> int:
    """Return where a line of the trace begins to say something."""
    return message.find(": ") + 2


class Kdcs:
    """By FIB: the order in which a tenant's KDCs are asked, where DNS's would cost time.

    May be used by several threads at once; `directory` is for its files.
    """

    def __init__(self, directory: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._directory = directory
        self._clock = clock
        self._lock = threading.Lock()
        self._orders: dict[int, tuple[Path, float]] = {}

    def file(self, fib: int) -> Path | None:
        """Return the file with the order of the FIB's KDCs; None: as DNS has them."""
        with self._lock:
            path, until_s = self._orders.get(fib, (None, 0.0))
            return path if self._clock() < until_s else None

    def learn(self, fib: int, realm: str, heard: Conversation) -> None:
        """Take what a conversation of the FIB's has shown."""
        if heard.asked and heard.answered is None:  # nobody: whatever is known is of no use
            with self._lock:
                self._orders.pop(fib, None)
        elif heard.answered is not None and heard.had_silence:
            path = self._write(realm, [heard.answered, *heard.asked])
            with self._lock:
                self._orders[fib] = (path, self._clock() + _KEPT_S)

    def _write(self, realm: str, servers: list[Server]) -> Path:
        lines = "".join(f"  kdc = {_endpoint(server)}\n" for server in dict.fromkeys(servers))
        text = f"[realms]\n {realm} = {{\n{lines} }}\n"
        # Named by what is in it: libkrb5 shares what it has read of a file, and may not look again.
        path = self._directory / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.conf"
        if not path.exists():
            draft = path.with_suffix(f".{threading.get_ident()}")
            draft.write_text(text, encoding="ascii")
            draft.replace(path)
        return path


def _endpoint(server: Server) -> str:
    address, port = server
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
