"""LDAP from a tenant's client, by ldapwhoami."""

from __future__ import annotations

from dataclasses import dataclass

from testbed.plan.resources import DirectoryPlan
from testbed.plan.services import user_dn
from testbed.probe.inside import Client


@dataclass(frozen=True, slots=True)
class Bind:
    """How a bind ended: LDAP's result code (0 success, 49 invalid credentials) and text."""

    code: int
    text: str


def bind(client: Client, directory: DirectoryPlan, user: str, password: str) -> Bind:
    """Bind to the directory as `user` and ask it who we are. The password goes by stdin."""
    shell = 'umask 077; f=$(mktemp); trap "rm -f $f" EXIT; cat >"$f"; ldapwhoami -y "$f" "$@"'
    server = ("-x", "-o", "nettimeout=2", "-H", f"ldap://{directory.host}")
    argv = (*server, "-D", user_dn(directory, user))
    answer = client.run(("sh", "-c", shell, "sh", *argv), stdin=password.encode())
    return Bind(answer.exit_code, answer.output.strip())
