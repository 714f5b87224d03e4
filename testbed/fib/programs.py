"""The eBPF programs: whether they are attached, attaching and detaching them by the loader."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path
from typing import Final

from . import bpfmap
from .failure import EnvironmentFailure
from .store import RUN

LINKS: Final = (
    "fib_accept",
    "fib_bind4",
    "fib_bind6",
    "fib_bind_raw",
    "fib_connect4",
    "fib_connect6",
    "fib_destroy",
    "fib_getsockopt",
    "fib_hear",
    "fib_jail_batch",
    "fib_jail_bind",
    "fib_jail_connect",
    "fib_jail_listen",
    "fib_jail_sendmsg",
    "fib_listen",
    "fib_lookup",
    "fib_post_bind4",
    "fib_post_bind6",
    "fib_prctl",
    "fib_release",
    "fib_resolve_connect4",
    "fib_resolve_connect6",
    "fib_resolve_getpeername4",
    "fib_resolve_getpeername6",
    "fib_resolve_recvmsg4",
    "fib_resolve_recvmsg6",
    "fib_resolve_sendmsg4",
    "fib_resolve_sendmsg6",
    "fib_sctp_connect",
    "fib_sctp_listen",
    "fib_sctp_option",
    "fib_sendmsg4",
    "fib_sendmsg6",
    "fib_setsockopt",
    "fib_socket",
    "fib_task_alloc",
)
"""Pinned links, one a program; the two tc programs have none."""

_TC = "/sbin/tc"
_CLSACT = "clsact"
"""The qdisc that holds the two; others may have filters in it, too, or have made it before."""
_SIDES = ("ingress", "egress")


def directory() -> Path:
    """Return where loader and objects are: FIB_BPF_DIR, else beside the package."""
    override = os.environ.get("FIB_BPF_DIR")
    return Path(override) if override else Path(__file__).resolve().parent.parent / "bpf"


def ensure_attached(interface: str) -> bool:
    """Attach what is missing or of another version; return whether anything was."""
    build = _build_id()
    stamp = RUN / f"attached-{interface}"
    present = stamp.read_text("ascii") if stamp.exists() else ""
    if present == build and is_attached(interface):
        return False
    RUN.mkdir(mode=0o755, exist_ok=True)
    if _CLSACT not in _tc("qdisc", "show", "dev", interface):
        _made_clsact(interface).touch()
    _load("attach", interface, str(directory()))
    stamp.write_text(build, "ascii")
    return True


def detach(interface: str) -> None:
    """Take off programs, links, maps and our qdisc; nothing to take off is no error."""
    if bpfmap.ROOT.exists():
        _load("detach", interface)
    made = _made_clsact(interface)
    if made.exists() and not any(_filters(interface, side) for side in _SIDES):
        _tc("qdisc", "del", "dev", interface, _CLSACT)
    made.unlink(missing_ok=True)
    (RUN / f"attached-{interface}").unlink(missing_ok=True)


def is_attached(interface: str) -> bool:
    """Whether every program is in its place."""
    return not missing(interface)


def missing(interface: str) -> list[str]:
    """Return the names of programs that are not attached."""
    names = [name for name in LINKS if not (bpfmap.LINKS / name).exists()]
    names += [f"fib_{s}" for s in _SIDES if f"fib_{s}" not in _filters(interface, s)]
    return names


def detach_program(name: str) -> None:
    """Take off one program by its link: its pin is the last reference."""
    (bpfmap.LINKS / name).unlink(missing_ok=True)


def _build_id() -> str:
    digest = hashlib.sha256()
    objects = sorted(directory().glob("*.bpf.o"))
    if not objects:
        raise EnvironmentFailure(f"no eBPF objects in '{directory()}'; set FIB_BPF_DIR")
    for path in objects:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _made_clsact(interface: str) -> Path:
    """Return the file that tells that the qdisc is ours."""
    return RUN / f"{_CLSACT}-{interface}"


def _filters(interface: str, side: str) -> str:
    return _tc("filter", "show", "dev", interface, side)


def _tc(*arguments: str) -> str:
    return _run([_TC, *arguments]).stdout


def _load(*arguments: str) -> None:
    loader = directory() / "fib-loader"
    if not loader.exists():
        raise EnvironmentFailure(f"'{loader}' is missing; set FIB_BPF_DIR")
    done = _run([str(loader), *arguments])
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise EnvironmentFailure(
            f"'{' '.join([str(loader), *arguments])}' failed with {done.returncode}:\n"
            + "\n".join(lines[-8:])  # a verifier's log is long and ends with the reason
        )


def _run(argv: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(argv, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise EnvironmentFailure(
            f"'{argv[0]}' is missing; install the package that has it (iproute2)"
        ) from error
