"""Runs probes where a tenant's own programs run: inside its client container.

`Client` is a place to ask from; the probe modules ask one kind of question each. Answers are data:
a refused login is a result, not an exception.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

import docker

from testbed.drivers import execution
from testbed.drivers.execution import Answer, Session
from testbed.plan.resources import Plan, Role, TenantPlan
from testbed.probe.journal import Entry, Journal


@dataclass(frozen=True, slots=True)
class Client:
    """A tenant's client container, as a place to ask from; questions go into `journal`."""

    docker: docker.DockerClient
    plan: Plan
    tenant: TenantPlan
    journal: Journal = field(default_factory=Journal, repr=False, compare=False)

    def __repr__(self) -> str:
        return f"<client of {self.tenant.name}>"

    @property
    def container(self) -> str:
        """The container's name."""
        return self.tenant.container(Role.CLIENT).name

    def run(self, argv: Sequence[str], *, stdin: bytes = b"") -> Answer:
        """Run `argv` there and wait for its end."""
        return execution.run_in(self.docker, self.container, argv, stdin=stdin)

    def asks(self, question: str) -> AbstractContextManager[Entry]:
        """Write `question` down; the block says how it was answered."""
        return self.journal.question(self.tenant.name, question)

    @contextmanager
    def open(self, argv: Sequence[str]) -> Iterator[Session]:
        """Start `argv` there and converse with it."""
        with execution.open_in(self.docker, self.container, argv) as session:
            yield session
