"""What the host must have: every lack is reported at once, each with the command that mends it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from testbed.errors import PreflightError
from testbed.lifecycle import netmanagers
from testbed.sut.ssh_config import LONGEST_SOCKET

_COMMANDS = {
    "dockerd": "docker.io",
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "mmdebstrap": "mmdebstrap",
    "mke2fs": "e2fsprogs",
    "clang": "clang",
    "gcc": "gcc",
    "make": "make",
    "ssh": "openssh-client",
    "tcpdump": "tcpdump",
    "setpriv": "util-linux",
    "unshare": "util-linux",
}
_DISK_MIB = 6 * 1024
_MEMORY_MIB = 2 * 1024
# The neighbour limit counts per host, across network namespaces (fib-semantics.md, P28). Our own
# entries are permanent and exempt, so these are advice.
_LEAST_SYSCTLS = {
    "fs/inotify/max_user_instances": 128,
    "net/ipv4/neigh/default/gc_thresh3": 1024,
    "kernel/pid_max": 32768,
}


_LONGEST_STATE = LONGEST_SOCKET - len("/abcdef/build/ssh.sock")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: what, whether it is fit, what was seen, how to mend it."""

    subject: str
    ok: bool
    seen: str
    mend: str = ""
    is_advice: bool = False


def examine(state: Path, cache: Path) -> Iterator[Finding]:
    """Look at everything that `up` needs on this host, one after the other; nothing lasts of it."""
    for check in _CHECKS:
        yield from check(state, cache)


def require(state: Path, cache: Path) -> None:
    """Raise one PreflightError that names everything that is missing."""
    lacking = [f for f in examine(state, cache) if not f.ok and not f.is_advice]
    if lacking:
        raise PreflightError(
            "this host is not fit: " + "; ".join(f"{f.subject}: {f.seen}" for f in lacking),
            hint="\n    ".join(dict.fromkeys(f.mend for f in lacking)),
        )


def _root(_state: Path, _cache: Path) -> Iterator[Finding]:
    is_root = os.geteuid() == 0
    seen = "root" if is_root else f"uid {os.geteuid()}"
    yield Finding("privilege", is_root, seen, "run it with sudo: it makes network namespaces")


def _commands(_state: Path, _cache: Path) -> Iterator[Finding]:
    for command, package in _COMMANDS.items():
        path = shutil.which(command)
        yield Finding(command, path is not None, path or "missing", f"apt-get install {package}")


def _tun(_state: Path, _cache: Path) -> Iterator[Finding]:
    device = Path("/dev/net/tun")
    seen = "there" if device.exists() else "missing"
    yield Finding("/dev/net/tun", device.exists(), seen, "modprobe tun")


def _link_kinds(_state: Path, _cache: Path) -> Iterator[Finding]:
    if os.geteuid() != 0:
        return
    from testbed.drivers import links  # noqa: PLC0415 - heavy, and others come first

    for kind, error in links.try_kinds():
        yield Finding(f"{kind} links", not error, error or "work", f"modprobe {kind}")


def _shield(_state: Path, _cache: Path) -> Iterator[Finding]:
    if os.geteuid() != 0:
        return
    from testbed.drivers import shield  # noqa: PLC0415 - heavy, and others come first

    error = shield.try_shield()
    mend = "modprobe -a sch_ingress cls_bpf"
    yield Finding("shield of the host's tap", not error, error or "works", mend)


def _docker(_state: Path, _cache: Path) -> Iterator[Finding]:
    from testbed.drivers import dockerd  # noqa: PLC0415 - heavy, and others come first

    version = dockerd.version()
    seen = f"answers, version {version}" if version else "not running"
    mend = "nothing to do: `testbed up` starts it"
    yield Finding("Docker daemon", bool(version), seen, mend, is_advice=True)


def _folders(state: Path, cache: Path) -> Iterator[Finding]:
    for path, variable in ((state, "TESTBED_STATE"), (cache, "TESTBED_CACHE")):
        existing = _existing(path)
        if not existing.is_dir():
            seen = f"{existing} is no folder"
        elif not os.access(existing, os.W_OK | os.X_OK):  # false for root too if it is read-only
            seen = f"{existing} cannot be written to"
        elif path == state and len(str(path).encode()) > _LONGEST_STATE:
            seen = f"a path of over {_LONGEST_STATE} bytes, too long for the sockets in it"
        else:
            seen = ""
        mend = f"point {variable} at a folder of your own, or at one to be made"
        yield Finding(f"folder {path}", not seen, seen or "can be written to", mend)


def _existing(path: Path) -> Path:
    """Return `path`, or of its parents the nearest that is there; a link that leads nowhere is."""
    return next(p for p in (path, *path.parents) if p.is_symlink() or p.exists())


def _disk(state: Path, cache: Path) -> Iterator[Finding]:
    for path, variable in ((state, "TESTBED_STATE"), (cache, "TESTBED_CACHE")):
        existing = _existing(path)
        if not existing.is_dir():
            continue
        free_mib = shutil.disk_usage(existing).free >> 20
        seen = f"{free_mib} MiB free of the {_DISK_MIB} needed"
        mend = f"free some space there, or point {variable} at a roomier disk"
        yield Finding(f"disk at {path}", free_mib >= _DISK_MIB, seen, mend)


def _memory(_state: Path, _cache: Path) -> Iterator[Finding]:
    rows = Path("/proc/meminfo").read_text().splitlines()
    available_mib = int(next(row for row in rows if "MemAvailable" in row).split()[1]) >> 10
    seen = f"{available_mib} MiB available of the {_MEMORY_MIB} needed"
    mend = "end something large, or choose a smaller topology"
    yield Finding("memory", available_mib >= _MEMORY_MIB, seen, mend)


def _limits(_state: Path, _cache: Path) -> Iterator[Finding]:
    for key, least in _LEAST_SYSCTLS.items():
        path = Path("/proc/sys") / key
        if path.exists():
            value = int(path.read_text())
            name = key.replace("/", ".")
            mend = f"sysctl -w {name}={least}"
            yield Finding(name, value >= least, str(value), mend, is_advice=True)


def _network_managers(_state: Path, _cache: Path) -> Iterator[Finding]:
    for one in netmanagers.greedy():
        yield Finding(one.manager, ok=False, seen=one.why, mend=one.mend, is_advice=True)


_CHECKS: tuple[Callable[[Path, Path], Iterator[Finding]], ...] = (
    _root,
    _commands,
    _tun,
    _link_kinds,
    _shield,
    _docker,
    _folders,
    _disk,
    _memory,
    _limits,
    _network_managers,
)
