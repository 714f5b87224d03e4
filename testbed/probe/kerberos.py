"""Kerberos from a tenant's client: tickets as its own programs get them, by kinit and kvno."""

from __future__ import annotations

from dataclasses import dataclass

from testbed.plan.resources import TenantPlan
from testbed.probe.inside import Client
from testbed.probe.journal import is_password, right_or_wrong


@dataclass(frozen=True, slots=True)
class Ticket:
    """Whether a ticket was had, and in which credential cache of the client it is."""

    ok: bool
    cache: str
    error: str


def get_ticket(
    client: Client, user: str, password: str, *, cache: str, life_s: int = 3600
) -> Ticket:
    """Get a ticket-granting ticket into the file cache `cache` (a name of letters and digits)."""
    path = f"FILE:/tmp/{cache}.ccache"
    is_right = is_password(client.tenant, user, password)
    with client.asks(f"get a ticket as {user}, {right_or_wrong(is_right)}") as entry:
        answer = client.run(
            ("kinit", "-l", f"{life_s}s", "-c", path, user), stdin=f"{password}\n".encode()
        )
        error = "" if answer.exit_code == 0 else answer.output.strip().splitlines()[-1]
        expected = "a ticket" if is_right else "no ticket"
        agrees = is_right == (answer.exit_code == 0)
        entry.answered(error or "a ticket", expected=expected, agrees=agrees)
    return Ticket(answer.exit_code == 0, path, error)


def service_principal(tenant: TenantPlan) -> str:
    """Return the daemon's principal in the tenant's realm."""
    if tenant.realm is None:
        raise LookupError(f"tenant {tenant.name!r} has no realm")
    return tenant.realm.services[0]
