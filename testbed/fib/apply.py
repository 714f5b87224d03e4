"""The whole desired state: reads what the kernel has, changes the difference.

It looks again afterwards if it has removed anything, or somebody else has changed something meanwhile.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

from . import bpfmap, programs, store
from .change import compare, execute
from .desired import ANCHOR_IPV6, Maps, Objects, build_config, build_desired, map_key
from .document import FIB_MAX, Document, parse_document, parse_text
from .entries import NO_WAY
from .failure import EnvironmentFailure, StateFailure
from .netlink import Rtnetlink
from .others import Others
from .retired import Retired
from .rules import TABLES, removal_order, stock_local_rule
from .sockdiag import SockDiag, Socket
from .sysctls import apply_sysctls, restore_sysctls

RETIRED = store.RUN / "retired.json"


def apply_text(text: str) -> dict[str, object]:
    """Apply a JSON document; return what was changed.

    Raises:
        InputError: the document is wrong; nothing was changed.
        EnvironmentFailure: no such interface, no privilege, programs that do not load.
        ExceptionGroup: the kernel refused changes.
        StateFailure: afterwards the kernel has not what was asked for.
    """
    document = parse_text(text)
    with locked():
        former = saved_document() if store.exists() else None
        _refuse_second_interface(former, document)
        retired = Retired.load(RETIRED)
        retired.check(document)
        changed = retired.changed_owners(former, document)
        aborted = abort_former(former, document, changed)
        summary = apply_document(document)
        aborted += abort_former(former, document, changed)  # what came meanwhile
        if aborted:
            summary["aborted_sockets"] = aborted
        if former is not None:
            retired.note(former, document)
            retired.save(RETIRED)
        store.replace(text)
    return summary


def abort_former(former: Document | None, document: Document, changed: dict[bytes, int]) -> int:
    """Abort the sockets of what is to go, while their routes are still there; then what came meanwhile.

    These are sockets of FIBs that vanish or get another name, which makes them another tenant's, and
    those that keep the former FIB of an address.
    """
    gone: set[int] = set()
    if former is not None:
        kept = {(fib.id, fib.name) for fib in document.fibs}
        gone = {fib.id for fib in former.fibs if (fib.id, fib.name) not in kept}
    if not gone and not changed:
        return 0

    def is_meant(entry: Socket) -> bool:
        owner = changed.get(entry.plain_local, entry.mark)
        return entry.mark in gone or entry.mark not in {0, owner}

    with SockDiag() as diagnosis:
        return diagnosis.abort(is_meant)


def apply_again() -> dict[str, object]:
    """Apply the last document again: what a negative control broke is mended."""
    return apply_text(saved_text())


def saved_text() -> str:
    """Return the document in force, as JSON."""
    return store.text()


def saved_document() -> Document:
    """Return the document in force, parsed."""
    return parse_document(store.load())


def apply_document(document: Document) -> dict[str, object]:
    """Apply a parsed document; the caller holds the lock."""
    index = interface_index(document.interface)
    summary: dict[str, object] = {}
    if programs.ensure_attached(document.interface):
        summary["programs"] = "attached"
    changed = apply_sysctls(document.interface)
    if changed:
        summary["sysctls"] = changed
    if _bring_up(document.interface):
        summary["link"] = "up"
    _set_anchor()
    with Rtnetlink(index) as netlink, Others(netlink.port, index) as others:
        present = read_present(netlink)
        desired = build_desired(document, index, present.rules)
        difference = compare(desired, present)
        maps = execute(netlink, desired, present, difference, build_config(document))
        if maps:
            summary["map_entries"] = maps
        summary |= difference.counts()
        # What was added and acknowledged is there; what goes may take more along than was meant.
        if difference.removes() or others.have_changed(desired):
            left = compare(desired, read_present(netlink)).counts()
            if left:
                raise StateFailure(f"after the changes the kernel still differs: {left}")
    return summary


def _set_anchor(*, remove: bool = False) -> None:
    with Rtnetlink(socket.if_nametoindex("lo")) as netlink:
        if remove:
            netlink.remove({ANCHOR_IPV6})
        elif ANCHOR_IPV6 not in netlink.addresses():
            netlink.add({ANCHOR_IPV6})


def _refuse_second_interface(former: Document | None, document: Document) -> None:
    name = former.interface if former else document.interface
    if name != document.interface and Path("/sys/class/net", name).exists():
        raise EnvironmentFailure(
            f"the FIBs are on interface '{name}'; run 'fibctl detach {name}' first"
        )


def read_present(netlink: Rtnetlink) -> Objects:
    """Read everything that is ours, and the stock rules that stand before ours."""
    maps = Maps(*(_content(opener) for opener in bpfmap.CONFIGURED))
    return _read_routing(netlink)._replace(maps=maps)


def _read_routing(netlink: Rtnetlink) -> Objects:
    rules = netlink.rules()
    stock = {stock_local_rule(family) for family in (socket.AF_INET, socket.AF_INET6)}
    return Objects(
        addresses=netlink.addresses(),
        neighbours=netlink.neighbours(),
        routes=netlink.routes(TABLES),
        rules={rule for rule, ours in rules if ours or rule in stock},
        maps=Maps({}, {}, {}, {}),
    )


def _content(opener: Callable[[], bpfmap.BpfMap]) -> dict[bytes, bytes]:
    with opener() as opened:
        return opened.items()


def remove_everything(interface: str) -> None:
    """Take off what apply made, programs last; the stock rules come back first.

    Where nothing is, nothing happens: what the interface has then is somebody else's.
    """
    with locked():
        index = interface_index(interface)
        if bpfmap.ROOT.exists():
            _remove_routing(index)
        programs.detach(interface)
        restore_sysctls(interface)
        store.forget()
        RETIRED.unlink(missing_ok=True)


def _remove_routing(index: int) -> None:
    with Rtnetlink(index) as netlink:
        present = _read_routing(netlink)
        # Without the rules a mark means nothing: these sockets would be FIB 0's.
        with SockDiag() as diagnosis:
            diagnosis.abort(lambda entry: 0 < entry.mark <= FIB_MAX)
        stock = {stock_local_rule(f) for f in (socket.AF_INET, socket.AF_INET6)}
        ours = present.rules - stock
        if ours:
            netlink.add(stock - present.rules)
        closing = {route for route in present.routes if route.kind == NO_WAY}
        netlink.remove(present.routes - closing)
        netlink.remove(present.neighbours)
        netlink.remove(present.addresses)
        netlink.remove(closing)
        netlink.remove(removal_order(ours))
    _set_anchor(remove=True)


def interface_index(name: str) -> int:
    """Return the index of an interface.

    Raises:
        EnvironmentFailure: there is none of that name.
    """
    try:
        return socket.if_nametoindex(name)
    except OSError as error:
        raise EnvironmentFailure(f"there is no interface '{name}'") from error


def _bring_up(name: str) -> bool:
    """Set the interface up unless it is, now that its guards stand; return whether it was down."""
    request = struct.Struct("16sH22x")  # struct ifreq; SIOCGIFFLAGS, SIOCSIFFLAGS: netdevice(7)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        answer = fcntl.ioctl(any_socket, 0x8913, request.pack(name.encode(), 0))
        flags = request.unpack(answer)[1]
        if flags & 1:
            return False
        fcntl.ioctl(any_socket, 0x8914, request.pack(name.encode(), flags | 1))
    return True


@contextlib.contextmanager
def locked() -> Iterator[None]:
    """One change at a time; the lock dies with its process."""
    if os.geteuid() != 0:
        raise EnvironmentFailure("changing FIBs needs root")
    store.RUN.mkdir(mode=0o755, exist_ok=True)
    with Path(store.RUN / "lock").open("w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def swap_address(address: bytes, fib: int) -> None:
    """Negative control: let the map, and it alone, say that `address` belongs to `fib`."""
    with bpfmap.address_map() as addresses:
        addresses.put(map_key(address), struct.pack("=I", fib))
