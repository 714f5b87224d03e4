"""Row 54 and P30: real libraries in threads of many FIBs at once, each of their sockets traced.

`python3 -m fib.conformance.libraries` in the SUT, as root. Standard input is one JSON object:

    {"threads": 4, "tenants": [{"fib", "host", "port", "user", "password", "user_dn"?, "realm"?}]}

Every library is called by `threads` threads a tenant, all at once, and asked for the tenant's own
answer. The output is one JSON object: for each library the calls that `failed`, and what
`tracing.judge` says of the sockets. Expected is the FIB of the thread that called, for it and all
it starts.
"""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import gssapi
import ldap
import pycares
import pycurl
from gssapi.raw import acquire_cred_with_password

from .. import api as fib
from .background import ask_in_background
from .tracing import judge, tracing

Tenant = Mapping[str, Any]
LIMIT_S: Final = 60


def libc(tenant: Tenant) -> None:
    """Resolve by getaddrinfo."""
    socket.getaddrinfo(tenant["host"], tenant["port"], type=socket.SOCK_STREAM)


def libc_helper(tenant: Tenant) -> None:
    """Resolve by getaddrinfo_a in a process of its own: exec keeps the FIB, helpers inherit it."""
    argv = [sys.executable, "-m", "fib.conformance.background", tenant["host"]]
    subprocess.run(argv, check=True, timeout=LIMIT_S)


def libc_shared_helper(tenant: Tenant) -> None:
    """Resolve by getaddrinfo_a in one process for all FIBs, whose helpers wait for more work."""
    ask_in_background(tenant["host"])


def libldap(tenant: Tenant) -> None:
    """Bind as the tenant's user."""
    connection = ldap.initialize(f"ldap://{tenant['host']}:{tenant['port']}")
    connection.set_option(ldap.OPT_NETWORK_TIMEOUT, LIMIT_S)
    try:
        connection.simple_bind_s(tenant["user_dn"], tenant["password"])
    finally:
        connection.unbind_s()


def libkrb5(tenant: Tenant) -> None:
    """Get a ticket with the user's password."""
    name = gssapi.Name(f"{tenant['user']}@{tenant['realm']}", gssapi.NameType.user)
    acquire_cred_with_password(name, tenant["password"].encode(), usage="initiate")


def cares(tenant: Tenant) -> None:
    """Resolve by c-ares."""
    channel = pycares.Channel(timeout=LIMIT_S)
    errors: list[int | None] = []
    channel.gethostbyname(tenant["host"], socket.AF_INET, lambda _, error: errors.append(error))
    nothing = pycares.ARES_SOCKET_BAD
    while not errors:
        reading, writing = channel.getsock()
        readable, writable, _ = select.select(reading, writing, [], channel.timeout())
        for descriptor in readable:
            channel.process_fd(descriptor, nothing)
        for descriptor in writable:
            channel.process_fd(nothing, descriptor)
        if not readable and not writable:
            channel.process_fd(nothing, nothing)
    if errors[0]:
        raise OSError(pycares.errno.strerror(errors[0]))


def curl(tenant: Tenant) -> None:
    """Connect by libcurl, which resolves in a thread of its own."""
    handle = pycurl.Curl()
    handle.setopt(pycurl.URL, f"http://{tenant['host']}:{tenant['port']}/")
    handle.setopt(pycurl.CONNECT_ONLY, 1)
    handle.setopt(pycurl.NOSIGNAL, 1)
    handle.setopt(pycurl.CONNECTTIMEOUT, LIMIT_S)
    try:
        handle.perform()
    finally:
        handle.close()


KERBEROS_OVER_TCP: Final = "libkrb5 over TCP"
IN_TURN: Final = "getaddrinfo_a in turn"
LIBRARIES: Final[dict[str, Callable[[Tenant], None]]] = {
    "getaddrinfo": libc,
    "getaddrinfo_a": libc_helper,
    IN_TURN: libc_shared_helper,
    "libldap": libldap,
    "libkrb5": libkrb5,
    KERBEROS_OVER_TCP: libkrb5,
    "c-ares": cares,
    "curl": curl,
}
_NEEDS: Final[dict[Callable[[Tenant], None], str]] = {libldap: "user_dn", libkrb5: "realm"}


def call_in_threads(
    work: Callable[[Tenant], None], tenants: list[Tenant], threads: int, *, at_once: bool
) -> tuple[dict[int, int], list[str]]:
    """Call in `threads` threads a tenant; return thread -> FIB, and what failed."""
    callers: dict[int, int] = {}
    failed: list[str] = []
    barrier = threading.Barrier(len(tenants) * threads if at_once else 1)

    def call(tenant: Tenant) -> None:
        fib.thread_fib(tenant["fib"])
        callers[threading.get_native_id()] = tenant["fib"]
        barrier.wait(LIMIT_S)
        try:
            work(tenant)
        except Exception as error:  # noqa: BLE001 - each library has its own; told, not hidden
            failed.append(f"FIB {tenant['fib']}: {type(error).__name__}: {error}")

    started = [
        threading.Thread(target=call, args=(tenant,)) for tenant in tenants for _ in range(threads)
    ]
    for thread in started:
        thread.start()
        if not at_once:
            thread.join()
    for thread in started:
        thread.join()
    return callers, failed


@contextmanager
def settings_of(library: str) -> Iterator[None]:
    """Have libkrb5 ask KDCs by TCP alone, where the library's name says so."""
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as made:
        if library == KERBEROS_OVER_TCP:
            made.write("include /etc/krb5.conf\n[libdefaults]\n udp_preference_limit = 1\n")
            made.flush()
            os.environ["KRB5_CONFIG"] = made.name
        try:
            yield
        finally:
            os.environ.pop("KRB5_CONFIG", None)


def main() -> int:
    """Call every library, or those that the arguments name."""
    wanted = json.load(sys.stdin)
    report = {}
    for name in sys.argv[1:] or LIBRARIES:
        work = LIBRARIES[name]
        tenants = [t for t in wanted["tenants"] if _NEEDS.get(work, "fib") in t]
        with tracing() as events, settings_of(name):
            callers, failed = call_in_threads(
                work, tenants, wanted["threads"], at_once=name != IN_TURN
            )
        report[name] = {"failed": failed, **judge(events, callers)}
    json.dump(report, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
