"""Streams frames as pcap while they come: for Wireshark at the other end of a pipe.

Each frame is written as soon as it is there, by one write(2): a reader sees it at once, and a file
that is cut off by a kill ends with a whole frame as a rule.
"""

from __future__ import annotations

import errno
import os
import select
from collections.abc import Callable
from dataclasses import dataclass

from testbed.deadline import Deadline
from testbed.errors import ResourceError
from testbed.probe.recorder import (
    PCAP_HEADER,
    Step,
    count_lost,
    open_socket,
    pcap_record,
    receive,
)

_BUFFER_BYTES = 64 << 20
_POLLED_MS = 200
_FOREVER_S = 10.0**9
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(slots=True)
class Streamed:
    """What a stream has written so far; `lost` frames found no room in the kernel's buffer."""

    frames: int = 0
    lost: int = 0


class Stream:
    """Frames on `interface` of the current network namespace, from its making on."""

    def __init__(self, interface: str, steps: list[Step]) -> None:
        self._socket = open_socket(interface, steps, _BUFFER_BYTES)
        self._interface = interface

    def write_to(
        self, output: int, *, count: int, seconds: float, is_ended: Callable[[], bool]
    ) -> Streamed:
        """Write pcap to `output`, a file descriptor.

        Ends at a limit (0: none), with the reader, or when `is_ended`.

        Raises:
            ResourceError: when the link has gone, or the output takes no more; a file then ends with
                the last whole frame.
        """
        done, deadline = Streamed(), Deadline.after(seconds or _FOREVER_S)
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        poll.register(output, 0)  # told of its reader's end only
        try:
            _write(output, PCAP_HEADER)
            while not is_ended() and not deadline.is_over and not (count and done.frames >= count):
                ready = dict(poll.poll(min(_POLLED_MS, deadline.left_s * 1000)))
                if ready.get(output, 0) & (select.POLLERR | select.POLLHUP):
                    break
                if self._socket.fileno() in ready:
                    self._pass_on(output, done)
        except BrokenPipeError:
            pass  # the reader has seen enough
        finally:
            done.lost += count_lost(self._socket)
            self._socket.close()
        return done

    def _pass_on(self, output: int, done: Streamed) -> None:
        try:
            frame = receive(self._socket)
        except OSError as error:
            if error.errno == errno.ENETDOWN:
                raise ResourceError(
                    f"link {self._interface!r} has gone down", hint="see: testbed status"
                ) from error
            raise
        if frame is not None:
            _write(output, pcap_record(frame))
            done.frames += 1


def _write(output: int, data: bytes) -> None:
    """Write all of `data`: a pipe may take it in pieces, and a full disk a piece only."""
    left = memoryview(data)
    try:
        while left:
            left = left[os.write(output, left) :]
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        written = len(data) - len(left)
        if written:  # a reader takes half a frame for a damaged file
            os.ftruncate(output, os.lseek(output, -written, os.SEEK_CUR))
        raise ResourceError(
            f"the capture is cut off: {os.strerror(error.errno)}",
            hint="what was written before is whole; make room, or write it to another place",
        ) from error
