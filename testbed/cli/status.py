"""The verb `status`: health, drift from the plan, and leases.

The first line comes from the records alone, before anything heavy is imported or asked.
"""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from testbed.cli.telling import console, printable, say, tell, tell_error
from testbed.errors import TestbedError
from testbed.lifecycle.store import Found, Record, Store, state_root

if TYPE_CHECKING:
    from rich.console import Console

    from testbed.lifecycle.check import Verdict
    from testbed.lifecycle.status import Status, TenantStatus

_MOST_ROWS = 40
_MOST_DRIFT = 20
_TITLES = ("tenant", "server addresses", "FIB", "services", "health")
_LOGIN = "login end to end"


def print_status(name: str, *, as_json: bool) -> bool:
    """Print how a deployment is, or all of them; return whether all are healthy."""
    store = Store(state_root())
    found = store.look()
    if name or not (found.records or as_json):
        found = Found((store.get(name),), ())
    for one in found.unusable:
        tell(f"not shown: {one}")
    is_ok = all(one.record is None for one in found.unusable)  # another version's may be well
    if as_json:
        return _print_json(store, found.records, is_ok=is_ok)
    healthy = [_print_one(store, record) for record in found.records]
    return all(healthy) and is_ok


def _print_json(store: Store, records: Iterable[Record], *, is_ok: bool) -> bool:
    from testbed.cli.views import DeploymentView, StatusView, data_of, deployment_view

    views: list[DeploymentView] = []
    for record in records:
        try:
            views.append(deployment_view(record, _examine(store, record)))
        except TestbedError as error:
            tell_error(error.message, error.hint)
            is_ok = False
    is_ok = is_ok and all(view.ok for view in views)
    view = StatusView(schema="testbed.status/1", ok=is_ok, deployments=tuple(views))
    sys.stdout.write(json.dumps(data_of(view), indent=2) + "\n")
    return is_ok


def _print_one(store: Store, record: Record) -> bool:
    since = time.strftime("%Y-%m-%d %H:%M", time.localtime(record.created_s))
    say(f"deployment {record} of {printable(record.source)}, since {since}")
    try:
        state = _examine(store, record)
    except TestbedError as error:
        tell_error(error.message, error.hint)
        return False
    out = console()
    print_tenants(out, state.tenants, {})
    print_parts(out, state)
    if not state.ok:
        topology = record.source if Path(record.source).is_file() else store.topology(record.id)
        command = shlex.join(["testbed", "up", str(topology), "--name", record.name])
        say(f"not healthy; repairs what can be repaired in place: {command}")
    return state.ok


def _examine(store: Store, record: Record) -> Status:
    from testbed.lifecycle.deployment import open_deployment
    from testbed.lifecycle.status import examine

    return examine(open_deployment(store, record))


def print_parts(out: Console, state: Status) -> None:
    """Print what all tenants share, what the SUT lacks, drift and leases."""

    def say(text: str) -> None:
        out.print(text, markup=False, highlight=False)

    for part in state.parts:
        out.print("[green]✔[/green]" if part.ok else "[red]✘[/red]", end=" ")
        say(f"{part.name}: {printable(part.detail)}")
    for gap in state.gaps:
        out.print("[yellow]![/yellow]", end=" ")
        say(f"the SUT cannot have: {gap.extension}\n    {gap.reason}")
    for drift in state.drift[:_MOST_DRIFT]:
        out.print("[yellow]![/yellow]", end=" ")
        say(f"drift: {drift.subject}: {drift.found}\n    {drift.mend}")
    if len(state.drift) > _MOST_DRIFT:
        say(f"and {len(state.drift) - _MOST_DRIFT:,} more (--format json has all)")
    for lease in state.leases:
        say(f"leased: {lease}" if not lease.is_waiting else f"queue: {lease}")


def print_tenants(
    out: Console, tenants: Sequence[TenantStatus], verdicts: dict[str, Verdict]
) -> None:
    """Print all tenants; of very many those that are unwell or run services, and a sum."""
    from testbed.cli.tables import print_rows

    shown = tenants
    if len(tenants) > _MOST_ROWS:
        unwell = [tenant for tenant in tenants if not tenant.ok]
        running = [tenant for tenant in tenants if tenant.ok and not tenant.idle]
        shown = (*unwell[:_MOST_ROWS], *running[:_MOST_ROWS])[:_MOST_ROWS]
    titles = (*_TITLES, _LOGIN) if verdicts else _TITLES
    print_rows(out, titles, [_row(tenant, verdicts) for tenant in shown], wraps_last=True)
    if len(shown) < len(tenants):
        idle = sum(tenant.idle and tenant.ok for tenant in tenants)
        bad = sum(not tenant.ok for tenant in tenants)
        checked = f"; {len(verdicts)} checked end to end" if verdicts else ""
        out.print(
            f"{len(tenants):,} tenants: {len(tenants) - idle - bad:,} with services running, "
            f"{idle:,} idle until they are leased, {bad:,} unwell{checked}",
            highlight=False,
        )


def _row(tenant: TenantStatus, verdicts: dict[str, Verdict]) -> list[str]:
    from rich.markup import escape

    services = " ".join(f"{service.role}" for service in tenant.services)
    row = [tenant.name, "\n".join(tenant.server_addresses), str(tenant.fib), services]
    row.append(_health(tenant))
    verdict = verdicts.get(tenant.name)
    if verdict:
        colour = "green" if verdict.ok else "red"
        row.append(f"[{colour}]{escape(verdict.detail)}[/{colour}]")
    elif verdicts:
        row.append("")
    return row


def _health(tenant: TenantStatus) -> str:
    from rich.markup import escape

    problems = [tenant.problem] if tenant.problem else []
    problems += [f"{item.role}: {item.problem}" for item in tenant.services if item.problem]
    if not problems and tenant.idle:
        return "[dim]idle until leased[/dim]"
    if not problems:
        return "[green]healthy[/green]"
    return "[red]" + escape("\n".join(problems)) + "[/red]"
