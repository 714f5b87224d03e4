"""The desired state of all FIBs: one JSON document, validated as a whole.

docs/fib.md fixes the schema. Validation finds every problem before anything is changed; what
passes can be configured, but for what only the kernel knows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple, TypeVar

from .address import MAPPED, Address, Interface, Network, to_address, to_interface, to_network

T = TypeVar("T")

FIB_MAX: Final = 65535
VERSION: Final = 1


class InputError(Exception):
    """The document is wrong; `problems` are all of them, in its order."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Route(NamedTuple):
    """A network and, unless it is on the link, its next hop."""

    to: Network
    via: Address | None


class Neighbour(NamedTuple):
    """A permanent neighbour: one of the FIB's routers or hosts on the link."""

    address: Address
    mac: bytes


class Fib(NamedTuple):
    """One FIB; the first address of each family is its preferred source."""

    id: int
    name: str
    addresses: tuple[Interface, ...]
    routes: tuple[Route, ...]
    neighbours: tuple[Neighbour, ...]
    resolvers: tuple[Address, ...] = ()


class Document(NamedTuple):
    """Everything that is to be configured on one interface."""

    interface: str
    default_fib: int
    strict_mac: bool
    unassigned: tuple[Interface, ...]
    fibs: tuple[Fib, ...]
    virtual_resolvers: tuple[Address, ...] = ()

    def addresses_of(self, fib: Fib) -> tuple[Interface, ...]:
        """Return the addresses whose FIB is `fib`, the interface's own ones last."""
        return fib.addresses + (self.unassigned if fib.id == self.default_fib else ())

    def owners(self) -> dict[Address, int]:
        """Return every address with its FIB; the interface's own ones with the interface FIB."""
        owners = {entry.ip: self.default_fib for entry in self.unassigned}
        return owners | {entry.ip: fib.id for fib in self.fibs for entry in fib.addresses}


@lru_cache(maxsize=2)  # the new one and the former: each is asked for more than once
def parse_text(text: str) -> Document:
    """Parse a JSON document.

    Raises:
        InputError: with all problems, or where it is not JSON.
    """
    try:
        data = json.loads(text)
    except ValueError as error:
        raise InputError([f"not JSON: {error}"]) from error
    return parse_document(data)


def parse_fibs(data: object) -> tuple[Fib, ...]:
    """Turn a decoded FIB, or a list of them, into FIBs that may still conflict with others.

    Raises:
        InputError: with all problems of shape.
    """
    reader = _Reader()
    entries = data if isinstance(data, list) else [data]
    fibs = tuple(reader.fib(entry, ("fibs", index)) for index, entry in enumerate(entries))
    if reader.problems:
        raise InputError(reader.problems)
    return fibs


def parse_document(data: object) -> Document:
    """Turn decoded JSON into a document.

    Raises:
        InputError: with all problems.
    """
    reader = _Reader()
    document = reader.document(data)
    if not reader.problems:
        reader.problems.extend(conflicts(document))
    if reader.problems:
        raise InputError(reader.problems)
    return document


_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", re.IGNORECASE)
_NO_ADDRESS: Final = Address(4)  # a placeholder behind a reported problem
_FIB_LISTS: Final[dict[str, Any]] = {
    key: [] for key in ("addresses", "routes", "neighbours", "resolvers")
}
_FIB_KEYS: Final = {"id": ..., "name": ..., **_FIB_LISTS}
_ROUTE_KEYS: Final = {"to": ..., "via": None}
_NEIGHBOUR_KEYS: Final = {"address": ..., "mac": ...}


Where = str | tuple[Any, str | int]
"""A place in the document: its name, or the place it is in with a key or an index there.

It becomes text when something is wrong there; to write down each would take a third of reading.
"""


def _text(where: Where) -> str:
    if isinstance(where, str):
        return where
    outer, key = where
    return f"{_text(outer)}[{key}]" if isinstance(key, int) else f"{_text(outer)}.{key}"


