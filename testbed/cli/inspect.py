"""The verb `inspect`: all of one tenant, or of the SUT.

For people what is planned comes first: what is there is asked of Docker and the SUT, and takes longer.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from testbed.cli.inside import tenant_called
from testbed.cli.telling import printable, say
from testbed.lifecycle.deployment import Deployment, open_deployment
from testbed.lifecycle.store import Store, state_root
from testbed.plan.render import view_of
from testbed.plan.resources import Plan, RemotePlan, TenantPlan, VmPlan

if TYPE_CHECKING:
    from testbed.cli.views import ContainerView

SCHEMA = "testbed.inspect/1"


def print_inspection(name: str, target: str, *, as_json: bool) -> None:
    """Print what is planned of `target`, what is there of it, and where to look.

    Raises:
        InputError: when there is no such tenant.
    """
    store = Store(state_root())
    deployment = open_deployment(store, store.get(name))
    plan = deployment.plan
    tenant = None if target == "sut" else tenant_called(plan, target)
    if as_json:
        view = {
            "schema": SCHEMA,
            "deployment": plan.deployment,
            "target": target,
            "tenant": view_of(tenant),
            "sut": None if tenant else view_of(plan.sut),
            "containers": [view_of(one) for one in _containers(plan, tenant)],
            "health": _health(deployment, tenant),
            "commands": list(_commands(deployment, tenant)),
        }
        sys.stdout.write(json.dumps(view, indent=2) + "\n")
        return
    facts = tuple(_facts_of_tenant(tenant) if tenant else _facts_of_sut(plan))
    width = max(len(title) for title, _ in facts)
    _print(facts, width)
    _print([("health", _health(deployment, tenant))], width)
    found = _containers(plan, tenant)
    _print([(one.role, f"{one.name} {one.state} {one.image}".rstrip()) for one in found], width)
    commands = enumerate(_commands(deployment, tenant))
    _print([("look" if number == 0 else "", text) for number, text in commands], width)


def _print(rows: Iterable[tuple[str, str]], width: int) -> None:
    for title, text in rows:
        say(f"{title:<{width}}  {printable(text)}")


def _facts_of_tenant(tenant: TenantPlan) -> Iterator[tuple[str, str]]:
    router = tenant.router
    yield "tenant", tenant.name
    yield "FIB", str(tenant.fib)
    yield "domain", tenant.domain
    yield "server addresses", ", ".join(str(address) for address in tenant.server_addresses)
    yield "network", ", ".join(str(subnet) for subnet in tenant.network.subnets)
    for container in tenant.containers:
        addresses = ", ".join(str(address) for address in container.addresses)
        yield f"{container.role} address", f"{addresses} ({container.mac}, {container.hostname})"
    yield "router", f"namespace {router.netns}"
    for leg in (router.lan, router.uplink):
        addresses = ", ".join(str(address) for address in leg.addresses)
        yield f"router's {leg.name}", f"{addresses} ({leg.mac})"
    yield "tenant link", tenant.network.parent
    yield "Docker network", tenant.network.name
    yield "users", ", ".join(user.name for user in tenant.users) or "none"
    yield "login", str(tenant.login or "none")
    if tenant.directory:
        yield "base DN", tenant.directory.base_dn
    if tenant.realm:
        yield "realm", tenant.realm.realm


def _facts_of_sut(plan: Plan) -> Iterator[tuple[str, str]]:
    sut = plan.sut
    yield "system under test", "a VM of ours" if isinstance(sut.machine, VmPlan) else "yours"
    match sut.machine:
        case VmPlan() as machine:
            yield "ssh", f"{machine.ssh_address} port 22"
            yield "tap", f"{machine.tap} ({machine.mac})"
            yield "size", f"{machine.cpus} processors, {machine.memory_mib} MiB"
        case RemotePlan() as machine:
            yield "ssh", f"{machine.user}@{machine.host} port {machine.port} ({machine.system})"
            yield "segment", f"{machine.uplink} here, {machine.interface} there ({machine.mac})"
    yield "interface", sut.interface
    yield "interface's FIB", str(sut.default_fib)
    yield "unassigned", ", ".join(str(address) for address in sut.unassigned) or "none"
    yield "FIBs", f"{len(sut.fibs):,}"
    yield "daemon's port", str(sut.port)


def _containers(plan: Plan, tenant: TenantPlan | None) -> tuple[ContainerView, ...]:
    from testbed.cli.views import ContainerView
    from testbed.drivers import containers, dockerd

    if tenant is None:
        return ()
    client = dockerd.connect()
    found = {} if client is None else containers.present(client, plan.deployment)

    def view(role: str, name: str) -> ContainerView:
        if client is None:
            return ContainerView(role, name, dockerd.NOT_KNOWN, "")
        there = found.get(name)
        state, image = (there.state, there.image) if there else ("missing", "")
        return ContainerView(role, name, state, image)

    return tuple(view(container.role, container.name) for container in tenant.containers)


def _health(deployment: Deployment, tenant: TenantPlan | None) -> str:
    from testbed.drivers import links

    if tenant is None:
        return deployment.sut().health().detail
    incomplete = links.incomplete_tenants(deployment.plan, deployment.uplink)
    return "its link or router is missing" if tenant in incomplete else "router and link as planned"


def _commands(deployment: Deployment, tenant: TenantPlan | None) -> Iterator[str]:
    """Yield commands that look closer, for a person to copy."""
    name = deployment.record.name
    if tenant is None:
        yield f"testbed shell sut -n {name}"
        yield f"testbed exec sut -n {name} -- fibctl show"
        yield f"testbed logs daemon -n {name}"
        yield shlex.join(["ssh", "-F", str(deployment.sut().ssh_config), "sut"])
        return
    yield f"testbed shell {tenant.name}:client -n {name}"
    yield f"testbed exec {tenant.name}:router -n {name} -- ip -br address"
    yield f"testbed capture {tenant.name} -n {name} | wireshark -k -i -"
    yield f"testbed exec sut -n {name} -- fibctl explain {tenant.server_addresses[0].ip}"
