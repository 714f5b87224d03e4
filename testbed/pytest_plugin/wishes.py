"""What a scenario asks for, read from its markers: its topology, and which tenants may do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pytest

from testbed.errors import did_you_mean
from testbed.plan.resources import Plan, Role, TenantPlan

MARKERS = (
    "topology(name): the topology the scenario runs on: a name under topologies/, or a file",
    (
        "tenants(*names) or tenants(n, services=[...], overlap=...): lease these tenants, or any n. "
        "services: dns, ldap, kdc that each must have. overlap: what must be alike in all of them: "
        "network, client, dns, ldap, kdc (addresses), domain, realm. started=False: without their "
        "services, where these start on lease (see Tenant.player). The fixture `tenants` hands "
        "them out in order; without the marker it has one tenant"
    ),
    (
        "exclusive: nobody else uses the deployment meanwhile; for scenarios that change the SUT. "
        "With the fixture `deployment`; the marker `tenants` works as usual"
    ),
    (
        "expects(*reasons, strays=False): the scenario makes the SUT drop frames for these reasons "
        "(docs/fib.md); strays=True: it sends frames to routers that the plan does not mean them for. "
        "Without it both fail the scenario"
    ),
    "long: takes long: runs with --long, or when it is named by FILE::TEST",
    "drawn(n): n of its cases run, drawn by --seed; all with --long, or when it is named by FILE::TEST",
    (
        "configuration: judges what is set up, not what packets and sockets do: `make mutants` "
        "leaves it out"
    ),
)

_MOST_GROUPS = 64
Groups = tuple[tuple[str, ...], ...]


def _address_of(role: Role) -> Callable[[TenantPlan], object]:
    def addresses(tenant: TenantPlan) -> object:
        return next((c.addresses for c in tenant.containers if c.role is role), None)

    return addresses


_ALIKE: Mapping[str, Callable[[TenantPlan], object]] = {
    "network": lambda tenant: tenant.network.subnets,
    **{str(role): _address_of(role) for role in Role},
    "domain": lambda tenant: tenant.domain,
    "realm": lambda tenant: tenant.realm.realm if tenant.realm else None,
}


@dataclass(frozen=True, slots=True)
class Wish:
    """What one scenario asks for; no tenants at all unless its marker or a fixture wants some."""

    topology: str
    whole: bool
    tenants: pytest.Mark | None
    wants_tenants: bool
    starts_services: bool = True

    @classmethod
    def of(cls, item: pytest.Item, default_topology: str) -> Wish:
        """Read the markers and fixtures of `item`."""
        marker = item.get_closest_marker("topology")
        if marker is not None and len(marker.args) != 1:
            raise pytest.UsageError(f"{item.nodeid}: write topology(NAME)")
        tenants = item.get_closest_marker("tenants")
        fixtures = set(getattr(item, "fixturenames", ()))
        return cls(
            topology=str(marker.args[0]) if marker else default_topology,
            whole=item.get_closest_marker("exclusive") is not None,
            tenants=tenants,
            starts_services=tenants is None or bool(tenants.kwargs.get("started", True)),
            wants_tenants=tenants is not None or bool(fixtures & {"tenant", "tenants"}),
        )

    def groups(self, plan: Plan) -> Groups:
        """Return the groups of tenants of `plan` that would do, best first; at least one.

        Raises:
            UsageError: when there is none, or the marker is wrong.
        """
        if not self.wants_tenants:
            return ((),)
        if self.tenants is None:
            return groups_of(plan, 1)
        options = {key: value for key, value in self.tenants.kwargs.items() if key != "started"}
        unknown = sorted(options.keys() - {"services", "overlap"})
        if unknown:
            message = f"tenants({unknown[0]}=...): it is services, overlap or started"
            raise pytest.UsageError(message)
        return groups_of(plan, *self.tenants.args, **options)


def groups_of(
    plan: Plan, *wanted: str | int, services: Sequence[str] = (), overlap: str = ""
) -> Groups:
    """Return the groups of tenants that the marker `tenants` with these arguments lets a test have.

    Raises:
        UsageError: when there is none, or the arguments are wrong.
    """
    if wanted and all(isinstance(name, str) for name in wanted):
        return (_by_name(plan, [str(name) for name in wanted], services, overlap),)
    if not wanted:
        return (tuple(tenant.name for tenant in plan.tenants),)
    count = wanted[0]
    if len(wanted) > 1 or not isinstance(count, int) or count < 1:
        raise pytest.UsageError(f"tenants{wanted!r}: give names, or one number from 1")
    unknown = [name for name in services if name not in set(Role)]
    if unknown:
        raise pytest.UsageError(f"tenants(services={services!r}): there is no {unknown[0]!r}")
    if overlap and overlap not in _ALIKE:
        known = ", ".join(_ALIKE)
        raise pytest.UsageError(f"tenants(overlap={overlap!r}): it is one of {known}")
    groups = tuple(
        group
        for fitting in _alike([t for t in plan.tenants if _has(t, services)], overlap)
        if len(fitting) >= count
        for group in _ring(fitting, count)
    )
    if not groups:
        alike = f" with one {overlap}" if overlap else ""
        having = f" having {', '.join(services)}" if services else ""
        message = f"topology {plan.topology!r} has no {count} tenants{having}{alike}"
        raise pytest.UsageError(message)
    return groups


def _by_name(
    plan: Plan, wanted: list[str], services: Sequence[str], overlap: str
) -> tuple[str, ...]:
    if services or overlap:
        raise pytest.UsageError("tenants(): services and overlap go with a number, not with names")
    known = {tenant.name for tenant in plan.tenants}
    for name in wanted:
        if name not in known:
            hint = did_you_mean(name, known) or f"it has {', '.join(sorted(known)[:8])}"
            message = f"topology {plan.topology!r} has no tenant {name!r}: {hint}"
            raise pytest.UsageError(message)
    return tuple(wanted)


def _has(tenant: TenantPlan, services: Sequence[str]) -> bool:
    roles = {container.role for container in tenant.containers}
    return all(Role(service) in roles for service in services)


def _alike(tenants: Sequence[TenantPlan], overlap: str) -> list[list[str]]:
    """Return the names of `tenants` in lists of those that are alike."""
    if not overlap:
        return [[tenant.name for tenant in tenants]]
    found: dict[object, list[str]] = {}
    for tenant in tenants:
        key = _ALIKE[overlap](tenant)
        if key is not None:
            found.setdefault(key, []).append(tenant.name)
    return list(found.values())


def _ring(names: list[str], count: int) -> list[tuple[str, ...]]:
    """Return neighbours in a ring: as many groups as tenants, and every tenant is first in one.

    Of thousands, some dozen groups: a claim writes them all down. They begin with the same
    tenants each time, whose services run by then.
    """
    if count == len(names):
        return [tuple(names)]
    twice = names + names
    starts = range(len(names))
    if len(names) > _MOST_GROUPS:
        starts = range(0, len(names), max(1, min(count, len(names) // _MOST_GROUPS)))
    return [tuple(twice[start : start + count]) for start in starts[:_MOST_GROUPS]]
