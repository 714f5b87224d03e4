"""What is measured on a running deployment of the bench: starts, memory, names, calls, designs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from testbed.bench import footprint, names, starts
from testbed.bench.scope import Scope
from testbed.drivers import dockerd, process
from testbed.errors import ResourceError, TestbedError
from testbed.events import Events
from testbed.lifecycle.deployment import Deployment
from testbed.lifecycle.down import remove_deployment, stop_shared
from testbed.lifecycle.store import Store, state_root
from testbed.lifecycle.up import bring_up
from testbed.running import Running
from testbed.sut.channel import GuestFile
from testbed.sut.protocol import Sut

HERE = Path(__file__).parent
_GUEST = "/opt/bench"
_DESIGNS = ("fib", "rules", "vrf", "netns")  # as guest/variants.py has them
_ONE_FIB = "one-fib"
_LOADED = 100  # tenants, while programs are timed
_LONGEST_S = 3600


def measure(parts: Sequence[str], scope: Scope, events: Events) -> Iterator[dict[str, Any]]:
    """Bring the bench's deployment up, measure `parts`, remove it."""
    store = Store(state_root())
    deployment = bring_up(store, HERE / scope.topology, events)
    try:
        client = dockerd.connect()
        if client is None:
            raise ResourceError("the Docker daemon has gone away")
        running = Running(client, deployment)
        if "starts" in parts:
            with events.step(
                f"start services, {scope.start_rounds} times, and the same by docker run"
            ):
                yield from starts.measure(client, deployment, scope.start_rounds)
        yield from _guest(deployment, parts, scope, events)
        if "footprint" in parts:  # last: so many FIBs go with their VM, one by one they take long
            with events.step(f"what {scope.fibs:,} FIBs take, and what they cost a login"):
                yield from _footprint(running, scope.fibs)
    finally:
        remove_deployment(store, deployment.record, events)
        stop_shared(store, events)


def _footprint(running: Running, fibs: int) -> Iterator[dict[str, Any]]:
    name = running.plan.tenants[0].name
    try:
        start_afresh(running.deployment.sut())
        running.start_services([running.tenant(name)])  # which gives the new VM their keys
        yield from footprint.of_guest(
            running.deployment, fibs, partial(names.measure, running, name)
        )
    except TestbedError as error:
        yield {"footprint": "guest", "error": error.message}


def _guest(
    deployment: Deployment, parts: Sequence[str], scope: Scope, events: Events
) -> Iterator[dict[str, Any]]:
    guest = Guest(deployment)
    if "operations" in parts:
        with events.step("time system calls and programs"):
            yield from guest.run("operations", scope.operation_rounds)
            yield from guest.run("programs", _LOADED, scope.seconds)
    for count, rounds in scope.designs if "designs" in parts else ():
        with events.step(f"compare designs at {count:,} tenants, {rounds} times"):
            for number in range(rounds):
                turn = number % len(_DESIGNS)
                for name in (*_DESIGNS[turn:], *_DESIGNS[:turn]):
                    yield guest.design(name, count, scope.seconds) | {"round": number}
    for count, rounds in scope.scaling if "scaling" in parts else ():
        with events.step(f"load 1 and {count:,} FIBs, {rounds} times"):
            for number in range(rounds):
                for name, addresses in ((_DESIGNS[0], 1), (_ONE_FIB, count), (_DESIGNS[0], count)):
                    found = guest.design(name, addresses, scope.seconds)
                    fibs = 1 if found.pop("variant") == _ONE_FIB else addresses
                    found["scaling"] = found.pop("tenants")
                    yield found | {"fibs": fibs, "round": f"{count}.{number}"}


class Guest:
    """The VM of a deployment, new for each measurement: nothing is left of an earlier one."""

    def __init__(self, deployment: Deployment) -> None:
        self._sut = deployment.sut()
        self._interface = deployment.plan.sut.interface
        self._tools = {
            f"{_GUEST}/load": GuestFile(_compiled(deployment.folder), 0o755),
            f"{_GUEST}/variants.py": GuestFile((HERE / "guest" / "variants.py").read_bytes()),
        }

    def design(self, name: str, count: int, seconds: float) -> dict[str, Any]:
        """Measure one design at `count` tenants; a failure is told, and costs that figure alone."""
        about = {"variant": name, "tenants": count}
        try:
            return self.run("design", name, count, seconds)[0]
        except TestbedError as error:
            return about | {"error": error.message}

    def run(self, *arguments: object) -> list[dict[str, Any]]:
        """Run guest/variants.py with `arguments` in a VM as it was saved."""
        start_afresh(self._sut)
        self._sut.channel.put(self._tools)
        argv = ["python3", f"{_GUEST}/variants.py", self._interface, *map(str, arguments)]
        said = self._sut.channel.run(argv, timeout_s=_LONGEST_S)
        return [json.loads(line) for line in said.stdout.splitlines()]


def start_afresh(sut: Sut) -> None:
    """Give the VM the state in which it was saved."""
    sut.stop()
    sut.start(Events())


def _compiled(folder: Path) -> bytes:
    """Return the load tool, static: the guest has no compiler."""
    output = folder / "load"
    flags = ("-O2", "-Wall", "-Wextra", "-Werror", "-static", "-pthread")
    process.run(["gcc", *flags, "-o", str(output), str(HERE / "guest" / "load.c")])
    return output.read_bytes()
