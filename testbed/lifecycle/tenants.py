"""Brings up a tenant's network and services, and asks each service a real question."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import docker

from testbed.deadline import Deadline, NotYet, wait_for
from testbed.drivers import containers
from testbed.drivers.containers import Recipe
from testbed.errors import TestbedError
from testbed.events import Events
from testbed.plan.resources import ContainerPlan, Plan, Role, TenantPlan
from testbed.plan.services import (
    CAPABILITIES,
    SYSCTLS,
    docker_resolvers,
    service_files,
    service_question,
)

_HEALTH_LIMIT_S = 60


def ensure_tenant(
    client: docker.DockerClient,
    plan: Plan,
    tenant: TenantPlan,
    images: Mapping[Role, str],
    events: Events,
) -> None:
    """Make what is missing of the tenant's network and containers, and wait for their health."""
    containers.ensure_network(client, plan, tenant)
    for container in tenant.containers:
        recipe = Recipe(
            image=images[container.role],
            files=service_files(tenant, container),
            host=_host_options(tenant, container),
        )
        made = containers.ensure_container(client, plan, tenant, container, recipe)
        if not made:
            events.note(f"{container.role} runs", tenant=tenant.name)
    for container in tenant.containers:
        await_health(client, tenant, container)


def await_health(client: docker.DockerClient, tenant: TenantPlan, container: ContainerPlan) -> None:
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
        wait_for(healthy, Deadline.after(_HEALTH_LIMIT_S), what=what)
    except TestbedError as error:
        tail = containers.read_log(client, container.name, tail=5)
        raise TestbedError(
            f"{error}\n{tail}".rstrip(), hint=f"its log: docker logs {container.name}"
        ) from error


def ask(client: docker.DockerClient, tenant: TenantPlan, container: ContainerPlan) -> str:
    """Ask the service once; return an empty string when it is healthy, else what is wrong."""
    question = service_question(tenant, container)
    answer = containers.run_in(client, container.name, question.argv)
    if answer.exit_code == 0 and question.answer in answer.output:
        return ""
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
