"""Judges frames on the shared segment: whose they are, and whether they are where they belong.

Three things in a frame name a tenant, and all must agree: the router it comes from or goes to
(MAC), the server address in it (its FIB by the oracle), and the nonce of whoever caused it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Protocol

from testbed.plan.fib import local_fibs
from testbed.plan.resources import UNASSIGNED, Address, FibId, Plan, TenantPlan
from testbed.probe.capture import Frame

_GROUPS_OF_LINK = (ip_network("224.0.0.0/24"), ip_network("ff02::/16"))  # RFC 5771, RFC 4291


@dataclass(frozen=True, slots=True)
class Leak:
    """A frame that names different tenants; `router_of` is empty where the station is nobody's."""

    frame: Frame
    router_of: str
    reason: str

    def __str__(self) -> str:
        place = f"the router of {self.router_of!r}" if self.router_of else "a stranger's station"
        return f"at {place}: {self.reason}: {self.frame}"


def frames_of(frames: Iterable[Frame], tenant: TenantPlan) -> tuple[Frame, ...]:
    """Return the frames that went to or came from the router of `tenant`."""
    mac = tenant.router.uplink.mac
    return tuple(f for f in frames if mac in {f.source_mac, f.destination_mac})


class Named(Protocol):
    """A tenant, or its part of the plan."""

    @property
    def name(self) -> str:
        """The tenant's name."""


def leaks(
    plan: Plan,
    frames: Iterable[Frame],
    tenants: Iterable[Named] | None = None,
    *,
    nonces: Mapping[str, str] | None = None,
) -> tuple[Leak, ...]:
    """Return every frame at a router that is not the tenant's it belongs to.

    With `tenants`, addresses are judged in frames at their routers or with their addresses alone:
    scenarios that run beside may forge frames of the tenants that they have leased. `nonces` maps
    a nonce that stands in payloads to its tenant's name; it is looked for at every router.
    """
    fibs = local_fibs(plan)
    routers = {tenant.router.uplink.mac: tenant for tenant in plan.tenants}
    names = {tenant.name for tenant in (plan.tenants if tenants is None else tenants)}
    judged = {tenant.fib for tenant in plan.tenants if tenant.name in names}
    found = []
    for frame in frames:
        router = routers.get(frame.source_mac) or routers.get(frame.destination_mac)
        if router is None:
            continue
        reason = _foreign_nonce(frame, router, nonces or {})
        reason = reason or _foreign_address(fibs, frame, router, judged)
        if reason:
            found.append(Leak(frame, router.name, reason))
    return tuple(found)


def strays(plan: Plan, frames: Iterable[Frame]) -> tuple[Leak, ...]:
    """Return the frames that the SUT has sent to another station than the router of their source's FIB.

    To one station alone: what goes to a group is judged by the extensions. By the raw bytes, since
    every frame of every scenario is looked at.
    """
    fibs = {address.packed: fib for address, fib in local_fibs(plan).items()}
    routers = {_packed(tenant.router.uplink.mac): tenant for tenant in plan.tenants}
    sut = _packed(plan.sut.machine.mac)
    found = []
    for frame in frames:
        source = _source_bytes(frame.raw) if frame.raw[6:12] == sut else b""
        if not source or frame.raw[0] & 1:
            continue
        fib, router = fibs.get(source, UNASSIGNED), routers.get(frame.raw[:6])
        if router is None:
            reason = f"its source belongs to FIB {fib}, the station to nobody of the plan"
            found.append(Leak(frame, "", reason))
        elif fib != router.fib:
            reason = f"its source belongs to FIB {fib}, the router to FIB {router.fib}"
            found.append(Leak(frame, router.name, reason))
    return tuple(found)


def _is_of_link(address: Address) -> bool:
    """Whether `address` has a meaning on the segment alone, as what routers report to ff02::16.

    A router that comes up announces which groups it listens to (RFC 3810, 5.2.14).
    """
    return address.is_link_local or any(address in network for network in _GROUPS_OF_LINK)


def _packed(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def _source_bytes(raw: bytes) -> bytes:
    """Return the source address of an IP packet, nothing of what is of the link (fe80::)."""
    if raw[12:14] == b"\x08\x00":
        return raw[26:30]
    if raw[12:14] == b"\x86\xdd" and raw[22:24] != b"\xfe\x80":
        return raw[22:38]
    return b""


def _foreign_address(
    fibs: Mapping[Address, FibId], frame: Frame, router: TenantPlan, judged: set[FibId]
) -> str:
    comes_from_router = frame.source_mac == router.router.uplink.mac
    address = frame.destination if comes_from_router else frame.source
    if address is None or _is_of_link(address):
        return ""
    fib = fibs.get(address, UNASSIGNED)
    if fib == router.fib or not judged & {fib, router.fib}:
        return ""
    return f"{address} belongs to FIB {fib}, the router to FIB {router.fib}"


def _foreign_nonce(frame: Frame, router: TenantPlan, nonces: Mapping[str, str]) -> str:
    for nonce, tenant in nonces.items():
        if tenant != router.name and frame.has(nonce.encode()):
            return f"carries the nonce of {tenant!r}"
    return ""
