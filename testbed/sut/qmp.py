"""A client for QEMU's machine protocol (QMP): one command at a time, over a unix socket.

Own code rather than the `qemu.qmp` package: that one is asynchronous, and all that is needed here
is a request, its answer, and a file descriptor handed over (docs/interop/qmp-spec.txt).
"""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from testbed.deadline import Deadline, NotYet, wait_for
from testbed.errors import ResourceError

ANSWER_LIMIT_S = 10.0
"""How long QEMU may take to answer; one that takes longer hangs."""


class Qmp:
    """A connection that is past the greeting; use as a context manager or close it."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lines = connection.makefile("rb")
        self._receive()  # the greeting
        self.execute("qmp_capabilities")

    @classmethod
    def connect(cls, path: Path, deadline: Deadline) -> Self:
        """Connect to the QEMU that listens, or within the deadline will listen, at `path`.

        Raises:
            WaitTimeoutError: when nobody listens there in time.
            ResourceError: when it hangs up or does not answer.
        """
        return cls(connect_socket(path, deadline, what="QEMU's control socket"))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; QEMU goes on."""
        self._lines.close()
        self._connection.close()

    def execute(
        self, command: str, arguments: Mapping[str, object] | None = None, *, pass_fd: int = -1
    ) -> Any:
        """Execute `command` and return what it returns, as parsed JSON.

        `pass_fd` is handed to QEMU along with the command (`getfd` takes it).

        Raises:
            ResourceError: when QEMU refuses the command, hangs up or does not answer.
        """
        request: dict[str, object] = {"execute": command}
        if arguments:
            request["arguments"] = dict(arguments)
        line = json.dumps(request).encode() + b"\n"
        try:
            if pass_fd >= 0:
                socket.send_fds(self._connection, [line], [pass_fd])
            else:
                self._connection.sendall(line)
        except OSError as error:
            raise ResourceError(f"QEMU hung up before {command!r}: {error}") from error
        while True:
            answer = self._receive()
            if "error" in answer:
                raise ResourceError(f"QEMU refused {command!r}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]
            # else an event, which nobody here waits for

    def _receive(self) -> dict[str, Any]:
        try:
            line = self._lines.readline()
        except TimeoutError as error:
            raise ResourceError(f"QEMU does not answer within {ANSWER_LIMIT_S:g} s") from error
        except OSError as error:  # it left without reading what we had sent
            raise ResourceError(f"QEMU hung up: {error}") from error
        if not line.endswith(b"\n"):
            raise ResourceError("QEMU hung up")
        answer: dict[str, Any] = json.loads(line)
        return answer


def connect_socket(path: Path, deadline: Deadline, *, what: str) -> socket.socket:
    """Connect to the unix socket `path` as soon as somebody listens there.

    Raises:
        WaitTimeoutError: when nobody does in time.
    """

    def attempt() -> socket.socket | None:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(ANSWER_LIMIT_S)
        try:
            connection.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            connection.close()
            return None
        except BlockingIOError as error:  # a few may queue until it takes them
            connection.close()
            raise NotYet("others wait for it, too") from error
        return connection

    return wait_for(attempt, deadline, what=f"{what} at {path}")
