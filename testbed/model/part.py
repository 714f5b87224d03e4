"""A part of a topology as a topology of its own: fewer tenants, each as it was in the whole."""

from __future__ import annotations

import json
from collections.abc import Collection

from testbed.model.topology import Topology


def part_of(topology: Topology, tenants: Collection[str], *, name: str) -> str:
    """Return the text of a topology called `name` with only `tenants` of `topology`.

    They keep their FIBs, and so all their addresses. So does the tenant whose FIB is the
    interface's: it is part of how the SUT is set up.

    Raises:
        KeyError: when one of the tenants is not there.
    """
    for wanted in tenants:
        topology.tenants[wanted]
    kept = {*tenants, *([topology.sut.interface_fib] if topology.sut.interface_fib else [])}
    whole = topology.model_dump(mode="json", exclude_unset=True)
    numbers = {tenant: index for index, tenant, _ in topology.numbered()}
    start = "lease" if topology.starts_on_lease else "up"
    part = {
        **whole,
        "name": name,
        "services_start": start,
        "tenants": {
            tenant: {"fib": numbers[tenant], **fields}
            for tenant, fields in whole["tenants"].items()
            if tenant in kept
        },
    }
    return json.dumps(part, indent=2) + "\n"
