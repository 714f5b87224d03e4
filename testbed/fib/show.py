"""What is configured, read back from kernel and maps; names come from the last document."""

from __future__ import annotations

import socket
import struct
from typing import Any

from . import bpfmap, programs
from .address import MAPPED
from .apply import read_present, saved_document
from .desired import map_key
from .document import Document
from .entries import LOCAL, Route
from .failure import EnvironmentFailure
from .netlink import Rtnetlink
from .rules import TABLE_BASE
from .sockdiag import SockDiag


def show() -> dict[str, Any]:
    """Return the state as JSON-ready data; its schema is in docs/fib.md.

    Raises:
        EnvironmentFailure: nothing has been applied yet, or its interface is gone.
    """
    document = saved_document()
    try:
        index = socket.if_nametoindex(document.interface)
    except OSError as error:
        raise EnvironmentFailure(f"interface '{document.interface}' is gone") from error
    with Rtnetlink(index) as netlink:
        present = read_present(netlink)
    config = bpfmap.read_config()
    flags = config.flags
    owners = {
        _text(key[-4:] if _is_ipv4(key) else key): struct.unpack("=I", value)[0]
        for key, value in present.maps.addresses.items()
    }
    lengths = {_text(entry.address): entry.prefix_length for entry in present.addresses}
    addresses, routes = _addresses(owners, lengths), _routes(present.routes)
    return {
        "interface": document.interface,
        "default_fib": config.interface_fib,
        "strict_mac": bool(flags & bpfmap.STRICT_MAC),
        "broken": _broken(flags),
        "missing_programs": programs.missing(document.interface),
        "unassigned": addresses.get(bpfmap.OF_INTERFACE, []),
        "unknown_addresses": sorted(address for address in lengths if address not in owners),
        "fibs": [
            {
                "id": fib,
                "name": name,
                "table": TABLE_BASE + fib,
                "addresses": addresses.get(fib, []),
                "routes": routes.get(fib, []),
                "routers": routers,
            }
            for fib, name, routers in _fibs(document)
        ],
        "drops": bpfmap.read_drops(),
    }


def list_sockets(only: int | None = None) -> list[dict[str, Any]]:
    """Return TCP and UDP sockets with their FIB: their own, else that of their local address."""
    with bpfmap.address_map() as addresses:
        owners = addresses.items()
    interface_fib = bpfmap.read_config().interface_fib
    listed = []
    with SockDiag() as diagnosis:
        for entry in diagnosis.sockets():
            fib = entry.mark
            owner = owners.get(map_key(entry.plain_local))
            if not fib and owner is not None:
                fib = struct.unpack("=I", owner)[0]
                fib = interface_fib if fib == bpfmap.OF_INTERFACE else fib
            if only is None or fib == only:
                listed.append(
                    {
                        "fib": fib,
                        "protocol": entry.protocol_name,
                        "state": entry.state,
                        "local": f"{_text(entry.local)}:{entry.local_port}",
                        "remote": f"{_text(entry.remote)}:{entry.remote_port}",
                        "uid": entry.uid,
                        "inode": entry.inode,
                    }
                )
    return listed


def _fibs(document: Document) -> list[tuple[int, str, list[str]]]:
    names = {fib.id: fib.name for fib in document.fibs}
    with bpfmap.state_map() as states:
        fibs = sorted(struct.unpack("=I", key)[0] for key in states.keys())  # noqa: SIM118
    routers: dict[int, list[str]] = {}
    with bpfmap.router_map() as entries:
        for key in entries.keys():  # noqa: SIM118 - a map, not a dict
            fib, mac = struct.unpack("=I6sxx", key)
            routers.setdefault(fib, []).append(mac.hex(":"))
    return [(fib, names.get(fib, ""), sorted(routers.get(fib, []))) for fib in fibs]


def _broken(flags: int) -> list[str]:
    pieces = {
        "egress-guard": bpfmap.GUARD_OFF,
        "thread-leak": bpfmap.THREAD_LEAK,
        "worker-leak": bpfmap.WORKER_LEAK,
    }
    return [name for name, flag in pieces.items() if flags & flag]


def _addresses(owners: dict[str, int], lengths: dict[str, int]) -> dict[int, list[str]]:
    """Return the addresses of each FIB: by one pass, since there may be tens of thousands of both."""
    found: dict[int, list[str]] = {}
    for address, owner in owners.items():
        found.setdefault(owner, []).append(f"{address}/{lengths.get(address, '-')}")
    return {fib: sorted(addresses) for fib, addresses in found.items()}


def _routes(routes: set[Route]) -> dict[int, list[dict[str, str]]]:
    """Return the routes of each FIB that lead somewhere else, likewise."""
    found: dict[int, list[dict[str, str]]] = {}
    for route in routes:
        if route.kind == LOCAL:
            continue
        entry = {"to": f"{_text(route.destination)}/{route.prefix_length}"}
        if route.via:
            entry["via"] = _text(route.via)
        if route.source:
            entry["source"] = _text(route.source)
        found.setdefault(route.table - TABLE_BASE, []).append(entry)
    return {fib: sorted(shown, key=lambda entry: entry["to"]) for fib, shown in found.items()}


def _is_ipv4(key: bytes) -> bool:
    return key[:12] == MAPPED


def _text(packed: bytes) -> str:
    return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)
