"""Tenants' Docker networks: macvlan on a tenant link, addressed by our IPAM driver."""

from __future__ import annotations

from http import HTTPStatus

import docker
from docker.errors import APIError, NotFound
from docker.types import IPAMConfig, IPAMPool

from testbed.deadline import Deadline, NotYet, wait_for
from testbed.drivers import containers, ipam
from testbed.drivers.dockerd import explained
from testbed.errors import ResourceError
from testbed.plan.identity import DeploymentId
from testbed.plan.names import DEPLOYMENT_LABEL, labels
from testbed.plan.resources import Plan, TenantPlan

_LINK_LABEL = "testbed.link"


def ensure(client: docker.DockerClient, plan: Plan, tenant: TenantPlan, link: int) -> bool:
    """Make the Docker network of `tenant` unless it is there; return whether it was made.

    `link` is the number of the tenant link: a network on one that is no more is made anew, with its
    containers, since Docker may have lost it (it restores no network whose parent is missing).
    """
    with explained(f"create network {tenant.network.name!r}"):
        outcome = wait_for(
            lambda: _attempt(client, plan, tenant, str(link)),
            Deadline.after(containers.UNDER_WAY_LIMIT_S),
            what=f"Docker network {tenant.network.name!r}",
        )
    return outcome is containers.Outcome.MADE


def _attempt(
    client: docker.DockerClient, plan: Plan, tenant: TenantPlan, link: str
) -> containers.Outcome:
    network = tenant.network
    found = client.networks.list(filters=containers.labelled(plan.deployment, tenant.name))
    if found and all(one.attrs["Labels"].get(_LINK_LABEL) == link for one in found):
        return containers.Outcome.FOUND
    if found:
        containers.remove_containers(client, plan.deployment, tenant=tenant.name)
        remove(client, plan.deployment, tenant=tenant.name)
    for other in client.networks.list(names=[network.name]):
        if other.name == network.name and DEPLOYMENT_LABEL not in (other.attrs["Labels"] or {}):
            raise ResourceError(
                f"a network called {network.name!r} exists and is not ours",
                hint=f"remove it: docker network rm {other.id}",
            )
    pools = [
        IPAMPool(subnet=str(subnet), gateway=str(gateway))
        for subnet, gateway in zip(network.subnets, network.gateways, strict=True)
    ]
    try:
        client.networks.create(
            network.name,
            driver="macvlan",
            options={"parent": network.parent},
            ipam=IPAMConfig(
                driver=plan.ipam_driver,
                pool_configs=pools,
                options=ipam.pool_options(network.name),
            ),
            enable_ipv6=any(subnet.version == 6 for subnet in network.subnets),
            labels={
                **labels(plan.deployment, "network", tenant.name),
                _LINK_LABEL: link,
            },
            check_duplicate=True,
        )
    except APIError as error:
        if error.status_code == HTTPStatus.CONFLICT:
            raise NotYet(error.explanation) from error
        raise
    return containers.Outcome.MADE


def names(client: docker.DockerClient, deployment: DeploymentId) -> frozenset[str]:
    """Return the names of the networks of `deployment`."""
    with explained("list networks"):
        found = client.api.networks(filters=containers.labelled(deployment))
    return frozenset(str(item["Name"]) for item in found)


def remove(client: docker.DockerClient, deployment: DeploymentId, *, tenant: str = "") -> int:
    """Remove all networks of `deployment` (or of one `tenant`); return how many there were.

    Docker asks the IPAM driver to release their pools: it must be running.
    """
    with explained("list networks"):
        found = client.networks.list(filters=containers.labelled(deployment, tenant))
    for network in found:
        with explained(f"remove network {network.name!r}"):
            try:
                network.remove()
            except NotFound:
                continue
    return len(found)
