"""Everything on this host that a deployment may touch, as a set that can be compared.

Run as a program it prints the set: `python -m testbed.lifecycle.inventory`, so that it can be taken
inside another set of namespaces. What the caches hold is not part of it.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testbed.drivers import dockerd, namespace, process, traces
from testbed.lifecycle.store import state_root
from testbed.plan.identity import ID_ALPHABET, ID_LENGTH

_ID = re.compile(rf"(?:\btb-?|\btestbed[ -])([{ID_ALPHABET}]{{{ID_LENGTH}}})(?:[-t/. ]|$)")
_FOLDER = re.compile(rf"([{ID_ALPHABET}]{{{ID_LENGTH}}})(?:/|$)")
_DOCKERS = ("/run/docker", "/run/containerd", "/var/lib/docker")
_DOCKERS_GARBAGE = Path("/run/docker/netns")
_OF_LINK = re.compile(r"net/ipv[46]/(?:conf|neigh)/([^/]+)/")
_MARK = re.compile(rf"{process.OWNED}=([^/\s]+)/")
_FOLDERS = (Path("/run"), Path("/etc/docker/plugins"), Path("/sys/fs/bpf"))
_SYSCTLS = ("net", "fs/inotify", "fs/file-max", "fs/mount-max", "kernel/pid_max", "vm")
# What counts by itself.
_COUNTERS = re.compile(r"nf_conntrack_count|stat_refresh|compact_memory|flush$")


@dataclass(frozen=True, slots=True, order=True)
class Item:
    """One thing: of which kind, how it is called, what else is to be said of it."""

    kind: str
    name: str
    detail: str = ""

    @property
    def owner(self) -> str:
        """Whose it is, as far as its names and marks tell."""
        text = f"{self.name} {self.detail}"
        recorded = self.name.removeprefix(f"{state_root()}/")
        in_folder = _FOLDER.match(recorded) if recorded != self.name else None
        found = in_folder or _MARK.search(text) or _ID.search(text)
        if found:
            return f"deployment {found[1]}"
        return "Docker's" if self.name.startswith(_DOCKERS) else "nobody's that we know"


@dataclass(frozen=True, slots=True)
class Inventory:
    """All of a host at one moment; `count` tells equal things apart."""

    items: frozenset[tuple[Item, int]]

    @classmethod
    def take(cls) -> Inventory:
        """Look at this host, as the calling process sees it. Takes about a second."""
        found = Counter(item for look in _LOOKS for item in look())
        return cls(frozenset(found.items()))

    @classmethod
    def read(cls, text: str) -> Inventory:
        """Return what `print` has written."""
        rows = [json.loads(line) for line in text.splitlines()]
        return cls(frozenset((Item(*row[:3]), row[3]) for row in rows))

    def write(self) -> str:
        """Return all of it as text, a line each, for `read`."""
        rows = sorted((item.kind, item.name, item.detail, count) for item, count in self.items)
        return "".join(json.dumps(row) + "\n" for row in rows)

    def of(self, kind: str) -> tuple[Item, ...]:
        """Return the things of one kind, sorted."""
        return tuple(sorted(item for item, _ in self.items if item.kind == kind))

    def changes_since(self, before: Inventory) -> tuple[str, ...]:
        """Return what is left, gone or different now: a line each, with whose it is."""
        new = {(item.kind, item.name): (item, n) for item, n in self.items - before.items}
        old = {(item.kind, item.name): (item, n) for item, n in before.items - self.items}
        keys = sorted({*new, *old})
        links = {name for kind, name in keys if kind == "link"}
        return tuple(
            _told(old.get(key), new.get(key)) for key in keys if not _goes_with(key, links)
        )


def _goes_with(key: tuple[str, str], links: set[str]) -> bool:
    """Whether it is a setting of a link that is itself told of."""
    found = _OF_LINK.match(key[1]) if key[0] == "sysctl" else None
    return found is not None and found[1] in links


def _told(old: tuple[Item, int] | None, new: tuple[Item, int] | None) -> str:
    item = (new or old or (Item("", ""), 0))[0]
    subject = f"{item.kind} {item.name}"
    if old is None and new is not None:
        return f"left: {subject} {item.detail} x{new[1]} ({item.owner})".replace(" x1 ", " ")
    if new is None and old is not None:
        return f"gone: {subject} {item.detail} ({item.owner})"
    before, after = (f"{one[0].detail!r} x{one[1]}" for one in (old, new) if one is not None)
    return f"changed: {subject}: {before} is now {after} ({item.owner})"


def _files() -> Iterator[Item]:
    for folder in (*_FOLDERS, state_root()):
        for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
            if _DOCKERS_GARBAGE in path.parents:
                continue  # mount points of ended containers, which Docker removes a minute later
            yield Item("file", f"{path}/" if path.is_dir() else str(path))


def _mounts() -> Iterator[Item]:
    for row in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = row.split()
        kind = fields[fields.index("-") + 1]
        yield Item("mount", fields[4], f"{kind} {fields[3] if kind != 'nsfs' else ''}".strip())


def _ip(*arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(process.run(["ip", "-j", *arguments]).stdout or "[]")
    return found


def _links() -> Iterator[Item]:
    for link in _ip("-details", "address", "show"):
        name = str(link["ifname"])
        kind = link.get("linkinfo", {}).get("info_kind", "")
        flags = "up" if "UP" in link["flags"] else "down"
        alias = link.get("ifalias", "")
        yield Item(
            "link", name, f"{kind} {flags} promiscuity {link['promiscuity']} {alias}".strip()
        )
        for address in link["addr_info"]:
            yield Item("address", f"{address['local']}/{address['prefixlen']} on {name}")


def _routing() -> Iterator[Item]:
    for family in ("-4", "-6"):
        for kind, what in (("route", ("route", "show", "table", "all")), ("rule", ("rule",))):
            for entry in _ip(family, *what):
                for volatile in ("expires", "used", "age"):
                    entry.pop(volatile, None)
                yield Item(kind, f"{family} {json.dumps(entry, sort_keys=True)}")
    for entry in _ip("neigh", "show", "nud", "permanent"):
        yield Item("neighbour", json.dumps(entry, sort_keys=True))


def _packet_filter() -> Iterator[Item]:
    rules = process.run(["nft", "--stateless", "list", "ruleset"], check=False).stdout
    for line in rules.splitlines():
        yield Item("nft", line.strip())


def _namespaces() -> Iterator[Item]:
    for name in sorted(namespace.names()):
        yield Item("netns", name)


def _sysctls() -> Iterator[Item]:
    top = Path("/proc/sys")
    for part in _SYSCTLS:
        path = top / part
        for file in sorted(path.rglob("*")) if path.is_dir() else (path,):
            name = str(file.relative_to(top))
            if file.is_dir() or _COUNTERS.search(name):
                continue
            try:
                yield Item("sysctl", name, file.read_text().strip())
            except OSError:
                continue  # write-only, or gone with its link


def _control_groups() -> Iterator[Item]:
    for top in traces.control_groups(dockerd.control_group()):
        for path in sorted(top.glob("**/")):
            yield Item("cgroup", str(path))


def _docker() -> Iterator[Item]:
    client = dockerd.connect()
    for kind, name, detail in dockerd.everything(client) if client else ():
        yield Item(kind, name, detail)


def _processes() -> Iterator[Item]:
    ours = set(_ancestors())
    for pid in process.all_pids():
        argv = process.command_line(pid)
        if argv and pid not in ours:
            mark = process.mark(pid)
            yield Item("process", " ".join(argv), f"{process.OWNED}={mark}" if mark else "")


def _ancestors() -> Iterator[int]:
    pid = os.getpid()
    while pid:
        yield pid
        pid = process.parent(pid)


_LOOKS: tuple[Callable[[], Iterable[Item]], ...] = (
    _files,
    _mounts,
    _links,
    _routing,
    _packet_filter,
    _namespaces,
    _sysctls,
    _control_groups,
    _docker,
    _processes,
)

if __name__ == "__main__":
    sys.stdout.write(Inventory.take().write())
