"""What the verbs do with their arguments: call the lifecycle, print what comes back."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from testbed.drivers import dockerd, images
from testbed.errors import TestbedError
from testbed.events import Events
from testbed.lifecycle import daemon, preflight
from testbed.lifecycle.check import Verdict, check, sample
from testbed.lifecycle.deployment import Deployment, open_deployment
from testbed.lifecycle.down import remove_deployment, stop_shared
from testbed.lifecycle.lease import lease_tenants
from testbed.lifecycle.status import Status, TenantStatus, examine
from testbed.lifecycle.store import Store, cache_root, state_root
from testbed.lifecycle.up import bring_up as lifecycle_up
from testbed.lifecycle.warm import ensure_warm

_EXAMPLE_ID = "aaaaaa"
_MOST_ROWS = 40
_CONSOLE_LOG, _DAEMON_LOG = "console.log", daemon.LOG


@dataclass(frozen=True, slots=True)
class Ready:
    """What `up` has to show: the deployment's state and, if it was checked, its verdicts."""

    status: Status
    verdicts: tuple[Verdict, ...]

    @property
    def ok(self) -> bool:
        """Whether all is healthy and every check was passed."""
        return self.status.ok and all(verdict.ok for verdict in self.verdicts)


def store() -> Store:
    """Return the records of this host's deployments."""
    return Store(state_root())


def bring_up(topology: Path, events: Events, *, name: str, check: bool) -> Ready:
    """Bring `topology` up and, if asked, check every tenant end to end."""
    deployment = lifecycle_up(store(), topology, events, name=name)
    verdicts: tuple[Verdict, ...] = ()
    if check:
        with events.step("check end to end"):
            verdicts = check_tenants(deployment, events)
    with events.step("ask every service"):
        return Ready(examine(deployment), verdicts)


def check_tenants(deployment: Deployment, events: Events) -> tuple[Verdict, ...]:
    """Log tenants' first users in, through the daemon in the SUT: a sample of very many tenants."""
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


def print_ready(console: Console, ready: Ready) -> None:
    """Print the table of tenants with their verdicts, and what to try next."""
    verdicts = {verdict.tenant: verdict for verdict in ready.verdicts}
    _print_tenants(console, ready.status.tenants, verdicts)
    _print_parts(console, ready.status)
    if not ready.ok:
        console.print("[bold red]not healthy[/bold red]: see above, then `testbed up` again")
        return
    first = next((t for t in ready.status.tenants if not t.idle), ready.status.tenants[0])
    console.print("\nNext, for example:")
    for command, meaning in (
        ("testbed status", "how everything is"),
        (f"testbed exec {first.name}:client -- ping -c1 {first.server_addresses[0]}", "a packet"),
        ("testbed exec sut -- fibctl show", "the FIBs"),
        (f"testbed shell {first.name}:client", "a shell in the tenant's network"),
        ("make test", "all scenarios"),
        ("testbed down", "remove everything"),
    ):
        console.print(f"  {command:<52} {meaning}", highlight=False, markup=False)


def take_down(events: Events, *, name: str, everything: bool) -> None:
    """Remove one deployment or all of them, and a Docker daemon of ours that nobody needs.

    One that is not there is fine: so a second `down` ends like the first.
    """
    records = store()
    records.sweep()
    known = records.all()
    if everything or not known:
        chosen = known
    elif name:
        found = records.find(name)
        chosen = () if found is None else (found,)
    else:
        chosen = (records.get(),)
    if not chosen:
        there_are = ", ".join(record.name for record in known) or "none is recorded"
        events.note("nothing to remove", f"deployments: {there_are}")
    errors: list[Exception] = []
    for record in chosen:
        try:
            remove_deployment(records, record, events)
        except ExceptionGroup as group:
            errors.append(group)
    stop_shared(records, events)
    if errors:
        raise ExceptionGroup("some deployments could not be removed whole", errors)


def clean(events: Events, *, cache: bool) -> None:
    """Remove all deployments and, if asked, everything that was built."""
    if cache:
        with events.step("remove built images"):
            _remove_built(events)
    take_down(events, name="", everything=True)


