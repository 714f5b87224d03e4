"""The verb `capture`: frames of one tenant, or of all, as pcap on stdout or in a file."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import FrameType

from testbed.cli.inside import tenant_called
from testbed.cli.telling import tell
from testbed.drivers import namespace
from testbed.errors import InputError, Problem, TestbedError
from testbed.lifecycle.deployment import Deployment, open_deployment
from testbed.lifecycle.store import Store, state_root
from testbed.probe.recorder import TAKE, filter_of_routers
from testbed.probe.stream import Stream

_STDOUT = "-"


def capture_frames(name: str, target: str, output: str, *, count: int, seconds: float) -> None:
    """Stream the frames of `target` to `output` until Ctrl-C, the reader's end or a limit.

    Raises:
        InputError: when there is no such target, or stdout is a terminal.
        TestbedError: when the link is not there, or frames were lost.
    """
    store = Store(state_root())
    deployment = open_deployment(store, store.get(name))
    if output == _STDOUT and sys.stdout.isatty():
        hint = (
            f"write a file: testbed capture {target} -o frames.pcap\n"
            f"or give it a reader: testbed capture {target} | tcpdump -nr -"
        )
        raise InputError([Problem(target, "a capture is no text for a terminal", hint)])
    stream = _open(deployment, target)
    ended = False

    def end(_number: int, _frame: FrameType | None) -> None:
        nonlocal ended
        ended = True

    signal.signal(signal.SIGINT, end)
    signal.signal(signal.SIGTERM, end)
    handle = 1 if output == _STDOUT else _create(Path(output))
    tell(f"capturing {target}; Ctrl-C ends it")
    done = stream.write_to(handle, count=count, seconds=seconds, is_ended=lambda: ended)
    tell(f"{done.frames:,} frames")
    if done.lost:
        raise TestbedError(
            f"{done.lost:,} frames were lost: the reader was too slow",
            hint="write to a file (-o), or capture one tenant only",
        )


def _open(deployment: Deployment, target: str) -> Stream:
    """Return a stream that has begun: frames from now on are in it."""
    try:
        if target == "sut":
            return Stream(deployment.uplink, [TAKE])
        tenant_name, _, where = target.partition(":")
        tenant = tenant_called(deployment.plan, tenant_name)
        if where == "lan":
            router = tenant.router
            return namespace.run_inside(router.netns, lambda: Stream(router.lan.name, [TAKE]))
        if where:
            hint = f"{tenant_name}: between router and SUT; {tenant_name}:lan: its own network"
            raise InputError([Problem(target, "no frames are captured there", hint)])
        return Stream(deployment.uplink, filter_of_routers([tenant]))
    except PermissionError as error:
        raise TestbedError("a capture needs root", hint="run it with sudo") from error
    except OSError as error:
        raise TestbedError(
            f"nothing to capture at {target!r}: {error.strerror}", hint="see: testbed status"
        ) from error


def _create(path: Path) -> int:
    """Make a file for its owner alone: frames hold the tenants' passwords."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o600)
    except OSError as error:
        problem = Problem(str(path), f"cannot write it: {error.strerror}", "name another file")
        raise InputError([problem]) from error
