"""A login by ssh from a tenant's client, with a password."""

from __future__ import annotations

from dataclasses import dataclass

from testbed.plan.resources import Address
from testbed.probe.inside import Client
from testbed.probe.journal import is_password, right_or_wrong

_FAILED = 255  # ssh's own; any other exit code is the remote command's


@dataclass(frozen=True, slots=True)
class Shell:
    """How a login ended: `opened` when the command was run; what it or ssh printed."""

    opened: bool
    output: str


def run_by_ssh(
    client: Client, server: tuple[Address, int], user: str, password: str, command: str
) -> Shell:
    """Log in at `server`, an address and a port, and run `command`. The password goes by stdin."""
    address, port = server
    script = (
        'umask 077; d=$(mktemp -d); trap "rm -rf $d" EXIT; cat >"$d/password"; '
        'printf \'#!/bin/sh\\ncat %s/password\\n\' "$d" >"$d/ask"; chmod 700 "$d/ask"; '
        'SSH_ASKPASS="$d/ask" SSH_ASKPASS_REQUIRE=force ssh "$@" </dev/null 2>&1'
    )
    # fmt: off
    argv = (
        "-F", "none", "-p", str(port), "-l", user,
        "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR",
        "-o", "PreferredAuthentications=password", "-o", "NumberOfPasswordPrompts=1",
        "-o", "ConnectTimeout=20", str(address), command,
    )
    # fmt: on
    is_right = is_password(client.tenant, user, password)
    question = f"ssh to {address} port {port} as {user}, {right_or_wrong(is_right)}"
    with client.asks(question) as entry:
        answer = client.run(("sh", "-c", script, "sh", *argv), stdin=password.encode())
        opened = answer.exit_code != _FAILED
        entry.answered("opened" if opened else "refused")
    return Shell(opened, answer.output.strip())
