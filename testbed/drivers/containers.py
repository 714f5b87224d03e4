"""Tenants' containers, from a plan, through the docker SDK.

Everything carries the labels of its deployment; listing and removing ask for those labels.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError, NotFound
from docker.models.containers import Container

from testbed.deadline import Deadline, NotYet, wait_for
from testbed.drivers.dockerd import explained
from testbed.errors import ResourceError
from testbed.plan.files import FileSpec, files_archive
from testbed.plan.identity import DeploymentId
from testbed.plan.names import DEPLOYMENT_LABEL, TENANT_LABEL, labels
from testbed.plan.resources import ContainerPlan, Plan, TenantPlan

_RECIPE_LABEL = "testbed.recipe"
UNDER_WAY_LIMIT_S = 60
"""Docker goes on with a request whose sender was killed: what is under way is waited for."""
_REMOVED_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a container is made of: image, files put into it before it starts, host options.

    `host` are arguments of docker's `create_host_config`: capabilities, sysctls, resolvers. `link`
    tells the tenant link from one that was made anew, which an older container is not attached to.
    """

    image: str
    files: tuple[FileSpec, ...]
    host: Mapping[str, Any]
    link: int = 0

    def digest(self) -> str:
        """Return a hash that changes whenever the container would."""
        content = [(f.path, f.content, f.mode, f.uid, f.gid) for f in self.files]
        text = repr((self.image, content, sorted(self.host.items()), self.link))
        return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


class Outcome(Enum):
    """What became of something that shall be there."""

    MADE = "made"
    FOUND = "found"


def ensure_container(
    client: docker.DockerClient,
    plan: Plan,
    tenant: TenantPlan,
    container: ContainerPlan,
    recipe: Recipe,
) -> bool:
    """Make and start `container` unless it runs already by the same recipe.

    Returns:
        Whether it was made.
    """
    killed = _killed_for_memory()
    try:
        with explained(f"start container {container.name!r}"):
            outcome = wait_for(
                lambda: _attempt_container(client, plan, tenant, container, recipe),
                Deadline.after(UNDER_WAY_LIMIT_S),
                what=f"container {container.name!r}",
            )
    except ResourceError as error:
        if _killed_for_memory() > killed:  # Docker speaks of what it was doing then
            error.message += "; meanwhile the kernel killed a process for want of memory"
            error.hint = (
                "see whom and why: dmesg; then give Docker's control group or the host more"
            )
        raise
    return outcome is Outcome.MADE


def _killed_for_memory() -> int:
    """Return how many processes the kernel has killed for want of memory, of any control group."""
    rows = (row.split() for row in Path("/proc/vmstat").read_text().splitlines())
    return int(dict(rows).get("oom_kill", "0"))


def _attempt_container(
    client: docker.DockerClient,
    plan: Plan,
    tenant: TenantPlan,
    container: ContainerPlan,
    recipe: Recipe,
) -> Outcome:
    digest = recipe.digest()
    found = _find(client, plan.deployment, container.name)
    if found is not None:
        if found.labels.get(_RECIPE_LABEL) == digest and found.status == "running":
            return Outcome.FOUND
        _remove(found)
    try:
        made = client.api.create_container(
            image=recipe.image,
            name=container.name,
            hostname=container.hostname,
            mac_address=container.mac,
            labels={
                **labels(plan.deployment, container.role, tenant.name),
                _RECIPE_LABEL: digest,
            },
            host_config=client.api.create_host_config(
                network_mode=tenant.network.name, **recipe.host
            ),
            networking_config=client.api.create_networking_config(
                {tenant.network.name: _endpoint(client, container)}
            ),
        )
    except APIError as error:
        if error.status_code == HTTPStatus.CONFLICT:  # a killed process's is still being made
            raise NotYet(error.explanation) from error
        raise
    client.api.put_archive(made["Id"], "/", files_archive(recipe.files))
    client.api.start(made["Id"])
    return Outcome.MADE


def remove_container(client: docker.DockerClient, deployment: DeploymentId, name: str) -> None:
    """Remove one container of `deployment`. Gone already is fine."""
    with explained(f"remove container {name!r}"):
        found = _find(client, deployment, name)
        if found is not None:
            _remove(found)


def kill(client: docker.DockerClient, name: str) -> None:
    """Kill the container `name`; its files stay. Dead already is fine."""
    with explained(f"kill container {name!r}"):
        found = client.containers.get(name)
        if found.status in {"running", "paused"}:
            client.api.kill(name)
            client.api.wait(name)


def start(client: docker.DockerClient, name: str) -> None:
    """Start the container `name` again. Running already is fine."""
    with explained(f"start container {name!r}"):
        client.api.start(name)


def freeze(client: docker.DockerClient, name: str) -> None:
    """Stop the processes of the container `name` where they are; their sockets stay."""
    with explained(f"freeze container {name!r}"):
        client.api.pause(name)


def thaw(client: docker.DockerClient, name: str) -> None:
    """Let the processes of the container `name` go on. Going on already is fine."""
    with explained(f"thaw container {name!r}"):
        if client.containers.get(name).status == "paused":
            client.api.unpause(name)


def put_files(client: docker.DockerClient, name: str, files: tuple[FileSpec, ...]) -> None:
    """Write `files` into the container `name`, running or not."""
    with explained(f"write files of container {name!r}"):
        client.api.put_archive(name, "/", files_archive(files))


