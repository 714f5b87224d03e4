"""Commands inside containers: run to their end, or conversed with."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

import docker

from testbed.drivers.dockerd import explained
from testbed.errors import ResourceError

# Docker Engine API, "Attach to a container": stream, length.
_FRAME_HEADER = struct.Struct(">BxxxL")


@dataclass(frozen=True, slots=True)
class Answer:
    """How a command inside a container ended, and what it printed."""

    exit_code: int
    output: str


def run_in(
    client: docker.DockerClient, name: str, argv: Sequence[str], *, stdin: bytes = b""
) -> Answer:
    """Run `argv` inside the container `name`, feed it `stdin`, and wait for its end.

    stdout and stderr come back as one text, in the order they were printed.
    """
    with open_in(client, name, argv, stdin=bool(stdin)) as session:
        if stdin:
            session.send(stdin)
            session.end_input()
        output = b"".join(session.chunks())
        return Answer(session.exit_code(), output.decode(errors="replace"))


@contextmanager
def open_in(
    client: docker.DockerClient, name: str, argv: Sequence[str], *, stdin: bool = True
) -> Iterator[Session]:
    """Start `argv` inside the container `name` and converse with it; its input ends with the block.

    A client that keeps a connection open at a scenario's word is run like this. Without `stdin` it has
    no input at all.
    """
    with explained(f"run {argv[0]!r} in container {name!r}"):
        made = client.api.exec_create(name, list(argv), stdin=stdin)
        stream = client.api.exec_start(made["Id"], socket=True)
    session = Session(client, made["Id"], stream)
    try:
        yield session
    finally:
        session.close()


class Session:
    """A running command inside a container: send it input, read its output as it comes."""

    def __init__(self, client: docker.DockerClient, exec_id: str, stream: Any) -> None:
        self._client = client
        self._exec_id = exec_id
        self._stream = stream
        # docker-py hands out a reader over the connection; the socket itself takes the input. What came
        # together with the reply's header, often all that a quick command prints, is only in the buffer
        # that read the header: docker-py's own functions lose it.
        self._socket: socket.socket = stream._sock  # noqa: SLF001
        self._reader: BinaryIO = stream._response.raw._fp.fp  # noqa: SLF001
        self._rest = b""

    def send(self, data: bytes) -> None:
        """Feed `data` to the command."""
        self._socket.sendall(data)

    def end_input(self) -> None:
        """Tell the command that no more input comes."""
        self._socket.shutdown(socket.SHUT_WR)

    def chunks(self) -> Iterator[bytes]:
        """Yield what the command prints, both streams as they come, until it ends."""
        if self._rest:
            rest, self._rest = self._rest, b""
            yield rest
        while data := self._frame():
            yield data

    def _frame(self) -> bytes:
        """Read what was printed at once, empty at the end: 8 bytes with stream and length before it."""
        while header := self._reader.read(_FRAME_HEADER.size):
            data = self._reader.read(_FRAME_HEADER.unpack(header)[1])
            if data:
                return data
        return b""

    def line(self, *, limit_s: float = 10) -> str:
        """Return the next line that the command prints, empty at its end; blocks at most `limit_s`.

        Raises:
            ResourceError: when no line comes in time.
        """
        self._socket.settimeout(limit_s)
        try:
            while b"\n" not in self._rest:
                data = self._frame()
                if not data:
                    break
                self._rest += data
        except TimeoutError as error:
            raise ResourceError(f"the command printed no line within {limit_s:g} s") from error
        finally:
            self._socket.settimeout(None)
        first, _, self._rest = self._rest.partition(b"\n")
        return first.decode(errors="replace")

    def exit_code(self) -> int:
        """Return how the command ended; call it after the last chunk."""
        return int(self._client.api.exec_inspect(self._exec_id)["ExitCode"])

    def close(self) -> None:
        """Close the connection: the command sees the end of its input."""
        self._socket.close()
        self._stream.close()
