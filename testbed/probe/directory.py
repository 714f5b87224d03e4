"""LDAP from a tenant's client, by ldapwhoami."""

from __future__ import annotations

from dataclasses import dataclass

from testbed.plan.resources import DirectoryPlan
from testbed.plan.services import ldap_program, user_dn
from testbed.probe.inside import Client
from testbed.probe.journal import is_password, right_or_wrong

_INVALID_CREDENTIALS = 49


@dataclass(frozen=True, slots=True)
class Bind:
    """How a bind ended: LDAP's result code (0 success, 49 invalid credentials) and text."""

    code: int
    text: str


def bind(client: Client, directory: DirectoryPlan, user: str, password: str) -> Bind:
    """Bind to the directory as `user` and ask it who we are, over TLS if so planned. The password goes by stdin."""
    shell = 'umask 077; f=$(mktemp); trap "rm -f $f" EXIT; cat >"$f"; "$@" -y "$f"'
    program = ldap_program(directory, "ldapwhoami")
    server = ("-o", "nettimeout=2", "-H", f"ldap://{directory.host}")
    argv = (*program, *server, "-D", user_dn(directory, user))
    is_right = is_password(client.tenant, user, password)
    with client.asks(f"bind to {directory.host} as {user}, {right_or_wrong(is_right)}") as entry:
        answer = client.run(("sh", "-c", shell, "sh", *argv), stdin=password.encode())
        expected = 0 if is_right else _INVALID_CREDENTIALS
        agrees = answer.exit_code == expected
        entry.answered(f"code {answer.exit_code}", expected=f"code {expected}", agrees=agrees)
    return Bind(answer.exit_code, answer.output.strip())