def _remove_built(events: Events) -> None:
    """Remove what was built; what a running deployment uses goes first, then the daemon of ours."""
    records = store()
    for record in records.all():
        remove_deployment(records, record, events)
    client = dockerd.ensure(events, records.root / "dockerd.log")
    images.remove_images(client)
    if cache_root().is_dir():
        shutil.rmtree(cache_root())


def print_status(console: Console, name: str, *, as_json: bool) -> bool:
    """Print how a deployment is; return whether it is healthy."""
    records = store()
    if as_json and not name and not records.all():
        console.print_json(json.dumps({"deployments": []}))
        return True
    chosen = (records.get(name),) if name else records.all() or (records.get(name),)
    states = [examine(open_deployment(records, record)) for record in chosen]
    if as_json:
        views = [{**dataclasses.asdict(state), "ok": state.ok} for state in states]
        console.print_json(json.dumps({"deployments": views}))
    else:
        for state in states:
            console.print(f"deployment [bold]{state.name}[/bold] ({state.id})")
            _print_tenants(console, state.tenants, {})
            _print_parts(console, state)
    return all(state.ok for state in states)


def _print_parts(console: Console, state: Status) -> None:
    for part in state.parts:
        mark = "[green]✔[/green]" if part.ok else "[red]✘[/red]"
        console.print(f"{mark} {part.name}: ", end="")
        console.print(part.detail, markup=False, highlight=False)
    if state.leases:
        console.print(f"leased: {', '.join(state.leases)}", markup=False)


def _print_tenants(
    console: Console, tenants: Sequence[TenantStatus], verdicts: dict[str, Verdict]
) -> None:
    """Print all tenants; of very many those that are unwell or run services, and a sum."""
    shown = tenants
    if len(tenants) > _MOST_ROWS:
        unwell = [tenant for tenant in tenants if not tenant.ok]
        running = [tenant for tenant in tenants if tenant.ok and not tenant.idle]
        shown = (*unwell[:_MOST_ROWS], *running[:_MOST_ROWS])[:_MOST_ROWS]
    console.print(_tenants_table(shown, verdicts))
    if len(shown) < len(tenants):
        idle = sum(tenant.idle and tenant.ok for tenant in tenants)
        bad = sum(not tenant.ok for tenant in tenants)
        checked = f"; {len(verdicts)} checked end to end" if verdicts else ""
        console.print(
            f"{len(tenants):,} tenants: {len(tenants) - idle - bad:,} with services running, "
            f"{idle:,} idle until they are leased, {bad:,} unwell{checked}",
            highlight=False,
        )


def _tenants_table(tenants: Sequence[TenantStatus], verdicts: dict[str, Verdict]) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in ("tenant", "server addresses", "FIB", "services", "health"):
        table.add_column(title, overflow="fold")
    if verdicts:
        table.add_column("login end to end", overflow="fold")
    for tenant in tenants:
        services = " ".join(f"{service.role}" for service in tenant.services)
        row = [tenant.name, "\n".join(tenant.server_addresses), str(tenant.fib), services]
        row.append(_health(tenant))
        verdict = verdicts.get(tenant.name)
        if verdict:
            colour = "green" if verdict.ok else "red"
            row.append(f"[{colour}]{escape(verdict.detail)}[/{colour}]")
        table.add_row(*row)
    return table


def _health(tenant: TenantStatus) -> str:
    problems = [tenant.problem] if tenant.problem else []
    problems += [f"{item.role}: {item.problem}" for item in tenant.services if item.problem]
    if not problems and tenant.idle:
        return "[dim]idle until leased[/dim]"
    if not problems:
        return "[green]healthy[/green]"
    return "[red]" + escape("\n".join(problems)) + "[/red]"


def print_findings(console: Console, *, as_json: bool) -> bool:
    """Print what `doctor` found; return whether the host is fit."""
    findings = preflight.examine(state_root(), cache_root())
    if as_json:
        console.print_json(json.dumps([dataclasses.asdict(finding) for finding in findings]))
    else:
        for finding in findings:
            good, bad = "[green]✔[/green]", "[yellow]![/yellow]"
            mark = good if finding.ok else bad if finding.is_advice else "[red]✘[/red]"
            console.print(f"{mark} {finding.subject}: {finding.seen}", highlight=False)
            if not finding.ok:
                console.print(f"    {finding.mend}", markup=False, highlight=False)
    return all(finding.ok or finding.is_advice for finding in findings)
