"""A running deployment and its tenants, as scenarios hold them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import docker
import testinfra

from testbed.drivers import containers, namespace
from testbed.drivers.containers import Answer
from testbed.errors import ResourceError
from testbed.events import Events
from testbed.lifecycle.deployment import Deployment
from testbed.lifecycle.warm import ensure_warm, warm_tenants
from testbed.plan.resources import Address, FibId, Plan, Role, Secret, TenantPlan
from testbed.probe.capture import Capture, capture
from testbed.probe.inside import Client
from testbed.probe.journal import Journal
from testbed.probe.player import Player, play
from testbed.sut.protocol import Sut

T = TypeVar("T")


@dataclass(frozen=True)
class Tenant:
    """A leased tenant: its plan, its hosts, and its client to ask from."""

    docker: docker.DockerClient
    deployment: Plan
    plan: TenantPlan
    journal: Journal = field(default_factory=Journal, repr=False, compare=False)

    @property
    def name(self) -> str:
        """The tenant's name in the topology."""
        return self.plan.name

    @property
    def fib(self) -> FibId:
        """The tenant's FIB in the SUT."""
        return self.plan.fib

    @property
    def server(self) -> Address:
        """The tenant's first server address (IPv4)."""
        return self.plan.server_addresses[0].ip

    @property
    def users(self) -> tuple[Secret, ...]:
        """The tenant's users with their passwords."""
        return self.plan.users

    @cached_property
    def client(self) -> Client:
        """The tenant's client, for probes."""
        return Client(self.docker, self.deployment, self.plan, self.journal)

    def host(self, role: Role) -> Any:
        """Return the testinfra host of the tenant's container of `role`."""
        return testinfra.get_host(f"docker://{self.plan.container(role).name}")

    def in_router(self, action: Callable[[], T]) -> T:
        """Run `action` in a thread inside the router's network namespace: for sockets and scapy."""
        return namespace.run_inside(self.plan.router.netns, action)

    def run(self, role: Role, argv: Sequence[str]) -> Answer:
        """Run `argv` in the tenant's container of `role`."""
        return containers.run_in(self.docker, self.plan.container(role).name, argv)

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"<tenant {self.name}>"  # a whole plan would bury what a failed assertion says


@dataclass(frozen=True)
class Running:
    """A running deployment: what is not any one tenant's."""

    docker: docker.DockerClient
    deployment: Deployment
    journal: Journal = field(default_factory=Journal, repr=False, compare=False)

    def __repr__(self) -> str:
        return f"<deployment {self.plan.topology} {self.plan.deployment}>"

    @property
    def plan(self) -> Plan:
        """The whole plan; the oracle (`testbed.api.fib_of`, `lookup`) works on it."""
        return self.deployment.plan

    @cached_property
    def sut(self) -> Sut:
        """The system under test."""
        return self.deployment.sut()

    @cached_property
    def sut_host(self) -> Any:
        """The testinfra host of the SUT."""
        return testinfra.get_host("ssh://sut", ssh_config=str(self.sut.ssh_config))

    def tenant(self, name: str) -> Tenant:
        """Return the tenant called `name`; whoever uses it should hold its lease."""
        return Tenant(self.docker, self.plan, self.plan.tenant(name), self.journal)

    @contextmanager
    def players(self, tenants: Sequence[Tenant]) -> Iterator[tuple[Player, ...]]:
        """Play the clients of leased `tenants` by sockets in their routers while the block lasts.

        For topologies of thousands, whose tenants have no containers yet: lease them with
        `started=False`.

        Raises:
            ResourceError: when the client of one has a container, and so the address already.
        """
        taken = warm_tenants(self.docker, self.deployment) & {t.name for t in tenants}
        if taken:
            raise ResourceError(f"the client of {min(taken)!r} has a container: use that one")
        with play([tenant.plan for tenant in tenants], self.plan.sut.port) as players:
            yield players

    def idle(self, tenants: Sequence[Tenant]) -> tuple[Tenant, ...]:
        """Return those of `tenants` that have no container running: who can be played."""
        warm = warm_tenants(self.docker, self.deployment)
        return tuple(tenant for tenant in tenants if tenant.name not in warm)

    def start_services(self, tenants: Sequence[Tenant]) -> None:
        """Start the services of leased `tenants`, where they start on lease and have not."""
        names = [tenant.name for tenant in tenants]
        ensure_warm(self.docker, self.deployment, names, Events())

    def capture(self) -> AbstractContextManager[Capture]:
        """Capture all frames on the shared segment while the block lasts."""
        return capture(self.deployment.uplink)

    @contextmanager
    def broken(self, defect: str) -> Iterator[None]:
        """Break the SUT's FIB extensions in one way while the block lasts, then restore them.

        Hold the whole deployment (`@pytest.mark.exclusive`). See `fibctl break --help`.
        """
        self.sut.channel.run(["fibctl", "break", defect])
        try:
            yield
        finally:
            self.sut.channel.run(["fibctl", "break", "--undo"])
