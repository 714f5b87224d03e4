"""The ssh configuration of a deployment, so that people and testinfra can use `ssh -F FILE sut`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from testbed.errors import PreflightError

HOST = "sut"

# ssh binds the control socket under a temporary name (its own and 17 characters) and a socket's
# path holds 107 bytes (unix(7)); elsewhere it holds 103.
LONGEST_SOCKET = 103 - 17


@dataclass(frozen=True, slots=True)
class Account:
    """Where to log in and how; `options` are further ones for ssh, in ssh_config(5)'s form."""

    address: str
    port: int
    user: str
    key: Path | None = None
    known_hosts: Path | None = None
    key_alias: str = ""
    options: tuple[tuple[str, str], ...] = ()


def ssh_config(account: Account, socket: Path) -> str:
    """Return the text of an ssh configuration for `account`, multiplexed over `socket`.

    Raises:
        PreflightError: when the socket's path is too long to be one.
    """
    if len(str(socket).encode()) > LONGEST_SOCKET:
        raise PreflightError(
            f"{str(socket)!r} is too long for a socket ({LONGEST_SOCKET} bytes)",
            hint="set TESTBED_STATE to a shorter path",
        )
    options = [
        ("HostName", account.address),
        ("Port", str(account.port)),
        ("User", account.user),
        ("BatchMode", "yes"),
        ("ControlPath", _quoted(socket)),
        ("ControlMaster", "no"),  # the testbed owns the master; others only use it
        # An emulated machine under load may be silent for long; one that is gone is noticed.
        ("ConnectTimeout", "20"),
        ("ServerAliveInterval", "15"),
        ("ServerAliveCountMax", "4"),
        ("LogLevel", "ERROR"),
    ]
    if account.key is not None:
        options += [
            ("IdentityFile", _quoted(account.key)),
            ("IdentitiesOnly", "yes"),
            # The quickest to compute: an emulated processor takes a second for the default one.
            ("KexAlgorithms", "curve25519-sha256"),
            ("PreferredAuthentications", "publickey"),
        ]
    if account.known_hosts is not None:
        options += [
            ("UserKnownHostsFile", _quoted(account.known_hosts)),
            ("GlobalKnownHostsFile", "/dev/null"),
            ("StrictHostKeyChecking", "yes"),
        ]
    if account.key_alias:
        options.append(("HostKeyAlias", account.key_alias))
    return _section([*options, *account.options])


def _section(options: Iterable[tuple[str, str]]) -> str:
    lines = [f"Host {HOST}", *(f"    {name} {value}" for name, value in options)]
    return "\n".join(lines) + "\n"


def _quoted(path: Path) -> str:
    """Quote a path; ssh expands %-tokens and, in some options, variables even inside quotes."""
    return '"' + str(path).replace("%", "%%") + '"'
