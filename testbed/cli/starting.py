"""The verb `up`: brings a deployment up, checks it end to end, shows what there is now.

What is brought up is said, and the topology read, before anything heavy is imported.
"""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from testbed.cli.status import print_parts, print_tenants
from testbed.cli.telling import console
from testbed.errors import ExitCode, TestbedError
from testbed.events import Events
from testbed.lifecycle.store import Record, Store, state_root

if TYPE_CHECKING:
    from rich.console import Console

    from testbed.lifecycle.check import Verdict
    from testbed.lifecycle.deployment import Deployment
    from testbed.lifecycle.status import Status


@dataclass(frozen=True, slots=True)
class Ready:
    """What `up` has to show: the deployment's state and, if it was checked, its verdicts."""

    record: Record
    status: Status
    verdicts: tuple[Verdict, ...]

    @property
    def ok(self) -> bool:
        """Whether all is healthy and every check was passed."""
        return self.status.ok and all(verdict.ok for verdict in self.verdicts)

    @property
    def exit_code(self) -> ExitCode:
        """How `up` ends."""
        return ExitCode.DONE if self.ok else ExitCode.FAILED


def bring_up(topology: Path, events: Events, *, name: str, check: bool) -> Ready:
    """Bring `topology` up and, if asked, check every tenant end to end."""
    events.note("bring up", f"{topology} as {name!r}" if name else str(topology))
    from testbed.model.load import load_topology

    load_topology(topology)  # what is wrong with it need not wait for what follows
    from testbed.lifecycle.status import examine
    from testbed.lifecycle.up import bring_up as lifecycle_up

    deployment = lifecycle_up(Store(state_root()), topology, events, name=name)
    verdicts: tuple[Verdict, ...] = ()
    if check and not deployment.gaps():
        with events.step("check end to end"):
            verdicts = _check_tenants(deployment, events)
    with events.step("ask every service"):
        return Ready(deployment.record, examine(deployment), verdicts)


def _check_tenants(deployment: Deployment, events: Events) -> tuple[Verdict, ...]:
    """Log tenants' first users in, through the daemon in the SUT: a sample of very many tenants."""
    from testbed.drivers import dockerd
    from testbed.lifecycle.check import check, sample
    from testbed.lifecycle.lease import lease_tenants
    from testbed.lifecycle.warm import ensure_warm

    client = dockerd.connect()
    if client is None:
        raise TestbedError("the Docker daemon has gone away", hint="run `testbed up` again")
    tenants = sample(deployment.plan)
    if not deployment.plan.starts_on_lease:
        return check(client, deployment, tenants)
    names = tuple(tenant.name for tenant in tenants)
    with lease_tenants(deployment.folder, [names], purpose="check of `testbed up`"):
        ensure_warm(client, deployment, names, events)
        return check(client, deployment, tenants)


def print_ready(ready: Ready, *, as_json: bool) -> None:
    """Print the tenants with their verdicts, and what to try next."""
    if as_json:
        _print_json(ready)
        return
    out = console()
    print_tenants(out, ready.status.tenants, {v.tenant: v for v in ready.verdicts})
    print_parts(out, ready.status)
    if not ready.ok:
        out.print("[bold red]not healthy[/bold red]: see above, then `testbed up` again")
        return
    others = len(Store(state_root()).all()) > 1
    _print_next(out, ready.status, name=ready.record.name if others else "")


def _print_json(ready: Ready) -> None:
    from testbed.cli.views import UpView, data_of, deployment_view

    view = UpView(
        schema="testbed.up/1",
        ok=ready.ok,
        deployment=deployment_view(ready.record, ready.status),
        logins=ready.verdicts,
    )
    sys.stdout.write(json.dumps(data_of(view), indent=2) + "\n")


def _to_be_found() -> tuple[tuple[str, str], ...]:
    """Return what makes the shell find `testbed`, unless it does."""
    if shutil.which("testbed"):
        return ()
    folder = shlex.quote(str(Path(sys.executable).parent))
    return ((f'PATH={folder}:"$PATH"', "so that the shell finds `testbed`"),)


def _print_next(out: Console, status: Status, *, name: str) -> None:
    """Print commands to go on with, which say `name` where that is needed."""
    option, argument = (f" -n {name}", f" {name}") if name else ("", "")
    first = next((t for t in status.tenants if not t.idle), status.tenants[0])
    out.print("\nNext, for example:")
    proposals = (
        *_to_be_found(),
        (f"testbed status{argument}", "how everything is"),
        (
            f"testbed exec {first.name}:client{option} -- ping -c1 {first.server_addresses[0]}",
            "a packet",
        ),
        (f"testbed exec sut{option} -- fibctl show", "the FIBs"),
        (f"testbed shell {first.name}:client{option}", "a shell in the tenant's network"),
        ("make test", "all scenarios"),
        (f"testbed down{argument}", "remove everything"),
    )
    width = max(len(command) for command, _ in proposals)
    for command, meaning in proposals:
        out.print(f"  {command:<{width}}  {meaning}", highlight=False, markup=False)
