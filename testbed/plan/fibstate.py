"""The document for `fibctl apply`: the whole state of the SUT's FIBs as JSON (docs/fib.md)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from testbed.plan.resources import FibPlan, Plan, Route

VERSION = 1


def fib_state(plan: Plan) -> str:
    """Return the state of all FIBs that `plan` wants.

    `strict_mac`: a tenant's packets are taken from its own router only, which the plan knows.
    """
    sut = plan.sut
    document = {
        "version": VERSION,
        "interface": sut.interface,
        "default_fib": sut.default_fib,
        "strict_mac": True,
        "unassigned": [str(address) for address in sut.unassigned],
        "fibs": [_fib(fib) for fib in sut.fibs],
    }
    return json.dumps(document)


def fib_entries(fibs: Iterable[FibPlan]) -> str:
    """Return `fibs` alone, for `fibctl add`."""
    return json.dumps([_fib(fib) for fib in fibs])


def _fib(fib: FibPlan) -> dict[str, Any]:
    return {
        "id": fib.fib,
        "name": fib.name,
        "addresses": [str(address) for address in fib.addresses],
        "routes": [_route(route) for route in fib.routes],
        "neighbours": [
            {"address": str(neighbour.address), "mac": neighbour.mac}
            for neighbour in fib.neighbours
        ],
    }


def _route(route: Route) -> dict[str, str]:
    document = {"to": str(route.to)}
    if route.via is not None:
        document["via"] = str(route.via)
    return document
