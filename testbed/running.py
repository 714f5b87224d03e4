"""A running deployment and its tenants, as scenarios hold them."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import docker
import testinfra

from testbed.drivers import execution, namespace
from testbed.drivers.execution import Answer
from testbed.errors import GuestError, ResourceError
from testbed.events import Events
from testbed.lifecycle.churn import bring_back, take_out
from testbed.lifecycle.deployment import Deployment
from testbed.lifecycle.lease import Changed, lease_tenants, mark_changed, mark_restored
from testbed.lifecycle.warm import ensure_warm, stop_services, warm_tenants
from testbed.plan.fibstate import fib_state
from testbed.plan.resources import Address, FibId, Plan, Role, Secret, TenantPlan
from testbed.probe.capture import Capture, capture
from testbed.probe.inside import Client
from testbed.probe.journal import Journal
from testbed.probe.player import Player, play
from testbed.sut.extension import GUEST_ROOT
from testbed.sut.protocol import Sut

T = TypeVar("T")


@dataclass(frozen=True)
class Tenant:
    """A leased tenant: its plan, its hosts, its client to ask from; `folder` is the deployment's."""

    docker: docker.DockerClient
    deployment: Plan
    plan: TenantPlan
    folder: Path = field(repr=False)
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

    def transmit(self, *frames: Any) -> None:
        """Put Ethernet frames on the shared segment as the tenant's router: bytes, or scapy's."""
        interface = self.plan.router.uplink.name

        def put() -> None:
            with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sender:
                sender.bind((interface, 0))
                for frame in frames:
                    sender.send(bytes(frame))

        self.in_router(put)

    def run(self, role: Role, argv: Sequence[str]) -> Answer:
        """Run `argv` in the tenant's container of `role`."""
        return execution.run_in(self.docker, self.plan.container(role).name, argv)

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"<tenant {self.name}>"  # a whole plan would bury what a failed assertion says


_PREAMBLE = f"""
import json, os, signal, socket, sys
sys.path.insert(0, {GUEST_ROOT!r})
import fib
import fib.api
signal.alarm(60)
print(os.getpid(), flush=True)
def say(value):
    print(json.dumps(value), flush=True)
"""


@dataclass(frozen=True)
class Program:
    """A program at work in the SUT; it speaks by `say(VALUE)`, which it is given."""

    lines: Iterator[str] = field(repr=False)

    def said(self) -> Any:
        """Wait for the next value that the program says, and return it.

        Raises:
            GuestError: when it has ended or failed, with its last words.
        """
        line = next(self.lines, "")
        try:
            return json.loads(line)
        except ValueError as error:
            rest = "".join([line, *self.lines]).strip()
            raise GuestError(f"the program in the SUT said {rest[-2000:]!r}") from error


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
        folder = self.deployment.folder
        return Tenant(self.docker, self.plan, self.plan.tenant(name), folder, self.journal)

    @contextmanager
    def players(self, tenants: Sequence[Tenant]) -> Iterator[tuple[Player, ...]]:
        """Play the clients of leased `tenants` by sockets in their routers while the block lasts.

        For topologies of thousands, whose tenants have no containers yet: lease them with
        `started=False`, and start what they need but clients.

        Raises:
            ResourceError: when the client of one has a container, and so the address already.
        """
        clients = warm_tenants(self.docker, self.deployment, Role.CLIENT)
        taken = clients & {tenant.name for tenant in tenants}
        if taken:
            raise ResourceError(f"the client of {min(taken)!r} has a container: use that one")
        with play([tenant.plan for tenant in tenants], self.plan.sut.port) as players:
            yield players

    def idle(self, tenants: Sequence[Tenant]) -> tuple[Tenant, ...]:
        """Return those of `tenants` that have no container running: who can be played."""
        warm = warm_tenants(self.docker, self.deployment)
        return tuple(tenant for tenant in tenants if tenant.name not in warm)

    def start_services(self, tenants: Sequence[Tenant], roles: Sequence[Role] = ()) -> None:
        """Start the services of leased `tenants`, where they start on lease and have not.

        With `roles` only those: some hundred clients are cheap, their directories are not.
        """
        names = [tenant.name for tenant in tenants]
        ensure_warm(self.docker, self.deployment, names, Events(), roles=roles)

    def stop_services(self, tenants: Sequence[Tenant]) -> None:
        """Stop the services of leased `tenants`; the next lease that needs them starts them."""
        stop_services(self.docker, self.deployment, [tenant.plan for tenant in tenants])

    @property
    def warm(self) -> frozenset[str]:
        """The names of the tenants that have any container running."""
        return warm_tenants(self.docker, self.deployment)

    @contextmanager
    def leased(self, *names: str, started: bool = True) -> Iterator[tuple[Tenant, ...]]:
        """Lease the tenants called `names`, services running if `started`, while the block lasts.

        For scenarios about leases themselves, on a topology of their own: who holds a lease while
        he waits for another may wait for somebody who waits for him.
        """
        folder = self.deployment.folder
        with lease_tenants(folder, [names], purpose="leased by a scenario"):
            if started:
                ensure_warm(self.docker, self.deployment, names, Events())
            yield tuple(map(self.tenant, names))

    @contextmanager
    def without(self, tenants: Sequence[Tenant]) -> Iterator[None]:
        """Take `tenants` out while the block lasts: routers, FIBs, and the daemon's knowledge.

        Hold the whole deployment (`@pytest.mark.exclusive`).

        Raises:
            ResourceError: when one's services run.
        """
        running = self.warm & {tenant.name for tenant in tenants}
        if running:
            raise ResourceError(f"the services of {min(running)!r} run: stop them first")
        plans = [tenant.plan for tenant in tenants]
        mark_changed(self.deployment.folder, (), whole=True, why="tenants taken out")
        try:
            take_out(self.deployment, plans)
            yield
        finally:
            bring_back(self.deployment, plans)
            mark_restored(self.deployment.folder, Changed(frozenset(), whole=True))

    @contextmanager
    def program(self, source: str, *arguments: object) -> Iterator[Program]:
        """Run a Python program in the SUT, as root, while the block lasts; it may `import fib`.

        It ends with the block, or by itself after a minute.
        """
        argv = ["python3", "-c", _PREAMBLE + source, *map(str, arguments)]
        talking = self.sut.channel.start(argv)
        lines = talking.lines()
        pid = next(lines, "").strip()
        try:
            yield Program(lines)
        finally:
            if pid.isdigit():
                self.sut.channel.run(["kill", "-KILL", pid], check=False)
            talking.kill()

    def capture(self) -> AbstractContextManager[Capture]:
        """Capture all frames on the shared segment while the block lasts."""
        return capture(self.deployment.uplink)

    @contextmanager
    def virtual_resolver(self, address: str, servers: Mapping[FibId, str]) -> Iterator[None]:
        """Let `address` stand for each FIB's DNS server in `servers` while the block lasts.

        Hold the whole deployment. The state of the plan has no virtual resolver.
        """
        state = json.loads(fib_state(self.plan))
        state["virtual_resolvers"] = [address]
        for fib in state["fibs"]:
            fib["resolvers"] = [servers[fib["id"]]] if fib["id"] in servers else []
        mark_changed(self.deployment.folder, (), whole=True, why="virtual resolver")
        self.sut.apply(json.dumps(state))
        try:
            yield
        finally:
            self.sut.apply(fib_state(self.plan))
            mark_restored(self.deployment.folder, Changed(frozenset(), whole=True))

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