class _Reader:
    """Reads shapes and types; notes each problem and goes on with a placeholder."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def _note(self, where: Where, what: str) -> None:
        self.problems.append(f"{_text(where)}: {what}")

    def _object(self, value: object, where: Where, keys: Mapping[str, Any]) -> dict[str, Any]:
        """Return `value` with the defaults of `keys` filled in; Ellipsis: required."""
        if not isinstance(value, dict):
            self._note(where, "must be an object")
            return dict.fromkeys(keys)
        found = {**keys, **value}
        if len(found) > len(keys):
            for key in [key for key in found if key not in keys]:
                self._note(where, f"unknown key '{key}'")
                del found[key]
        if ... in found.values():
            for key in [key for key, default in found.items() if default is ...]:
                self._note(where, f"key '{key}' is missing")
                found[key] = None
        return found

    def _list(
        self, value: object, where: Where, read: Callable[[object, Where], T]
    ) -> tuple[T, ...]:
        if isinstance(value, list):
            return tuple([read(entry, (where, index)) for index, entry in enumerate(value)])
        if value is not None:
            self._note(where, "must be a list")
        return ()

    def _integer(self, value: object, where: Where, lowest: int, highest: int) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            if value is not None:
                self._note(where, "must be an integer")
            return lowest
        if not lowest <= value <= highest:
            self._note(where, f"{value} is not between {lowest} and {highest}")
            return lowest
        return value

    def _string(self, value: object, where: Where) -> str:
        if isinstance(value, str) and value:
            return value
        if value is not None:
            self._note(where, "must be a string that is not empty")
        return ""

    def document(self, data: object) -> Document:
        keys = {
            "version": ...,
            "interface": ...,
            "default_fib": 0,
            "strict_mac": False,
            "unassigned": [],
            "virtual_resolvers": [],
            "fibs": ...,
        }
        raw = self._object(data, "document", keys)
        if raw["version"] not in (VERSION, None):
            self._note("version", f"must be {VERSION}")
        if not isinstance(raw["strict_mac"], bool):
            self._note("strict_mac", "must be true or false")
        resolvers = raw["virtual_resolvers"]
        return Document(
            interface=self._string(raw["interface"], "interface"),
            default_fib=self._integer(raw["default_fib"], "default_fib", 0, FIB_MAX),
            strict_mac=bool(raw["strict_mac"]),
            unassigned=self._list(raw["unassigned"], "unassigned", self._interface),
            fibs=self._list(raw["fibs"], "fibs", self.fib),
            virtual_resolvers=self._list(resolvers, "virtual_resolvers", self._address),
        )

    def fib(self, value: object, where: Where) -> Fib:
        """Read a FIB."""
        raw = self._object(value, where, _FIB_KEYS)
        return Fib(
            id=self._integer(raw["id"], (where, "id"), 1, FIB_MAX),
            name=self._string(raw["name"], (where, "name")),
            addresses=self._list(raw["addresses"], (where, "addresses"), self._interface),
            routes=self._list(raw["routes"], (where, "routes"), self._route),
            neighbours=self._list(raw["neighbours"], (where, "neighbours"), self._neighbour),
            resolvers=self._list(raw["resolvers"], (where, "resolvers"), self._address),
        )

    def _interface(self, value: object, where: Where) -> Interface:
        text = self._string(value, where)
        try:
            interface = to_interface(text)
        except ValueError:
            if text:
                self._note(where, f"'{text}' is not an address with its prefix length")
            return Interface(_NO_ADDRESS, 32)
        if not _is_host(interface.ip):
            self._note(where, f"'{text}' cannot be an address of a FIB")
        return interface

    def _address(self, value: object, where: Where) -> Address:
        text = self._string(value, where)
        try:
            address = to_address(text)
        except ValueError:
            if text:
                self._note(where, f"'{text}' is not an address")
            return _NO_ADDRESS
        if not _is_host(address):
            self._note(where, f"'{text}' cannot be the address of one station")
        return address

    def _route(self, value: object, where: Where) -> Route:
        raw = self._object(value, where, _ROUTE_KEYS)
        to_where = (where, "to")
        text = self._string(raw["to"], to_where)
        via = None if raw["via"] is None else self._address(raw["via"], (where, "via"))
        try:
            to = to_network(text)
        except ValueError as error:
            if text:
                self._note(to_where, str(error))
            return Route(Network(_NO_ADDRESS, 32), None)
        if via is not None and via.version != to.version:
            self._note((where, "via"), f"'{via}' is of another family than '{to}'")
        return Route(to, via)

    def _neighbour(self, value: object, where: Where) -> Neighbour:
        raw = self._object(value, where, _NEIGHBOUR_KEYS)
        address = self._address(raw["address"], (where, "address"))
        text = self._string(raw["mac"], (where, "mac"))
        if text and not _MAC.fullmatch(text):
            self._note((where, "mac"), f"'{text}' is not a MAC address")
            return Neighbour(address, bytes(6))
        mac = bytes.fromhex(text.replace(":", ""))
        if mac and (mac[0] & 1 or mac == bytes(6)):
            self._note((where, "mac"), f"'{text}' is not the MAC address of one station")
        return Neighbour(address, mac)


_NO_HOSTS: Final = {bytes(4), b"\xff" * 4, bytes(16), bytes(15) + b"\1"}


@lru_cache(maxsize=1024)
def _is_host(address: Address) -> bool:
    """Whether a FIB may have it: no group, loopback, link-local or unspecified address (row 51)."""
    if len(address) == 4:
        return not (
            224 <= address[0] <= 239
            or address[0] == 127
            or address[:2] == b"\xa9\xfe"
            or address in _NO_HOSTS
        )
    return not (
        address[0] == 0xFF
        or (address[0] == 0xFE and address[1] & 0xC0 == 0x80)
        or address[:12] == MAPPED
        or address in _NO_HOSTS
    )


def conflicts(document: Document) -> Iterator[str]:
    """Yield what FIBs cannot have side by side."""
    yield from _identity_conflicts(document)
    yield from _address_conflicts(document)
    yield from _neighbour_conflicts(document)
    for fib in document.fibs:
        yield from _route_conflicts(document, fib)
    versions = [address.version for address in document.virtual_resolvers]
    if len(set(versions)) < len(versions):
        yield "virtual_resolvers: more than one of a family"
    for address in document.virtual_resolvers:
        if address in document.owners():
            yield f"virtual_resolvers: '{address}' is an address of the interface or of a FIB"


def _label(fib: Fib) -> str:
    return f"FIB {fib.id} '{fib.name}'"


def _identity_conflicts(document: Document) -> Iterator[str]:
    ids: dict[int, Fib] = {}
    names: dict[str, Fib] = {}
    for fib in document.fibs:
        if fib.id in ids:
            yield f"{_label(fib)}: the number is taken by {_label(ids[fib.id])}"
        if fib.name in names:
            yield f"{_label(fib)}: the name is taken by {_label(names[fib.name])}"
        ids.setdefault(fib.id, fib)
        names.setdefault(fib.name, fib)
    if document.default_fib and document.default_fib not in ids:
        yield f"default_fib: there is no FIB {document.default_fib}"


def _address_conflicts(document: Document) -> Iterator[str]:
    """Find addresses with two owners: each belongs to one FIB (row 39)."""
    owners: dict[Address, str] = {}
    owned = [(entry, "the interface") for entry in document.unassigned]
    owned += [(entry, _label(fib)) for fib in document.fibs for entry in fib.addresses]
    for entry, owner in owned:
        if entry.ip in owners:
            yield f"{owner}: address '{entry.ip}' belongs to {owners[entry.ip]}"
        owners.setdefault(entry.ip, owner)
    for fib in document.fibs:
        for neighbour in fib.neighbours:
            if neighbour.address in owners:
                owner = owners[neighbour.address]
                yield f"{_label(fib)}: neighbour '{neighbour.address}' is an address of {owner}"


def _neighbour_conflicts(document: Document) -> Iterator[str]:
    """Find what one neighbour entry for each address and interface cannot hold (P3)."""
    known: dict[Address, tuple[bytes, Fib]] = {}
    for fib in document.fibs:
        for neighbour in fib.neighbours:
            mac, owner = known.setdefault(neighbour.address, (neighbour.mac, fib))
            if mac != neighbour.mac:
                yield (
                    f"{_label(fib)}: neighbour '{neighbour.address}' has another MAC address "
                    f"in {_label(owner)}"
                )
    users: dict[Address, Fib] = {}
    for fib in document.fibs:
        for via in {route.via for route in fib.routes if route.via is not None}:
            user = users.setdefault(via, fib)
            if user is not fib and via not in known:
                yield (
                    f"{_label(fib)}: next hop '{via}' is also that of {_label(user)}; one "
                    f"interface has one neighbour entry for it, so name its MAC in both"
                )


def _route_conflicts(document: Document, fib: Fib) -> Iterator[str]:
    families = {entry.version for entry in document.addresses_of(fib)}
    seen: set[Network] = set()
    for route in fib.routes:
        if route.to in seen:
            yield f"{_label(fib)}: two routes to '{route.to}'"
        seen.add(route.to)
        if route.to.version not in families:
            yield f"{_label(fib)}: route to '{route.to}' without an address of that family"
    own = {Network(entry.ip, entry.ip.bits) for entry in document.addresses_of(fib)}
    for to in seen & own:
        yield f"{_label(fib)}: route to '{to}', which is an address of its own"
