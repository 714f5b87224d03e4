"""Proves a password by a simple bind at the tenant's directory, with unmodified libldap.

Every login has a connection of its own, opened by libldap in the calling thread and so in its FIB;
the look-up of the host that libldap makes for itself is in that FIB too. libldap (2.5) holds no lock
of the process while it resolves or waits, so a tenant's dead DNS or directory stops only the
thread that asks it.

Where the tenant has an authority, the password goes over TLS (StartTLS, RFC 4511, 4.14) to a server
whose name that authority vouches for, or nowhere. Whom libldap trusts is set for each connection, in
a TLS context of its own: its options for the process are never touched.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .config import LdapConfig
from .outcome import Outcome, ServerSeen, accepted, failed, refused
from .sockets import endpoint


class LdapLogin:
    """Authenticates users at a directory; may be used by several threads at once.

    `socket_fib` tells the FIB of libldap's socket, `thread_fib` that of the calling thread: of a tenant's
    two servers the one that answered last is asked first. The two flags are deliberate defects, for
    negative controls: see `tenantd`.
    """

    def __init__(
        self,
        *,
        timeout_s: float,
        socket_fib: Callable[[socket.socket], int],
        thread_fib: Callable[[], int],
        reuse_connection: bool = False,
        allow_empty_password: bool = False,
    ) -> None:
        self._timeout_s = timeout_s
        self._socket_fib = socket_fib
        self._thread_fib = thread_fib
        self._answered: dict[int, str] = {}  # by FIB: twins' servers have the same names
        self._allow_empty_password = allow_empty_password
        self._shared: Any = None
        self._shared_lock = threading.Lock()
        self._reuse_connection = reuse_connection
        self._loading = threading.Lock()

    def load_library(self) -> None:
        """Load libldap before the first request has to wait for it.

        One thread at a time: of two that import a package and its module at once, Python lets one
        go on with half of it, rather than let both wait for each other.
        """
        with self._loading:
            import ldap.dn  # noqa: F401, PLC0415 - absent on hosts that only run the unit tests

    def login(self, config: LdapConfig, user: str, password: str) -> Outcome:
        """Bind as `user` and ask the directory who we are then."""
        self.load_library()
        import ldap.dn  # noqa: PLC0415

        if not user:
            return refused("empty user name")
        if not password and not self._allow_empty_password:
            return refused("empty password: an unauthenticated bind is not a login")
        user_dn = config.user_dn.replace("{user}", ldap.dn.escape_dn_chars(user))
        fib = self._thread_fib()
        reasons = []
        for uri in sorted(config.uris, key=lambda uri: uri != self._answered.get(fib)):
            outcome = self._ask(config, uri, user_dn, password)
            if not outcome.is_unavailable:
                self._answered[fib] = uri
                return outcome
            reasons.append(outcome.reason)
        return failed("; ".join(reasons), is_unavailable=True)

    def _ask(self, config: LdapConfig, uri: str, user_dn: str, password: str) -> Outcome:
        import ldap  # noqa: PLC0415

        try:
            if self._reuse_connection:
                with self._shared_lock:
                    self._shared = self._shared or self._connection(config, uri)
                    return self._bind(self._shared, user_dn, password)
            connection = self._connection(config, uri)
            try:
                return self._bind(connection, user_dn, password)
            finally:
                connection.unbind_s()
        except (
            ldap.SERVER_DOWN,
            ldap.TIMEOUT,
            ldap.CONNECT_ERROR,
            ldap.BUSY,
            ldap.UNAVAILABLE,
        ) as error:
            return failed(f"{uri}: {_explained(error)}", is_unavailable=True)
        except _NoTlsError as error:
            return failed(f"{uri}: {error}", is_unavailable=True)
        except ldap.LDAPError as error:
            return failed(f"{uri}: {_explained(error)}")

    def _connection(self, config: LdapConfig, uri: str) -> Any:
        import ldap  # noqa: PLC0415

        connection = ldap.initialize(uri)
        connection.set_option(ldap.OPT_PROTOCOL_VERSION, ldap.VERSION3)
        # A referral would send the user's password to a server of the directory's choice.
        connection.set_option(ldap.OPT_REFERRALS, ldap.OPT_OFF)
        connection.set_option(ldap.OPT_RESTART, ldap.OPT_OFF)
        connection.set_option(ldap.OPT_NETWORK_TIMEOUT, self._timeout_s)
        connection.set_option(ldap.OPT_TIMEOUT, self._timeout_s)
        connection.timeout = self._timeout_s
        if config.authority is not None:
            _start_tls(connection, config.authority)
        return connection

    def _bind(self, connection: Any, user_dn: str, password: str) -> Outcome:
        import ldap  # noqa: PLC0415

        is_defective = self._allow_empty_password and not password
        try:
            # The defect binds as nobody, which every directory allows, and takes that for a login.
            connection.simple_bind_s("" if is_defective else user_dn, password)
        except (
            ldap.INVALID_CREDENTIALS,
            ldap.INVALID_DN_SYNTAX,
            ldap.NO_SUCH_OBJECT,
            ldap.INAPPROPRIATE_AUTH,
            ldap.INSUFFICIENT_ACCESS,
            ldap.UNWILLING_TO_PERFORM,
            ldap.CONSTRAINT_VIOLATION,
        ) as error:
            return refused(_explained(error), server=self._server(connection))
        server = self._server(connection)
        if is_defective:
            return accepted(user_dn, server=server)
        identity = connection.whoami_s()
        if not _is_same_dn(identity, user_dn):
            return refused(f"bound as {identity!r}, not as {user_dn!r}", server=server)
        return accepted(identity.removeprefix("dn:"), server=server)

    def _server(self, connection: Any) -> ServerSeen | None:
        """Ask the kernel about libldap's socket."""
        try:
            # By a descriptor of our own: the socket stays libldap's.
            with socket.socket(fileno=os.dup(connection.fileno())) as sock:
                local, peer = endpoint(sock.getsockname()), endpoint(sock.getpeername())
                return ServerSeen(local, peer, self._socket_fib(sock))
        except OSError:  # the server has hung up: the verdict stands without this evidence
            return None


