"""What is measured on a running deployment of the bench: starts, memory, names, calls, designs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
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
_DESIGNS = ("fib", "rules", "vrf", "netns", "procs")  # as guest/designs.py has them
_ONE_FIB = "one-fib"
_LOADED = 100  # tenants, while programs are timed
_LONGEST_S = 3600


@contextmanager
def _deployment(topology: str, events: Events) -> Iterator[Deployment]:
    """Have a topology of this folder up; it is removed at the end."""
    store = Store(state_root())
    deployment = bring_up(store, HERE / topology, events)
    try:
        yield deployment
    finally:
        remove_deployment(store, deployment.record, events)
        stop_shared(store, events)


def kept(about: dict[str, Any], measured: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield what is measured; a failure is told at its end, and costs no other part."""
    try:
        yield from measured
    except TestbedError as error:
        yield about | {"error": error.message}


def measure(parts: Sequence[str], scope: Scope, events: Events) -> Iterator[dict[str, Any]]:
    """Measure `parts`, in deployments that are brought up for it."""
    if {"starts", "additions", "footprint"} & set(parts):
        with _deployment(scope.topology, events) as deployment:
            yield from _in_the_hosts_time(deployment, parts, scope, events)
    if {"operations", "designs", "scaling"} & set(parts):
        with _deployment(scope.counted, events) as deployment:
            yield from _by_instructions(Guest(deployment), parts, scope, events)


def _in_the_hosts_time(
    deployment: Deployment, parts: Sequence[str], scope: Scope, events: Events
) -> Iterator[dict[str, Any]]:
    client = dockerd.connect()
    if client is None:
        raise ResourceError("the Docker daemon has gone away")
    if "starts" in parts:
        with events.step(f"start services, {scope.start_rounds} times, and the same by docker run"):
            measured = starts.measure(client, deployment, scope.start_rounds)
            yield from kept({"part": "starts"}, measured)
    if "additions" in parts:
        guest = Guest(deployment)
        for count, rounds in scope.additions:
            with events.step(f"add {count:,} tenants in each design, {rounds} times"):
                yield from _designs("adding", partial(guest.adding, count), rounds)
    if "footprint" in parts:  # last: so many FIBs go with their VM, one by one they take long
        with events.step(f"what {scope.fibs:,} FIBs take, and what they cost a login"):
            yield from _footprint(Running(client, deployment), scope.fibs)


def _by_instructions(
    guest: Guest, parts: Sequence[str], scope: Scope, events: Events
) -> Iterator[dict[str, Any]]:
    seconds = scope.seconds
    if "operations" in parts:
        with events.step("time system calls and programs"):
            yield from kept({"part": "operations"}, guest.run("operations", scope.operation_rounds))
            yield from kept({"part": "operations"}, guest.run("programs", _LOADED, seconds))
    for count, rounds in scope.designs if "designs" in parts else ():
        with events.step(f"load {count:,} tenants in each design, {rounds} times"):
            yield from _designs("variant", partial(guest.load, count, seconds), rounds)
    for count, rounds in scope.scaling if "scaling" in parts else ():
        with events.step(f"load 1 and {count:,} FIBs, {rounds} times"):
            for number in range(rounds):
                for name, addresses in ((_DESIGNS[0], 1), (_ONE_FIB, count), (_DESIGNS[0], count)):
                    found = guest.load(addresses, seconds, name)
                    fibs = 1 if name == _ONE_FIB else addresses
                    found["scaling"] = found.pop("tenants")
                    yield found | {"fibs": fibs, "round": f"{count}.{number}"}


def _designs(
    kind: str, measured: Callable[[str], dict[str, Any]], rounds: int
) -> Iterator[dict[str, Any]]:
    """Measure the designs in turn, each round from another one on."""
    for number in range(rounds):
        turn = number % len(_DESIGNS)
        for name in (*_DESIGNS[turn:], *_DESIGNS[:turn]):
            yield {kind: name, "round": number} | measured(name)


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


class Guest:
    """The VM of a deployment, new for each measurement: nothing is left of an earlier one."""

    def __init__(self, deployment: Deployment) -> None:
        self._sut = deployment.sut()
        self._interface = deployment.plan.sut.interface
        programs = {
            f"{_GUEST}/guest/{path.name}": GuestFile(path.read_bytes())
            for path in (HERE / "guest").glob("*.py")
        }
        load = GuestFile(_compiled(deployment.folder), 0o755)
        self._tools = {f"{_GUEST}/load": load, **programs}

    def adding(self, count: int, name: str) -> dict[str, Any]:
        """Measure what tenants of one design take; a failure is told, and costs that figure alone."""
        return self._one("adding", name, count)

    def load(self, count: int, seconds: float, name: str) -> dict[str, Any]:
        """Measure how fast one design serves `count` tenants, likewise."""
        return self._one("load", name, count, seconds)

    def _one(self, what: str, name: str, count: int, *arguments: object) -> dict[str, Any]:
        try:
            return {"tenants": count, **next(self.run(what, name, count, *arguments))}
        except TestbedError as error:
            return {"tenants": count, "error": error.message}

    def run(self, *arguments: object) -> Iterator[dict[str, Any]]:
        """Yield what guest/measure.py says, run with `arguments` in a VM as it was saved."""
        start_afresh(self._sut)
        self._sut.channel.put(self._tools)
        python = ("env", f"PYTHONPATH={_GUEST}:/opt/fib", "python3", "-m", "guest.measure")
        argv = [*python, self._interface, *map(str, arguments)]
        said = self._sut.channel.run(argv, timeout_s=_LONGEST_S)
        yield from map(json.loads, said.stdout.splitlines())


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
