"""Whether network managers of the host leave our links alone, by what their configuration files say.

Sources: systemd.network(5) on the order of files and on [Match], NetworkManager.conf(5) on keyfile's
unmanaged-devices. Who runs is asked of the kernel, in our network namespace only: one in a container
has nothing to do with our links.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from testbed.drivers import process

_ANY_LINK = "tbabcdeft00001"
"""A link's name as ours are (plan/names.py); what matches it matches all of them."""

_MANAGERS = ("systemd-network", "NetworkManager")
"""As the kernel has them: 15 bytes of a name, proc(5)."""

_NETWORKD_FOLDERS = ("etc", "run", "usr/local/lib", "usr/lib", "lib")
"""The first that has a file of some name hides it in the others."""

_OF_ONE_DEVICE = {"MACAddress", "PermanentMACAddress", "Path", "SSID", "BSSID", "WLANInterfaceType"}
_DROP_INS = ("10-testbed.network", "0-testbed.network")
_NM_FILES = (
    "etc/NetworkManager/NetworkManager.conf",
    "etc/NetworkManager/conf.d/*.conf",
    "run/NetworkManager/conf.d/*.conf",
    "usr/lib/NetworkManager/conf.d/*.conf",
)

Settings = dict[tuple[str, str], str]
"""Of an INI file: section and key, and the last value that they were given."""


@dataclass(frozen=True, slots=True)
class Greed:
    """A manager that takes links of ours, or may: who, why, and the command that mends it."""

    manager: str
    why: str
    mend: str


def greedy(root: Path = Path("/"), running: frozenset[str] | None = None) -> tuple[Greed, ...]:
    """Return those of the running managers that were not told to leave our links alone.

    `running` is the short names of processes in our network namespace, asked of the kernel unless given.
    """
    names = _running() if running is None else running
    found: list[Greed] = []
    if "systemd-network" in names:
        found += _networkd(root)
    if "NetworkManager" in names:
        found += _network_manager(root)
    return tuple(found)


def _running() -> frozenset[str]:
    own = Path("/proc/self/ns/net").stat().st_ino
    return frozenset(_names(own))


def _names(netns: int) -> Iterator[str]:
    for pid in process.all_pids():
        entry = Path("/proc") / str(pid)
        try:
            name = (entry / "comm").read_text().strip()
            if name in _MANAGERS and (entry / "ns/net").stat().st_ino == netns:
                yield name
        except OSError:  # it has ended, or is not ours to ask
            continue


def _networkd(root: Path) -> Iterator[Greed]:
    files: dict[str, Path] = {}
    for folder in _NETWORKD_FOLDERS:
        for path in (root / folder / "systemd/network").glob("*.network"):
            files.setdefault(path.name, path)
    for name, path in sorted(files.items()):  # the first that matches is the only one that counts
        settings = _settings(path)
        if not _matches(settings):
            continue
        if settings.get(("Link", "Unmanaged"), "").lower() in {"yes", "true", "1", "on"}:
            return
        drop_in = next((one for one in _DROP_INS if one < name), _DROP_INS[-1])
        text = r"[Match]\nName=tb*\n\n[Link]\nUnmanaged=yes\n"
        mend = f"printf '{text}' >/etc/systemd/network/{drop_in} && networkctl reload"
        yield Greed("systemd-networkd", f"configures our links (tb*) by {path}", mend)
        return


def _matches(settings: Settings) -> bool:
    """Whether a .network file is about our links too. What says nothing of names is about all."""
    keys = {key for section, key in settings if section == "Match"}
    if not keys or keys & _OF_ONE_DEVICE:  # without [Match] networkd ignores the file
        return False
    patterns = settings.get(("Match", "Name"), "*").split()
    is_inverted = patterns[:1] != [] and patterns[0].startswith("!")
    if is_inverted:
        patterns[0] = patterns[0][1:]
    return any(fnmatchcase(_ANY_LINK, pattern) for pattern in patterns) != is_inverted


def _network_manager(root: Path) -> Iterator[Greed]:
    for pattern in _NM_FILES:
        for path in root.glob(pattern):
            told = _settings(path).get(("keyfile", "unmanaged-devices"), "")
            names = re.findall(r"(?<!except:)interface-name:=?([^;,]+)", told)
            if any(fnmatchcase(_ANY_LINK, name.strip()) for name in names):
                return
    text = r"[keyfile]\nunmanaged-devices=interface-name:tb*\n"
    why = "was not told to leave our links (tb*) alone; a profile for any interface would take them"
    mend = f"printf '{text}' >/etc/NetworkManager/conf.d/testbed.conf && nmcli general reload conf"
    yield Greed("NetworkManager", why, mend)


def _settings(path: Path) -> Settings:
    """Read an INI file as both managers do; one that cannot be read says nothing."""
    found: Settings = {}
    section = ""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return found
    for line in map(str.strip, lines):
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1]
        elif "=" in line and not line.startswith(("#", ";")):
            key, _, value = line.partition("=")
            found[section, key.strip()] = value.strip()
    return found
