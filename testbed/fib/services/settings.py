"""Limits, timeouts and deliberate defects of one daemon process; fixed at its start."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Defect(StrEnum):
    """Mistakes that a daemon like this could make; a scenario must notice each of them."""

    NO_THREAD_FIB = "no-thread-fib"
    REUSE_LDAP = "reuse-ldap"
    FIRST_KEYTAB = "first-keytab"
    ALLOW_EMPTY_PASSWORD = "allow-empty-password"  # noqa: S105 - the name of a defect
    NO_KDC_VERIFY = "no-kdc-verify"
    NO_PKTINFO = "no-pktinfo"

    @property
    def meaning(self) -> str:
        """One line for `--help`."""
        return _MEANINGS[self]


_MEANINGS = {
    Defect.NO_THREAD_FIB: "workers keep FIB 0 instead of taking the connection's",
    Defect.REUSE_LDAP: "one LDAP connection is kept and used for every tenant",
    Defect.FIRST_KEYTAB: "the first Kerberos tenant's keytab is used for every tenant",
    Defect.ALLOW_EMPTY_PASSWORD: "an empty password leads to an anonymous LDAP bind, and that to a login",
    Defect.NO_KDC_VERIFY: "a TGT is believed whoever issued it",
    Defect.NO_PKTINFO: "UDP replies do not name the address they leave from",
}


@dataclass(frozen=True, slots=True)
class Limits:
    """Times in seconds; all of them bound what one client or one tenant can hold."""

    workers: int = 4
    # One network operation of libldap; a login does up to three (connect, bind, whoami).
    ldap_timeout_s: float = 3.0
    # How long a request may wait for a worker, and how long it may then hold it.
    queue_timeout_s: float = 10.0
    request_timeout_s: float = 10.0
    longest_queue: int = 256
    # A request line, once begun, must end, and a reply must be taken, within this time.
    line_timeout_s: float = 10.0
    # A connection without any request under way.
    idle_timeout_s: float = 900.0
    # After an error reply: how long what the client still sends is read and thrown away.
    linger_timeout_s: float = 2.0
