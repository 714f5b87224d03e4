"""The verb `graph`: who is where, as a tree on the terminal or as an SVG drawing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from testbed.cli.options import Drawing
from testbed.errors import InputError, Problem
from testbed.lifecycle.deployment import open_deployment
from testbed.lifecycle.store import Store, state_root
from testbed.model.load import load_topology
from testbed.plan.build import build_plan
from testbed.plan.identity import parse_deployment_id
from testbed.plan.resources import Interface, Plan, TenantPlan
from testbed.report.picture import svg_of

_EXAMPLE_ID = "aaaaaa"
_MOST_DRAWN = 32
_STDOUT = "-"


def draw(name: str, topology: Path | None, output: str, drawing: Drawing | None) -> None:
    """Draw `topology`, or else the deployment called `name`, to the file `output`.

    Raises:
        InputError: when the file cannot be written.
    """
    if topology is not None:
        plan = build_plan(load_topology(topology), parse_deployment_id(_EXAMPLE_ID))
    else:
        store = Store(state_root())
        plan = open_deployment(store, store.get(name)).plan
    guessed = Drawing.SVG if output.endswith(".svg") else Drawing.TEXT
    text = svg_of(plan) if (drawing or guessed) is Drawing.SVG else tree_of(plan)
    if output == _STDOUT:
        sys.stdout.write(text)
        return
    try:
        Path(output).write_text(text, encoding="utf-8")
    except OSError as error:
        problem = Problem(output, f"cannot write it: {error.strerror}", "name another file")
        raise InputError([problem]) from error


def tree_of(plan: Plan) -> str:
    """Return the plan as a tree: FIBs of the SUT, the router of each, the tenant behind it."""
    lines = [f"SUT {plan.sut.interface}, the interface's FIB is {plan.sut.default_fib}"]
    drawn = plan.tenants[:_MOST_DRAWN]
    more = len(plan.tenants) - len(drawn)
    for tenant in drawn:
        is_last = tenant is drawn[-1] and not more
        lines += _branch(list(_tenant(tenant)), is_last=is_last)
    if more:
        lines.append(f"└─ and {more:,} more tenants")
    return "\n".join(lines) + "\n"


def _tenant(tenant: TenantPlan) -> Iterator[str]:
    yield f"FIB {tenant.fib}: {_hosts(tenant.server_addresses)}"
    subnets = ", ".join(str(subnet) for subnet in tenant.network.subnets)
    yield f"└─ router {_hosts(tenant.router.uplink.addresses)}"
    yield f"   └─ {tenant.name}: {subnets}"
    for container in tenant.containers:
        mark = "└─" if container is tenant.containers[-1] else "├─"
        yield f"      {mark} {container.role} {_hosts(container.addresses)}"


def _hosts(addresses: tuple[Interface, ...]) -> str:
    return ", ".join(str(address.ip) for address in addresses)


def _branch(lines: list[str], *, is_last: bool) -> list[str]:
    first, rest = ("└─ ", "   ") if is_last else ("├─ ", "│  ")
    return [first + lines[0], *(rest + line for line in lines[1:])]
