"""Proves a password at the tenant's KDC, or a service ticket with the tenant's key.

A password login is more than a TGT: whoever answers as the KDC could hand one out. So the TGT is
used to get a ticket for our own service, which must open with the key that only we and the
tenant's KDC share (`krb5_verify_init_creds`). A service ticket is accepted with the tenant's
keytab and for the tenant's own principal alone, whatever else its keytab holds. KDCs are found by
DNS SRV in the calling thread's FIB.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import krb5
from .config import KerberosConfig
from .kdcs import Conversation, Kdcs
from .outcome import Outcome, accepted, failed, refused

# The TGT serves for one verification.
_LIFE_S = 300
# What a KDC says about a user or password; anything else is no judgement of the user.
_REFUSALS = frozenset(
    {
        krb5.KDC_ERR_C_PRINCIPAL_UNKNOWN,
        krb5.KDC_ERR_CLIENT_REVOKED,
        krb5.KDC_ERR_KEY_EXP,
        krb5.KDC_ERR_PREAUTH_FAILED,
        krb5.AP_ERR_BAD_INTEGRITY,
    }
)
_NO_ANSWER = frozenset({krb5.KDC_UNREACH, krb5.REALM_CANT_RESOLVE, krb5.REALM_UNKNOWN})

# One file for the process (KRB5_CONFIG). It names no realm and no server: all that is a tenant's
# comes from the call and from the tenant's DNS, or from what that led to (`kdcs`).
CONFIGURATION = """\
[libdefaults]
 dns_lookup_kdc = true
 dns_uri_lookup = false
 dns_lookup_realm = false
 dns_canonicalize_hostname = false
 rdns = false
 default_ccache_name = MEMORY:
 default_keytab_name = FILE:/nonexistent
 default_client_keytab_name = FILE:/nonexistent
"""


@dataclass(frozen=True, slots=True)
class KerberosFiles:
    """Where libkrb5's `configuration` is, and the folder of replay caches, one a FIB."""

    configuration: Path
    rcaches: Path


class KerberosLogin:
    """Authenticates by password or ticket; may be used by several threads at once.

    `thread_fib` tells the FIB of the calling thread: of a tenant's KDCs one that answered is asked
    first. `verify_kdc` off and `keytab_of` are deliberate defects, for negative controls: see
    `tenantd`.
    """

    def __init__(
        self,
        *,
        state: KerberosFiles,
        kdcs: Kdcs,
        thread_fib: Callable[[], int],
        verify_kdc: bool = True,
        keytab_of: Callable[[KerberosConfig], Path] = lambda config: config.keytab,
    ) -> None:
        self._state = state
        self._kdcs = kdcs
        self._thread_fib = thread_fib
        self._verify_kdc = verify_kdc
        self._keytab_of = keytab_of
        self._loading = threading.Lock()

    def load_libraries(self) -> None:
        """Load the libraries before the first request has to wait for them.

        One thread at a time, as in `LdapLogin.load_library`.
        """
        krb5.load_library()
        with self._loading:
            import gssapi.exceptions  # noqa: F401, PLC0415 - absent on hosts that only run the unit tests

    def login(self, config: KerberosConfig, user: str, password: str) -> Outcome:
        """Get a TGT with the password, then make the KDC prove that it knows our key."""
        if not user:
            return refused("empty user name")
        if not password:
            return refused("empty password")
        try:
            return self._login(config, user, password)
        except krb5.Krb5Error as error:
            return failed(f"kerberos: {error}", is_unavailable=error.code in _NO_ANSWER)

    @contextmanager
    def _library(self, realm: str) -> Iterator[tuple[krb5.Krb5, Conversation]]:
        """Yield libkrb5 as it asks KDCs of the calling thread's FIB, and what it tells of that."""
        fib, heard = self._thread_fib(), Conversation()
        order = self._kdcs.file(fib)
        files = (
            (self._state.configuration,) if order is None else (order, self._state.configuration)
        )
        try:
            with krb5.open_krb5(files, heard.hear) as library:
                yield library, heard
        finally:
            self._kdcs.learn(fib, realm, heard.take())

    def _login(self, config: KerberosConfig, user: str, password: str) -> Outcome:
        keytab_name = f"FILE:{self._keytab_of(config)}"
        with (
            self._library(config.realm) as (library, heard),
            library.keytab(keytab_name) as keytab,
            library.service_principal(config.principal) as service,
            library.user_principal(user, config.realm) as client,
        ):
            try:
                with library.initial_credentials(client, password, life_s=_LIFE_S) as creds:
                    if self._verify_kdc and heard.had_silence:
                        # Without waiting for the silent one again.
                        self._kdcs.learn(self._thread_fib(), config.realm, heard.take())
                        with self._library(config.realm) as (other, _):
                            other.verify(creds, service, keytab)
                    elif self._verify_kdc:
                        library.verify(creds, service, keytab)
            except krb5.Krb5Error as error:
                if error.call == "krb5_verify_init_creds" and error.code not in _NO_ANSWER:
                    return refused(f"the KDC does not know our key: {error.text}")
                if error.code in _REFUSALS:
                    return refused(error.text)
                raise
            return accepted(library.unparse(client))

    def accept(self, config: KerberosConfig, fib: int, token: bytes) -> Outcome:
        """Accept a GSS-API initial token for our service."""
        self.load_libraries()
        import gssapi  # noqa: PLC0415
        from gssapi.exceptions import GSSError  # noqa: PLC0415

        keytab = self._keytab_of(config)
        try:
            credentials = gssapi.Credentials(
                usage="accept",
                name=gssapi.Name(config.principal, gssapi.NameType.kerberos_principal),
                store={
                    "keytab": f"FILE:{keytab}",
                    "rcache": f"file2:{self._state.rcaches / str(fib)}",
                },
            )
        except GSSError as error:
            return failed(f"keytab {str(keytab)!r}: {_explained(error)}")
        try:
            context = gssapi.SecurityContext(creds=credentials, usage="accept")
            answer = context.step(token)
            # Inside the try: python-gssapi holds an error that came with a token for the peer
            # back until the context is looked at.
            return _judged(config, context, answer)
        except GSSError as error:
            return refused(f"ticket not accepted: {_explained(error)}")


def _judged(config: KerberosConfig, context: Any, answer: bytes | None) -> Outcome:
    if not context.complete:
        return refused("ticket not accepted: the token wants another round")
    principal = str(context.initiator_name)
    # A KDC may vouch for other realms' users; they are not this tenant's.
    if principal.rpartition("@")[2] != config.realm:
        return refused(f"{principal!r} is of another realm than {config.realm!r}")
    token = base64.b64encode(answer).decode("ascii") if answer else None
    return accepted(principal, token=token)


def _explained(error: Any) -> str:
    """Say what the mechanism says (the minor status), else what GSS-API itself says."""
    code, is_major = (error.min_code, False) if error.min_code else (error.maj_code, True)
    texts = [str(text).strip() for text in error.get_all_statuses(code, is_major)]
    return "; ".join(text for text in texts if text) or " ".join(str(error).split())
