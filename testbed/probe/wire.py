"""Judges frames on the shared segment: whose they are, and whether they are where they belong.

Three things in a frame name a tenant, and all must agree: the router it comes from or goes to
(MAC), the server address in it (its FIB by the oracle), and the nonce of whoever caused it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from testbed.plan.fib import local_fibs
from testbed.plan.resources import UNASSIGNED, Address, FibId, Plan, TenantPlan
from testbed.probe.capture import Frame


@dataclass(frozen=True, slots=True)
class Leak:
    """A frame that names different tenants."""

    frame: Frame
    router_of: str
    reason: str

    def __str__(self) -> str:
        return f"at the router of {self.router_of!r}: {self.reason}: {self.frame}"


def frames_of(frames: Iterable[Frame], tenant: TenantPlan) -> tuple[Frame, ...]:
    """Return the frames that went to or came from the router of `tenant`."""
    mac = tenant.router.uplink.mac
    return tuple(f for f in frames if mac in {f.source_mac, f.destination_mac})


def leaks(
    plan: Plan, frames: Iterable[Frame], *, nonces: Mapping[str, str] | None = None
) -> tuple[Leak, ...]:
    """Return every frame at a router that is not the tenant's it belongs to.

    `nonces` maps a nonce that stands in payloads to its tenant's name.
    """
    fibs = local_fibs(plan)
    routers = {tenant.router.uplink.mac: tenant for tenant in plan.tenants}
    found = []
    for frame in frames:
        router = routers.get(frame.source_mac) or routers.get(frame.destination_mac)
        if router is None:
            continue
        reason = _disagreement(fibs, frame, router, nonces or {})
        if reason:
            found.append(Leak(frame, router.name, reason))
    return tuple(found)


def _disagreement(
    fibs: Mapping[Address, FibId], frame: Frame, router: TenantPlan, nonces: Mapping[str, str]
) -> str:
    comes_from_router = frame.source_mac == router.router.uplink.mac
    server_address = frame.destination if comes_from_router else frame.source
    if server_address is not None:
        fib = fibs.get(server_address, UNASSIGNED)
        if fib != router.fib:
            return f"{server_address} belongs to FIB {fib}, the router to FIB {router.fib}"
    for nonce, tenant in nonces.items():
        if tenant != router.name and frame.has(nonce.encode()):
            return f"carries the nonce of {tenant!r}"
    return ""
