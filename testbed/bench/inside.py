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
    running.start_services([running.tenant(name)])
    try:
        yield from footprint.of_guest(
            running.deployment, fibs, partial(names.measure, running, name)
        )
    except TestbedError as error:
        yield {"footprint": "guest", "error": error.message}


def _guest(
    deployment: Deployment, parts: Sequence[str], scope: Scope, events: Events
) -> Iterator[dict[str, Any]]:
    sut = deployment.sut()
    script = (HERE / "guest" / "variants.py").read_bytes()
    sut.channel.put(
        {
            f"{_GUEST}/load": GuestFile(_compiled(deployment.folder), 0o755),
            f"{_GUEST}/variants.py": GuestFile(script),
        }
    )
    options = {
        "detach": ["eth0"],
        "clear": 0,
        "seconds": scope.seconds,
        "operation_rounds": 0,
        "programs": 0,
        "variants": [],
        "counts": [],
        "rounds": 0,
    }
    if "operations" in parts:
        with events.step("time system calls and programs"):
            calls = {"operation_rounds": scope.operation_rounds, "programs": 100}
            yield from _run(sut, options | calls)
    for count, rounds in scope.designs if "designs" in parts else ():
        wanted = {"clear": count, "variants": _DESIGNS, "counts": [count], "rounds": rounds}
        with events.step(f"compare designs at {count:,} tenants, {rounds} times"):
            yield from _run(sut, options | wanted)
    for turn, (counts, rounds) in enumerate(scope.scaling if "scaling" in parts else ()):
        wanted = {"variants": _DESIGNS[:1], "counts": counts, "rounds": rounds}
        with events.step(f"load {' and '.join(f'{c:,}' for c in counts)} FIBs, {rounds} times"):
            yield from _scaling(sut, options | wanted, turn)


def _scaling(sut: Sut, options: dict[str, Any], turn: int) -> Iterator[dict[str, Any]]:
    """Yield the figures by number of FIBs; what is not done in time costs those of its turn alone."""
    try:
        for found in _run(sut, options):
            del found["variant"]
            number = f"{turn}.{found.pop('round', 0)}"
            yield {"scaling": found.pop("tenants"), "round": number, **found}
    except TestbedError as error:
        yield {"scaling": max(options["counts"]), "error": error.message}


def _compiled(folder: Path) -> bytes:
    """Return the load tool, static: the guest has no compiler."""
    output = folder / "load"
    flags = ("-O2", "-Wall", "-Wextra", "-Werror", "-static", "-pthread")
    process.run(["gcc", *flags, "-o", str(output), str(HERE / "guest" / "load.c")])
    return output.read_bytes()


def _run(sut: Sut, options: dict[str, Any]) -> list[dict[str, Any]]:
    argv = ["python3", f"{_GUEST}/variants.py", json.dumps(options)]
    said = sut.channel.run(argv, timeout_s=_LONGEST_S)
    return [json.loads(line) for line in said.stdout.splitlines()]
