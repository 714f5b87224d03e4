"""The host's side of the guest agent (guest/agent.py): one JSON object a line on a serial port."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from testbed.deadline import Deadline, NotYet, wait_for
from testbed.errors import GuestError, ResourceError, WaitTimeoutError
from testbed.sut.qmp import connect_socket

MARK = "/run/testbed/mark"
"""The guest's file that tells whose it is; written last, so where it is the rest was done."""

_SEED_BYTES = 64
# The first request after a restore is slow, since an emulator has to translate all code anew: the
# clock is set again until it is this near. A busy host may keep it from that, which does no harm
# up to the limit (Kerberos allows 300 s, and one reads times off two clocks).
_AIM_S = 0.02
_LARGEST_SKEW_S = 2.0
_ATTEMPTS = 4


@dataclass(frozen=True, slots=True)
class Nic:
    """What the data NIC is to be called, and its MAC."""

    name: str
    mac: str


class Agent:
    """A connection to the agent. QEMU keeps what is sent until the guest reads it."""

    def __init__(self, path: Path, deadline: Deadline) -> None:
        self._connection = connect_socket(path, deadline, what="the guest agent's socket")
        self._buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._connection.close()

    def await_start(self, deadline: Deadline) -> None:
        """Wait until the agent starts (not for a restored VM, whose agent is long there).

        Raises:
            WaitTimeoutError: when it does not in time.
            ResourceError: when QEMU ends.
        """
        for line in self._lines(deadline, what="the SUT's start"):
            if line.get("ready"):
                return

    def set_clock(self, deadline: Deadline) -> float:
        """Set the guest's clock to ours and return by how many seconds it is ahead (or behind).

        Raises:
            WaitTimeoutError: when the agent does not answer in time.
            GuestError: when it cannot, or the clocks stay apart.
        """
        skew_s = 0.0
        for _ in range(_ATTEMPTS):
            answer = self.request({"time": time.time()}, deadline)
            # The guest read its clock a little before we read ours.
            skew_s = float(answer["time"]) - time.time()
            if abs(skew_s) <= _AIM_S:
                break
        if abs(skew_s) > _LARGEST_SKEW_S:
            raise GuestError(f"the SUT's clock stays off by {skew_s:+.1f} s after setting it")
        return skew_s

    def set_up(self, nic: Nic, mark: Mapping[str, str], deadline: Deadline) -> None:
        """Reseed the guest's randomness, make its data NIC `nic`, and leave `mark` in MARK."""
        self.request(
            {
                "seed": secrets.token_hex(_SEED_BYTES),
                "nic": {"name": nic.name, "mac": nic.mac},
                "mark": dict(mark),
            },
            deadline,
        )

    def await_logouts(self, deadline: Deadline) -> None:
        """Wait until nobody is logged in by ssh any more."""

        def everybody_left() -> bool:
            logins = self.request({}, deadline)["logins"]
            if logins:
                raise NotYet(f"{logins} connections")
            return True

        wait_for(everybody_left, deadline, what="end of ssh connections in the SUT")

    def request(self, request: Mapping[str, object], deadline: Deadline) -> dict[str, Any]:
        """Send `request` and return its answer.

        Raises:
            WaitTimeoutError: when there is none in time.
            ResourceError: when QEMU ends.
            GuestError: with the guest's traceback, when it failed there.
        """
        what = "the guest agent's answer"
        number = secrets.token_hex(8)
        # The first newline ends what a client that was killed may have left unfinished.
        line = b"\n" + json.dumps({**request, "id": number}).encode() + b"\n"
        self._connection.settimeout(max(deadline.left_s, 0.001))
        try:
            self._connection.sendall(line)
        except OSError as error:
            raise ResourceError(f"{what}: QEMU ended ({error})") from error
        for answer in self._lines(deadline, what=what):
            if answer.get("id") == number:
                break
        if "error" in answer:
            raise GuestError(f"the guest agent failed:\n{answer['error']}")
        return answer

    def _lines(self, deadline: Deadline, *, what: str) -> Iterator[dict[str, Any]]:
        """Yield what the agent says until the deadline, which raises."""
        while True:
            line, newline, rest = self._buffer.partition(b"\n")
            if newline:
                self._buffer = rest
                yield _parsed(line)
                continue
            self._connection.settimeout(max(deadline.left_s, 0.001))
            try:
                received = self._connection.recv(4096)
            except TimeoutError as error:
                raise WaitTimeoutError(
                    f"{what}: not within {deadline.limit_s:g} s, last seen: {self._buffer!r}"
                ) from error
            except OSError as error:
                raise ResourceError(f"{what}: QEMU ended ({error})") from error
            if not received:
                raise ResourceError(f"{what}: QEMU ended, last seen: {self._buffer!r}")
            self._buffer += received


def _parsed(line: bytes) -> dict[str, Any]:
    """Return the object in `line`; nothing for noise, such as what firmware prints on the port."""
    try:
        value = json.loads(line)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
