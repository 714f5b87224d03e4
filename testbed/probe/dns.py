"""Asks a tenant's DNS from its client."""

from __future__ import annotations

import re
from dataclasses import dataclass

from testbed.plan.records import known_values
from testbed.plan.resources import Address
from testbed.probe.inside import Client


@dataclass(frozen=True, slots=True)
class Lookup:
    """A DNS answer: its status (NOERROR, NXDOMAIN...; empty without answer) and its values."""

    status: str
    values: tuple[str, ...]

    def __str__(self) -> str:
        return " ".join((self.status or "no answer", *self.values))


def look_up(
    client: Client, name: str, kind: str = "A", *, server: Address | None = None, tcp: bool = False
) -> Lookup:
    """Ask for records of `kind`; by default the server that the client's resolv.conf names."""
    argv = ["dig", "+noall", "+comments", "+answer", "+time=2", "+tries=1", "-q", name, "-t", kind]
    if server is not None:
        argv.append(f"@{server}")
    if tcp:
        argv.append("+tcp")
    with client.asks(f"look up {name} {kind}" + (f" at {server}" if server else "")) as entry:
        found = _read_answer(client.run(argv).output, kind)
        # What another server would say is not known.
        known = known_values(client.tenant.records, name, kind) if server is None else None
        wanted = Lookup("NOERROR", tuple(sorted(known))) if known is not None else None
        agrees = Lookup(found.status, tuple(sorted(found.values))) == wanted if wanted else None
        entry.answered(found, expected=wanted or "", agrees=agrees)
    return found


def _read_answer(output: str, kind: str) -> Lookup:
    status = re.search(r"status: (\w+)", output)
    pattern = rf"^\S+\s+\d+\s+IN\s+{re.escape(kind)}\s+(.+)$"
    values = tuple(re.findall(pattern, output, flags=re.MULTILINE))
    return Lookup(status[1] if status else "", values)