def read_file(client: docker.DockerClient, name: str, path: str) -> bytes:
    """Return the content of the file `path` of container `name`."""
    with explained(f"read {path!r} of container {name!r}"):
        stream, _ = client.api.get_archive(name, path)
        archive = io.BytesIO(b"".join(stream))
    with tarfile.open(fileobj=archive) as tar:
        first = tar.next()
        member = tar.extractfile(first) if first else None
        if member is None:
            raise ResourceError(f"{path!r} of container {name!r} is no file")
        return member.read()


def read_log(
    client: docker.DockerClient,
    name: str,
    *,
    tail: int = 200,
    since_s: float = 0,
    timestamps: bool = False,
) -> str:
    """Return the last `tail` lines that the container `name` printed, none before `since_s`."""
    with explained(f"read the log of container {name!r}"):
        since = int(since_s) or None  # 0 is no time to Docker
        output: bytes = client.api.logs(name, tail=tail, since=since, timestamps=timestamps)
    return output.decode(errors="replace")


def state(client: docker.DockerClient, name: str) -> str:
    """Return the state of the container `name`, "missing" when there is none."""
    with explained(f"look at container {name!r}"):
        try:
            return str(client.containers.get(name).status)
        except NotFound:
            return "missing"


def main_process(client: docker.DockerClient, name: str) -> int:
    """Return the pid of the first process of the running container `name`."""
    with explained(f"look at container {name!r}"):
        return int(client.containers.get(name).attrs["State"]["Pid"])


@dataclass(frozen=True, slots=True)
class Present:
    """A container that is there: its state ("running", "exited"...), and what it was made of."""

    state: str
    tenant: str
    image: str
    recipe: str


def present(client: docker.DockerClient, deployment: DeploymentId) -> dict[str, Present]:
    """Return each container of `deployment` by name."""
    # In one call: the SDK's objects would ask for each.
    with explained("list containers"):
        found = client.api.containers(all=True, filters=labelled(deployment))
    return {
        str(item["Names"][0]).lstrip("/"): Present(
            state=str(item["State"]),
            tenant=str(item["Labels"].get(TENANT_LABEL, "")),
            image=str(item["Image"]),
            recipe=str(item["Labels"].get(_RECIPE_LABEL, "")),
        )
        for item in found
    }


def states(client: docker.DockerClient, deployment: DeploymentId) -> dict[str, str]:
    """Return the state of each container of `deployment` by name."""
    return {name: found.state for name, found in present(client, deployment).items()}


def tenants_with_any(client: docker.DockerClient, deployment: DeploymentId) -> frozenset[str]:
    """Return the names of the tenants that have a container or a network."""
    with explained("list networks"):
        networks = client.api.networks(filters=labelled(deployment))
    with explained("list containers"):
        found = client.api.containers(all=True, filters=labelled(deployment))
    return frozenset(str(item["Labels"][TENANT_LABEL]) for item in (*networks, *found))


def labelled(deployment: DeploymentId, tenant: str = "") -> dict[str, list[str]]:
    """Return the filter of Docker for what is of `deployment`, or of its `tenant`."""
    wanted = [f"{DEPLOYMENT_LABEL}={deployment}"]
    if tenant:
        wanted.append(f"{TENANT_LABEL}={tenant}")
    return {"label": wanted}


def remove_containers(
    client: docker.DockerClient, deployment: DeploymentId, *, tenant: str = ""
) -> int:
    """Remove all containers of `deployment` (or of one `tenant`); return how many there were."""
    found = _list(client, deployment, tenant)
    with ThreadPoolExecutor(_REMOVED_AT_ONCE) as pool:
        for _ in pool.map(_remove, found):
            pass
    return len(found)


def _list(
    client: docker.DockerClient, deployment: DeploymentId, tenant: str = ""
) -> list[Container]:
    with explained("list containers"):
        found: list[Container] = client.containers.list(
            all=True, filters=labelled(deployment, tenant), ignore_removed=True
        )
    return found


def _find(client: docker.DockerClient, deployment: DeploymentId, name: str) -> Container | None:
    try:
        container: Container = client.containers.get(name)
    except NotFound:
        return None
    if container.labels.get(DEPLOYMENT_LABEL) != deployment:
        raise ResourceError(
            f"a container called {name!r} exists and is not ours",
            hint=f"rename it: docker rename {name} OTHER-NAME",
        )
    return container


def _remove(container: Container) -> None:
    """Remove it; each takes a third of a second, of which most is waiting for the kernel."""

    def removed() -> bool:
        try:
            container.remove(force=True, v=True)
        except NotFound:
            return True
        except APIError as error:
            if error.status_code == HTTPStatus.CONFLICT:  # its removal is under way already
                raise NotYet(error.explanation) from error
            raise
        return True

    what = f"the end of container {container.name!r}"
    with explained(f"remove container {container.name!r}"):
        wait_for(removed, Deadline.after(UNDER_WAY_LIMIT_S), what=what)


def _endpoint(client: docker.DockerClient, container: ContainerPlan) -> dict[str, Any]:
    by_version = {address.version: str(address.ip) for address in container.addresses}
    endpoint: dict[str, Any] = client.api.create_endpoint_config(
        ipv4_address=by_version.get(4), ipv6_address=by_version.get(6)
    )
    return endpoint
