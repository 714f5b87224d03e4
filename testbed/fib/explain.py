"""Which FIB a packet or socket would use, and why: the configuration asked, not the wire."""

from __future__ import annotations

from typing import Any

from .address import Address, to_address
from .document import Document, Fib, InputError, Route


def explain(document: Document, local: str, remote: str | None) -> dict[str, Any]:
    """Return the FIB of a local address and, with a remote one, the way between them.

    Keys: `fib`, `name`, `because`; with `remote` also `verdict` (`delivered`, `unreachable`,
    `local`), `next_hop`, `source` and `route`.

    Raises:
        InputError: what was given is no address, or not of one family.
    """
    here = _address(local)
    owners = document.owners()
    number = owners.get(here, 0)
    answer: dict[str, Any] = {
        "fib": number,
        "name": next((fib.name for fib in document.fibs if fib.id == number), ""),
        "because": _reason(document, here, number),
    }
    if remote is None:
        return answer
    there = _address(remote)
    if there.version != here.version:
        raise InputError([f"explain: '{local}' and '{remote}' are of two families"])
    return answer | _way(document, number, there)


def explain_way(document: Document, number: int, remote: object) -> dict[str, Any]:
    """Return where a packet of a FIB to `remote` goes: an address, or what prints as one.

    Raises:
        InputError: it is none.
    """
    return _way(document, number, _address(str(remote)))


def _way(document: Document, number: int, remote: Address) -> dict[str, Any]:
    fib = next((fib for fib in document.fibs if fib.id == number), None)
    if fib is None:
        verdict = "unreachable" if number else "FIB 0: the system's own tables decide"
        return {"verdict": verdict}
    own = document.addresses_of(fib)
    source = next((str(entry.ip) for entry in own if entry.version == remote.version), None)
    if any(entry.ip == remote for entry in own):
        return {"verdict": "local", "source": str(remote)}
    route = best_route(fib, remote)
    if route is None:
        return {"verdict": "unreachable", "because_of": f"no route in FIB {number}"}
    return {
        "verdict": "delivered",
        "route": str(route.to),
        "next_hop": str(route.via or remote),
        "source": source,
    }


def best_route(fib: Fib, remote: Address) -> Route | None:
    """Return the FIB's longest matching route."""
    matching = [r for r in fib.routes if r.to.version == remote.version and r.to.covers(remote)]
    return max(matching, key=lambda route: route.to.length, default=None)


def _reason(document: Document, address: Address, number: int) -> str:
    if any(entry.ip == address for fib in document.fibs for entry in fib.addresses):
        return f"'{address}' belongs to FIB {number}"
    if any(entry.ip == address for entry in document.unassigned):
        return f"'{address}' has no FIB of its own and follows the interface, FIB {number}"
    return f"'{address}' is no local address of '{document.interface}'"


def _address(text: str) -> Address:
    try:
        return to_address(text)
    except ValueError as error:
        raise InputError([f"explain: {error}"]) from error
