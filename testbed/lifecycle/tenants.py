"""Brings up a tenant's network and services, and asks each service a real question."""

from __future__ import annotations

import signal
from collections.abc import Collection, Mapping
from typing import Any

import docker

from testbed.deadline import Deadline, NotYet, wait_for
from testbed.drivers import containers, execution, links, networks
from testbed.drivers.containers import Recipe
from testbed.errors import TestbedError
from testbed.events import Events
from testbed.lifecycle import certificates
from testbed.lifecycle.deployment import Deployment
from testbed.plan.resources import ContainerPlan, Role, TenantPlan
from testbed.plan.services import (
    CAPABILITIES,
    SYSCTLS,
    docker_resolvers,
    service_files,
    service_question,
)

_HEALTH_LIMIT_S = 60
_AGAIN_LIMIT_S = 15
_ANSWER_LIMIT_S = 10
_KILLED = 128 + signal.SIGKILL  # by timeout(1)


def ensure_tenant(
    client: docker.DockerClient,
    deployment: Deployment,
    tenant: TenantPlan,
    images: Mapping[Role, str],
    events: Events,
    *,
    roles: Collection[Role] = (),
) -> None:
    """Make what is missing of the tenant's network and containers, and wait for their health.

    With `roles` only those containers. A client shows its health by asking its DNS: without that
    it has to run, no more.
    """
    plan = deployment.plan
    wanted = [c for c in tenant.containers if not roles or c.role in roles]
    link = links.link_number(tenant)
    networks.ensure(client, plan, tenant, link)

    def ensure(container: ContainerPlan) -> bool:
        recipe = recipe_of(deployment, tenant, container, images, link)
        return containers.ensure_container(client, plan, tenant, container, recipe)

    made = {container.name: ensure(container) for container in wanted}
    # A client last: by its question alone nobody could tell that it is its DNS which is stuck.
    for container in sorted(wanted, key=lambda one: one.role is Role.CLIENT):
        if roles and container.role is Role.CLIENT and Role.DNS not in roles:
            continue
        if not made[container.name]:
            events.note(f"{container.role} runs", tenant=tenant.name)
            if _is_well(client, tenant, container):
                continue
            events.note(f"{container.role} is made anew", tenant=tenant.name)
            containers.remove_container(client, plan.deployment, container.name)
            ensure(container)
        await_health(client, tenant, container)


def recipe_of(
    deployment: Deployment,
    tenant: TenantPlan,
    container: ContainerPlan,
    images: Mapping[Role, str],
    link: int,
) -> Recipe:
    """Return what `container` is made of, on the tenant link of number `link`."""
    return Recipe(
        image=images[container.role],
        files=(
            *service_files(tenant, container),
            *certificates.files(deployment.folder, tenant, container),
        ),
        host=_host_options(tenant, container),
        link=link,
    )


def _is_well(client: docker.DockerClient, tenant: TenantPlan, container: ContainerPlan) -> bool:
    """Whether a container that ran already answers; one just started by a killed `up` may yet."""
    try:
        await_health(client, tenant, container, limit_s=_AGAIN_LIMIT_S)
    except TestbedError:
        return False
    return True


def await_health(
    client: docker.DockerClient,
    tenant: TenantPlan,
    container: ContainerPlan,
    *,
    limit_s: float = _HEALTH_LIMIT_S,
) -> None:
    """Ask the service its question until it answers as it should.

    Raises:
        TestbedError: when it does not in time, with its last words.
    """

    def healthy() -> bool:
        if containers.state(client, container.name) != "running":
            raise TestbedError(f"tenant {tenant.name!r}: {container.role} has ended")
        seen = ask(client, tenant, container)
        if seen:
            raise NotYet(seen)
        return True

    what = f"tenant {tenant.name!r}: {container.role} answers"
    try:
        wait_for(healthy, Deadline.after(limit_s), what=what)
    except TestbedError as error:
        tail = containers.read_log(client, container.name, tail=5)
        raise TestbedError(
            f"{error}\n{tail}".rstrip(), hint=f"its log: docker logs {container.name}"
        ) from error


def ask(client: docker.DockerClient, tenant: TenantPlan, container: ContainerPlan) -> str:
    """Ask the service once; return an empty string when it is healthy, else what is wrong."""
    question = service_question(tenant, container)
    # A service that is stuck takes the connection and never answers: no client of its would end.
    argv = ("timeout", "--signal=KILL", str(_ANSWER_LIMIT_S), *question.argv)
    answer = execution.run_in(client, container.name, argv)
    if answer.exit_code == 0 and question.answer in answer.output:
        return ""
    if answer.exit_code == _KILLED:
        return f"`{' '.join(question.argv)}` had no answer within {_ANSWER_LIMIT_S} s"
    return f"`{' '.join(question.argv)}` exited {answer.exit_code}: {answer.output.strip()[-300:]}"


def _host_options(tenant: TenantPlan, container: ContainerPlan) -> dict[str, Any]:
    """Return arguments of docker's `create_host_config`: least privilege, the tenant's resolvers."""
    return {
        "cap_drop": ["ALL"],
        "cap_add": list(CAPABILITIES[container.role]),
        "security_opt": ["no-new-privileges"],
        "sysctls": dict(SYSCTLS),
        "dns": list(docker_resolvers(tenant)),
        "dns_search": [tenant.domain],
        "init": True,
        # One tenant's service must not eat the host: processes and log are bounded.
        "pids_limit": 128,
        "log_config": {"type": "json-file", "config": {"max-size": "1m", "max-file": "2"}},
    }