class _NoTlsError(Exception):
    """The server did not prove itself by TLS: it is told nothing."""


def _start_tls(connection: Any, authority: Path) -> None:
    """Open `connection` and secure it, trusting `authority` alone."""
    import ldap  # noqa: PLC0415

    try:
        connection.set_option(ldap.OPT_X_TLS_CACERTFILE, str(authority))
        connection.set_option(ldap.OPT_X_TLS_REQUIRE_CERT, ldap.OPT_X_TLS_DEMAND)
        # Read the above into a context of this connection's own, else the process's is used.
        connection.set_option(ldap.OPT_X_TLS_NEWCTX, 0)
    except ValueError as error:  # how python-ldap says that libldap refused an option
        raise _NoTlsError(f"TLS with authority {str(authority)!r} cannot be set up") from error
    try:
        connection.start_tls_s()
    except ldap.LDAPError as error:
        connection.unbind_s()
        raise _NoTlsError(f"TLS: {_explained(error)}") from error


def _is_same_dn(identity: str, user_dn: str) -> bool:
    import ldap.dn  # noqa: PLC0415

    if not identity.startswith("dn:"):
        return False
    return _folded(ldap.dn.str2dn(identity[3:])) == _folded(ldap.dn.str2dn(user_dn))


def _folded(parts: Any) -> list[list[tuple[str, str]]]:
    """Attribute names and values without case and outer blanks, as `uid` compares them."""
    return [
        sorted((str(name).lower(), str(value).strip().lower()) for name, value, _ in rdn)
        for rdn in parts
    ]


def _explained(error: Exception) -> str:
    details = error.args[0] if error.args and isinstance(error.args[0], dict) else {}
    text = str(details.get("desc") or type(error).__name__)
    info = details.get("info")
    # What GnuTLS has no number for, which is every certificate that was not accepted.
    is_telling = info and info not in {text, "(unknown error code)"}
    return f"{text} ({info})" if is_telling else text
