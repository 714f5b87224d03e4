"""The kernel settings that the extensions stand on, each with its reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from . import store

_ROOT: Final = Path("/proc/sys/net")
_FORMER: Final = store.RUN / "sysctls.json"

_GLOBAL: Final = {
    # An accepted socket, and the SYN-ACK before it, take the mark of the packet.
    "ipv4/tcp_fwmark_accept": "1",
    # RST, echo reply and ICMP errors take the mark of the packet they answer (P22).
    "ipv4/fwmark_reflect": "1",
    "ipv6/fwmark_reflect": "1",
    # The drop counter of a peer is shared by all tenants' peers of that number (P10).
    "ipv4/ipfrag_max_dist": "0",
    # A client whose network swallows Fast Open would turn it off for all tenants' (P17).
    "ipv4/tcp_fastopen_blackhole_timeout_sec": "0",
    # Neighbour entries count per host (P28).
    "ipv4/neigh/default/gc_thresh3": "65536",
    "ipv4/neigh/default/gc_thresh2": "32768",
    "ipv4/neigh/default/gc_thresh1": "16384",
    "ipv6/neigh/default/gc_thresh3": "65536",
    "ipv6/neigh/default/gc_thresh2": "32768",
    "ipv6/neigh/default/gc_thresh1": "16384",
    # Stricter of this and the interface's counts: the interface alone shall decide.
    "ipv4/conf/all/rp_filter": "0",
    # No redirect of one tenant's router may change a route; the laxer of both counts.
    "ipv4/conf/all/accept_redirects": "0",
    "ipv4/conf/all/send_redirects": "0",
    "ipv4/conf/all/accept_source_route": "0",
}

_INTERFACE: Final = {
    # The reverse lookup uses the packet's mark: its own FIB, not FIB 0 (P2).
    "ipv4/conf/{}/src_valid_mark": "1",
    "ipv4/conf/{}/rp_filter": "0",
    "ipv4/conf/{}/accept_local": "0",
    # ARP: answer for what is configured here; ask with the packet's own source address (P26).
    # 2 would take the first address of the interface wherever no prefix matches.
    "ipv4/conf/{}/arp_ignore": "1",
    "ipv4/conf/{}/arp_announce": "0",
    # The server is no router: a forwarded packet would cross from tenant to tenant.
    "ipv4/conf/{}/forwarding": "0",
    "ipv6/conf/{}/forwarding": "0",
    "ipv4/conf/{}/accept_redirects": "0",
    "ipv6/conf/{}/accept_redirects": "0",
    "ipv4/conf/{}/send_redirects": "0",
    "ipv6/conf/{}/accept_source_route": "-1",
    # Removing an address keeps the others of its prefix.
    "ipv4/conf/{}/promote_secondaries": "1",
    # No router may install a route or an address for everybody (P27).
    "ipv6/conf/{}/accept_ra": "0",
    "ipv6/conf/{}/autoconf": "0",
    "ipv6/conf/{}/disable_ipv6": "0",
    # Addresses are unique by the document: no second of waiting for each.
    "ipv6/conf/{}/accept_dad": "0",
    "ipv6/conf/{}/dad_transmits": "0",
}


def wanted_sysctls(interface: str) -> dict[Path, str]:
    """Return file -> value for everything that must hold with `interface` in use."""
    wanted = {_ROOT / name: value for name, value in _GLOBAL.items()}
    wanted |= {_ROOT / name.format(interface): value for name, value in _INTERFACE.items()}
    return wanted


def apply_sysctls(interface: str) -> list[str]:
    """Set what differs; return the names that did. What was there before them is noted first."""
    wanted = wanted_sysctls(interface)
    former = {path: value for path in wanted if (value := _read(path)) != wanted[path]}
    names = {path: str(path.relative_to(_ROOT)) for path in former}
    if former:
        _note({names[path]: value for path, value in former.items()})
    for path in former:
        path.write_text(wanted[path], "ascii")
    return list(names.values())


def restore_sysctls(interface: str) -> None:
    """Put back what `apply_sysctls` found, but for what somebody has set otherwise since."""
    wanted = wanted_sysctls(interface)
    for name, value in _noted().items():
        path = _ROOT / name
        if path.exists() and _read(path) == wanted.get(path):
            path.write_text(value, "ascii")
    _FORMER.unlink(missing_ok=True)


def _read(path: Path) -> str:
    return path.read_text("ascii").strip()


def _noted() -> dict[str, str]:
    if not _FORMER.exists():
        return {}
    noted: dict[str, str] = json.loads(_FORMER.read_text("ascii"))
    return noted


def _note(former: dict[str, str]) -> None:
    """Add to what was found before; of a setting noted already the first value counts."""
    temporary = _FORMER.with_suffix(".new")
    temporary.write_text(json.dumps(former | _noted()), "ascii")
    temporary.rename(_FORMER)
