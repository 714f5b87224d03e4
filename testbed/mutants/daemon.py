"""Defects in the daemon: its own flags, and some that it has none for."""

from __future__ import annotations

from testbed.mutants.mutant import Mutant, Patch

_LOGIN = "authentication/test_login.py"
_REACH = "routing/test_reach.py"
_TLS = "authentication/test_tls.py"
_FAILOVER = "authentication/test_failover.py"
_KERBEROS = "authentication/test_kerberos.py"
_OUTAGES = "authentication/test_outages.py"
_SECOND_KDC = "authentication/test_second_kdc.py"

DAEMON = (
    Mutant(
        "no-thread-fib",
        "the daemon's workers stay in FIB 0",
        (f"{_LOGIN}::test_verdict_comes_from_the_tenants_own_server",),
        defects=("no-thread-fib",),
    ),
    Mutant(
        "reuse-ldap",
        "one LDAP connection serves every tenant",
        (f"{_LOGIN}::test_twins_password_is_refused",),
        defects=("reuse-ldap",),
    ),
    Mutant(
        "first-keytab",
        "one tenant's key serves every tenant",
        (f"{_LOGIN}::test_service_ticket_of_one_twin_is_useless_at_the_other",),
        defects=("first-keytab",),
    ),
    Mutant(
        "allow-empty-password",
        "an empty password is bound with, and so accepted",
        (f"{_LOGIN}::test_empty_password_is_refused_and_nobody_is_asked",),
        defects=("allow-empty-password",),
    ),
    Mutant(
        "no-kdc-verify",
        "whoever answers as the KDC is believed",
        (f"{_KERBEROS}::test_kdc_without_our_key_is_not_believed",),
        defects=("no-kdc-verify",),
    ),
    Mutant(
        "no-pktinfo",
        "UDP replies do not name the address they come from",
        (f"{_REACH}::test_udp_request_is_answered_from_the_address_it_was_sent_to",),
        defects=("no-pktinfo",),
    ),
    Mutant(
        "udp-tenant-by-last",
        "the tenant of a datagram is that of the first one that came",
        (f"{_REACH}::test_udp_request_is_answered_from_the_address_it_was_sent_to",),
        (
            Patch(
                "services/udp.py",
                "            fib = self._fibs.fib_of_address(local.address)\n",
                '            self._seen = getattr(self, "_seen", 0)'
                " or self._fibs.fib_of_address(local.address)\n"
                "            fib = self._seen\n",
            ),
        ),
    ),
    Mutant(
        "cut-off-is-everybodys",
        "ending one tenant's overdue request shuts down the connections to every tenant's servers",
        (f"{_OUTAGES}::test_request_that_is_cut_off_takes_nobody_along",),
        (
            Patch(
                "services/cutoff.py",
                "            if socket_fib(sock) == fib:\n",
                "            if socket_fib(sock):\n",
            ),
        ),
    ),
    Mutant(
        "second-unasked",
        "a tenant's second directory is never asked",
        (f"{_FAILOVER}::test_login_goes_on_at_the_other_directory",),
        (
            Patch(
                "services/ldap_login.py",
                "            if not outcome.is_unavailable:\n",
                "            if True:\n",
            ),
        ),
    ),
    Mutant(
        "failover-is-everybodys",
        "the directory that answered one tenant is asked first for every tenant",
        (f"{_FAILOVER}::test_login_goes_on_at_the_other_directory",),
        (Patch("services/ldap_login.py", "fib = self._thread_fib()\n", "fib = 0\n"),),
    ),
    Mutant(
        "silent-kdc-asked-again",
        "a KDC that does not answer is asked first at each login",
        (f"{_SECOND_KDC}::test_login_goes_on_at_the_other_kdc",),
        (
            Patch(
                "services/kdcs.py",
                "        elif heard.answered is not None and heard.had_silence:\n",
                "        elif heard.answered is not None and not heard.asked:\n",
            ),
        ),
    ),
    Mutant(
        "kdc-order-is-everybodys",
        "the KDC that answered one tenant is asked first for every tenant",
        (f"{_SECOND_KDC}::test_login_goes_on_at_the_other_kdc",),
        (
            Patch(
                "services/kdcs.py",
                "self._orders.get(fib, (None, 0.0))",
                "next(iter(self._orders.values()), (None, 0.0))",
            ),
        ),
    ),
    Mutant(
        "tls-falls-back",
        "a directory that knows no TLS is told the password in clear",
        (f"{_TLS}::test_directory_that_does_not_prove_itself_is_told_nothing",),
        (
            Patch(
                "services/ldap_login.py",
                "        connection.unbind_s()\n"
                '        raise _NoTlsError(f"TLS: {_explained(error)}") from error\n',
                "        del error\n",
            ),
        ),
    ),
    Mutant(
        "tls-trusts-the-first",
        "the authority of the first tenant that logged in vouches for every directory",
        (f"{_TLS}::test_password_goes_over_tls_alone",),
        (
            Patch(
                "services/ldap_login.py",
                "ldap.OPT_X_TLS_CACERTFILE, str(authority))",
                'ldap.OPT_X_TLS_CACERTFILE, _trusted.setdefault("", str(authority)))',
            ),
            Patch(
                "services/ldap_login.py",
                "class _NoTlsError(Exception):",
                "_trusted: dict[str, str] = {}\n\n\nclass _NoTlsError(Exception):",
            ),
        ),
    ),
    Mutant(
        "tls-unchecked",
        "whatever certificate a directory shows is believed",
        (f"{_TLS}::test_directory_that_does_not_prove_itself_is_told_nothing",),
        (Patch("services/ldap_login.py", "ldap.OPT_X_TLS_DEMAND", "ldap.OPT_X_TLS_NEVER"),),
    ),
    Mutant(
        "login-remembered",
        "a password that a directory has accepted once is not asked about again",
        (f"{_KERBEROS}::test_changed_password_counts_at_once_and_for_its_tenant_alone",),
        (
            Patch(
                "services/ldap_login.py",
                "        reasons = []\n",
                "        if (fib, user_dn, password) in _accepted:\n"
                "            return accepted(user_dn)\n"
                "        reasons = []\n",
            ),
            Patch(
                "services/ldap_login.py",
                "                self._answered[fib] = uri\n",
                "                self._answered[fib] = uri\n"
                '                if outcome.verdict == "accepted":\n'
                "                    _accepted.add((fib, user_dn, password))\n",
            ),
            Patch(
                "services/ldap_login.py",
                "class _NoTlsError(Exception):",
                "_accepted: set[tuple[int, str, str]] = set()\n\n\nclass _NoTlsError(Exception):",
            ),
        ),
    ),
    Mutant(
        "name-is-parsed",
        "a slash in a user's name makes it a principal of two parts, such as the realm's administrator",
        ("authentication/test_names.py::test_administrators_of_servers_are_no_users",),
        (Patch("services/krb5.py", 'sign in "\\\\/@"', 'sign in "\\\\@"'),),
    ),
    Mutant(
        "token-counts-again",
        "no replay cache: a ticket's token is accepted as often as it is shown",
        (f"{_KERBEROS}::test_token_counts_once",),
        (
            Patch(
                "services/kerberos_login.py",
                'f"file2:{self._state.rcaches / str(fib)}"',
                '"none:"',
            ),
        ),
    ),
    Mutant(
        "tenant-holds-every-worker",
        "a tenant whose servers are lost may hold all of the daemon's workers",
        (f"{_OUTAGES}::test_outage_of_one_tenant_does_not_slow_anothers_logins",),
        (
            Patch(
                "services/scheduler.py",
                "        self._limit = max(1, workers - 1)\n",
                "        self._limit = workers\n",
            ),
        ),
    ),
    Mutant(
        "names-remembered",
        "a name that a tenant's DNS has told is not asked for again",
        ("isolation/test_wire.py::test_name_that_changes_in_one_tenant_has_changed_there_alone",),
        (
            Patch(
                "services/answer.py",
                "        seen.resolved = self._resolve(name)\n",
                "        known = _known.get((tenant.fib, name)) or self._resolve(name)\n"
                "        _known[tenant.fib, name] = known\n"
                "        seen.resolved = known\n",
            ),
            Patch(
                "services/answer.py",
                "class _Seen:",
                "_known: dict[tuple[int, str], Resolved] = {}\n\n\nclass _Seen:",
            ),
        ),
    ),
    Mutant(
        "resolver-remembers",
        "names that one tenant has resolved are remembered for all",
        ("isolation/test_wire.py::test_same_name_resolves_differently_in_each_tenant",),
        (
            Patch(
                "services/resolve.py",
                "    try:\n        # As bytes",
                "    if name in _remembered:\n        return _remembered[name]\n"
                "    try:\n        # As bytes",
            ),
            Patch(
                "services/resolve.py",
                "    return Resolved(name, tuple(dict.fromkeys(str(item[4][0]) for item in found)))\n",
                "    _remembered[name] = Resolved(\n"
                "        name, tuple(dict.fromkeys(str(item[4][0]) for item in found))\n    )\n"
                "    return _remembered[name]\n",
            ),
            Patch(
                "services/resolve.py",
                "_NO_ANSWER = frozenset",
                "_remembered: dict[str, Resolved] = {}\n_NO_ANSWER = frozenset",
            ),
        ),
    ),
)
