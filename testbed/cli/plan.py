"""The verb `plan`: everything `up` would make, printed and not made."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from testbed.cli.telling import console
from testbed.model.load import load_topology
from testbed.plan.build import build_plan
from testbed.plan.identity import parse_deployment_id
from testbed.plan.render import plan_view
from testbed.plan.resources import TenantPlan

SCHEMA = "testbed.plan/1"
_EXAMPLE_ID = "aaaaaa"
_MOST_ROWS = 64
_TITLES = ("tenant", "FIB", "network", "server addresses", "next hop", "containers")


def print_plan(topology: Path, *, as_json: bool) -> None:
    """Print what `up` would make; ids in names are an example's."""
    made = build_plan(load_topology(topology), parse_deployment_id(_EXAMPLE_ID))
    if as_json:
        sys.stdout.write(json.dumps({"schema": SCHEMA, **plan_view(made)}, indent=2) + "\n")
        return
    from testbed.cli.tables import print_rows

    out = console()
    print_rows(out, _TITLES, [_row(tenant) for tenant in _shown(made.tenants)])
    left_out = len(made.tenants) - len(_shown(made.tenants))
    if left_out:
        out.print(f"and {left_out:,} tenants between them (--format json has all)")


def _row(tenant: TenantPlan) -> tuple[str, ...]:
    return (
        tenant.name,
        str(tenant.fib),
        "\n".join(str(subnet) for subnet in tenant.network.subnets),
        "\n".join(str(address.ip) for address in tenant.server_addresses),
        "\n".join(str(address.ip) for address in tenant.router.uplink.addresses),
        "\n".join(f"{c.role} {c.addresses[0].ip}" for c in tenant.containers),
    )


def _shown(tenants: Sequence[TenantPlan]) -> Sequence[TenantPlan]:
    """Return all tenants, or of very many the first ones and the last."""
    if len(tenants) <= _MOST_ROWS:
        return tenants
    return (*tenants[: _MOST_ROWS // 4], tenants[-1])
