"""The testbed's own work against its lower bound: the same namespaces and links by raw `ip -batch`.

Both in turn in one run. The raw way is what a script would do: one `ip -batch` for all namespaces,
one for the links of every few hundred, and one `ip -n NAME -batch` a namespace for what is inside it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from testbed.bench.memory import kernel_kib, settled
from testbed.drivers import links, namespace, process
from testbed.model.load import parse_topology
from testbed.plan.build import build_plan
from testbed.plan.identity import parse_deployment_id
from testbed.plan.resources import Plan, TenantPlan, VmPlan

_OURS, _RAW = "benchy", "benchz"  # ids of no deployment
_LIMIT_S = 1800
_LINKED = 400  # tenants by one ip: it keeps a file open for each line with a namespace, of 1,024


def measure(count: int, rounds: int) -> Iterator[dict[str, Any]]:
    """Yield a measurement of each way in each round."""
    text = f"tenants: {{t: {{count: {count}}}}}"
    for number in range(rounds):
        for name, identity, make, remove in (
            ("testbed", _OURS, _make_ours, _remove_ours),
            ("raw", _RAW, _make_raw, _remove_raw),
        ):
            topology = parse_topology(text, where="bench", name="bench")
            plan = build_plan(topology, parse_deployment_id(identity))
            yield {"round": number, "wiring": name, "tenants": count, **_one(plan, make, remove)}


def _one(
    plan: Plan, make: Callable[[Plan, str], None], remove: Callable[[Plan], None]
) -> dict[str, float]:
    machine = plan.sut.machine
    if not isinstance(machine, VmPlan):
        raise TypeError("the plan has a VM")
    tap = machine.tap
    remove(plan)
    links.ensure_tap(tap)
    before_kib = settled(kernel_kib)
    try:
        start = time.monotonic()
        make(plan, tap)
        made_s = time.monotonic() - start
        used_kib = kernel_kib() - before_kib
    finally:
        start = time.monotonic()
        remove(plan)
        removed_s = time.monotonic() - start
    return {"up_s": made_s, "down_s": removed_s, "memory_kib": used_kib}


def _make_ours(plan: Plan, tap: str) -> None:
    links.make_tenants(plan, plan.tenants, tap)


def _remove_ours(plan: Plan) -> None:
    namespace.delete_all(links.namespaces_of(plan.deployment))
    links.await_links_gone(plan.deployment)


def _make_raw(plan: Plan, tap: str) -> None:
    _batch(f"netns add {tenant.router.netns}" for tenant in plan.tenants)
    for first in range(0, len(plan.tenants), _LINKED):
        some = plan.tenants[first : first + _LINKED]
        _batch(line for tenant in some for line in _link_lines(tenant, tap))
    for tenant in plan.tenants:
        _batch(_inside_lines(tenant), space=tenant.router.netns)


def _remove_raw(plan: Plan) -> None:
    spaces = links.namespaces_of(plan.deployment)
    _batch(f"netns del {name}" for name in spaces)
    links.await_links_gone(plan.deployment)


def _link_lines(tenant: TenantPlan, tap: str) -> Iterator[str]:
    router, parent = tenant.router, tenant.network.parent
    yield (
        f"link add {parent} type veth peer name {router.lan.name} address {router.lan.mac} "
        f"netns {router.netns}"
    )
    yield (
        f"link add link {tap} name {router.uplink.name} address {router.uplink.mac} "
        f"netns {router.netns} type macvlan mode private"
    )
    yield f"link set {parent} up"


def _inside_lines(tenant: TenantPlan) -> Iterator[str]:
    router = tenant.router
    yield "link set lo up"
    for leg in (router.lan, router.uplink):
        yield f"link set {leg.name} addrgenmode none"
        for address in leg.addresses:
            nodad = " nodad" if address.version == 6 else ""
            yield f"addr add {address} dev {leg.name}{nodad}"
        yield f"link set {leg.name} up"
    for entry in router.neighbours:
        yield f"neigh add {entry.address} lladdr {entry.mac} dev {router.uplink.name} nud permanent"


def _batch(lines: Iterator[str], space: str = "") -> None:
    text = "\n".join(lines)
    if text:
        argv = ["ip", *(["-n", space] if space else []), "-batch", "-"]
        process.run(argv, stdin=f"{text}\n", timeout_s=_LIMIT_S)
