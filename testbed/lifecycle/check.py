"""The end-to-end check of `testbed up`: every tenant's client logs in through the SUT's daemon.

It asks what a person would ask first: does the tenant's client reach its own server address, and
does the daemon there authenticate its user in the tenant's own way? The oracle says what to
expect; scenarios ask everything else.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import docker

from testbed.errors import TestbedError
from testbed.lifecycle.deployment import Deployment
from testbed.plan.resources import TenantPlan
from testbed.probe.inside import Client
from testbed.probe.request import log_in, route_to


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the check of one tenant found."""

    tenant: str
    ok: bool
    detail: str


def check(client: docker.DockerClient, deployment: Deployment) -> tuple[Verdict, ...]:
    """Check all tenants, several at a time; in the plan's order."""

    def one(tenant: TenantPlan) -> Verdict:
        try:
            return _check_tenant(client, deployment, tenant)
        except TestbedError as error:
            return Verdict(tenant.name, ok=False, detail=error.message)

    with ThreadPoolExecutor(4) as pool:
        return tuple(pool.map(one, deployment.plan.tenants))


def _check_tenant(
    client: docker.DockerClient, deployment: Deployment, tenant: TenantPlan
) -> Verdict:
    if not tenant.users or tenant.login is None:
        return Verdict(tenant.name, ok=True, detail="no user to log in")
    user, asker = tenant.users[0], Client(client, deployment.plan, tenant)
    reply = log_in(asker, route_to(asker), user.name, user.password)
    if reply.error:
        return Verdict(tenant.name, ok=False, detail=f"no answer from the daemon: {reply.error}")
    expected = f"FIB {tenant.fib}"
    if reply.fib != tenant.fib or reply.tenant != tenant.name:
        seen = f"FIB {reply.fib} ({reply.tenant})"
        return Verdict(tenant.name, ok=False, detail=f"{expected} was expected, {seen} answered")
    if reply.verdict != "accepted":
        return Verdict(tenant.name, ok=False, detail=f"{user.name} {reply.verdict}: {reply.reason}")
    return Verdict(
        tenant.name, ok=True, detail=f"{user.name} accepted by {reply.method}, {expected}"
    )
