"""The end-to-end check of `testbed up`: every tenant's client logs in through the SUT's daemon.

It asks what a person would ask first: does the tenant's client reach its own server address, and
does the daemon there authenticate its user in the tenant's own way? The oracle says what to
expect; scenarios ask everything else.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import docker

from testbed.errors import TestbedError
from testbed.lifecycle.deployment import Deployment
from testbed.plan.resources import Plan, TenantPlan
from testbed.probe.inside import Client
from testbed.probe.request import log_in, route_to

_MOST_CHECKED = 64
_SAMPLE = 4


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the check of one tenant found."""

    tenant: str
    ok: bool
    detail: str


def sample(plan: Plan) -> tuple[TenantPlan, ...]:
    """Return the tenants to check: all, or of very many some of every kind, spread out."""
    if not plan.starts_on_lease and len(plan.tenants) <= _MOST_CHECKED:
        return plan.tenants
    kinds: dict[object, list[TenantPlan]] = {}
    for tenant in plan.tenants:
        kinds.setdefault((tenant.login, tuple(c.role for c in tenant.containers)), []).append(
            tenant
        )
    most = max(1, _SAMPLE // len(kinds))
    chosen = [t for found in kinds.values() for t in found[:: -(-len(found) // most)]]
    return tuple(sorted(chosen, key=lambda tenant: tenant.index))


def check(
    client: docker.DockerClient, deployment: Deployment, tenants: Sequence[TenantPlan]
) -> tuple[Verdict, ...]:
    """Check `tenants`, whose services run, several at a time; in their order."""

    def one(tenant: TenantPlan) -> Verdict:
        try:
            return _check_tenant(client, deployment, tenant)
        except TestbedError as error:
            return Verdict(tenant.name, ok=False, detail=error.message)

    with ThreadPoolExecutor(4) as pool:
        return tuple(pool.map(one, tenants))


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
