"""What all resilience scenarios ask of a private host, and the topology that they start on it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from testbed.api import Deadline, Inventory, NotYet, PrivateHost, wait_for

TOPOLOGY = str(Path(__file__).with_name("one.yaml"))
LEASED = str(Path(__file__).with_name("leased.yaml"))
TENANT = "alpha"
EVENTS = ("--progress", "json")  # for Command.events()
_KERNEL_LIMIT_S = 15  # links go some time after their namespace, control groups after processes


def bring_up(host: PrivateHost, name: str = "one") -> None:
    """`up` makes of whatever there is a deployment that is healthy, end to end."""
    finished = host.testbed("up", TOPOLOGY, "--name", name)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert_well(host, name)


def assert_well(host: PrivateHost, name: str = "one") -> None:
    finished = host.testbed("status", name)
    assert finished.returncode == 0, finished.stdout + finished.stderr


def take_down(host: PrivateHost, *names: str) -> None:
    finished = host.testbed("down", *names)
    assert finished.returncode == 0, finished.stdout + finished.stderr


def assert_as_before(host: PrivateHost, before: Inventory) -> None:
    """Nothing is left, gone or changed."""

    def equal() -> bool:
        changes = host.inventory().changes_since(before)
        if changes:
            raise NotYet("\n" + "\n".join(changes))
        return True

    wait_for(equal, Deadline.after(_KERNEL_LIMIT_S), what="the host is as it was before")


def assert_nothing_survives(host: PrivateHost) -> None:
    """What a killed command had called, such as an image builder, ends with it."""

    def none() -> bool:
        found = host.survivors()
        if found:
            raise NotYet("\n".join(found))
        return True

    wait_for(none, Deadline.after(5), what="the end of all that the command had called")


def deployments(host: PrivateHost) -> list[dict[str, Any]]:
    """Return what `status` tells of all deployments."""
    told: list[dict[str, Any]] = json.loads(host.testbed("status", "--format", "json").stdout)[
        "deployments"
    ]
    return told
