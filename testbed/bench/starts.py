"""How fast services start: the testbed, with networks, addresses and health, against `docker run`.

The bare way starts the same images, as many at a time, without a network, and asks nothing of them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import docker

from testbed.bench import footprint
from testbed.drivers import containers, images, networks, process
from testbed.events import Events
from testbed.lifecycle.deployment import Deployment
from testbed.lifecycle.store import cache_root
from testbed.lifecycle.warm import ensure_warm

_AT_ONCE = 4  # as the testbed has it
_LABEL = "testbed.bench=bare"


def measure(
    client: docker.DockerClient, deployment: Deployment, rounds: int
) -> Iterator[dict[str, Any]]:
    """Start the services of all tenants both ways; tell also what they take while they run."""
    plan = deployment.plan
    names = [tenant.name for tenant in plan.tenants]
    roles = [container.role for _, container in plan.containers()]
    tags = images.ensure_images(client, cache_root(), Events())
    for number in range(rounds):
        start = time.monotonic()
        ensure_warm(client, deployment, names, Events())
        yield _found("testbed", number, len(roles), time.monotonic() - start)
        if number == 0:
            yield from footprint.of_containers(client, deployment, names)
        _stop(client, deployment)
        try:
            start = time.monotonic()
            _run_bare([tags[role] for role in roles])
            yield _found("docker run", number, len(roles), time.monotonic() - start)
        finally:
            _remove_bare()


def _stop(client: docker.DockerClient, deployment: Deployment) -> None:
    containers.remove_containers(client, deployment.plan.deployment)
    networks.remove(client, deployment.plan.deployment)


def _found(way: str, number: int, count: int, took_s: float) -> dict[str, Any]:
    return {"starts": way, "round": number, "containers": count, "per_s": count / took_s}


def _run_bare(tags: Sequence[str]) -> None:
    argv = ("docker", "run", "--detach", "--label", _LABEL, "--network", "none", "--init")

    def run(tag: str) -> None:
        process.run([*argv, "--entrypoint", "sleep", tag, "600"], timeout_s=120)

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(run, tags))


def _remove_bare() -> None:
    found = process.run(["docker", "ps", "-aq", "--filter", f"label={_LABEL}"]).stdout.split()
    if found:
        process.run(["docker", "rm", "--force", *found], timeout_s=300)
