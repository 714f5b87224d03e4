"""Stand-ins for the FIB API and the tenants' servers: FIB k is the loopback address 127.0.0.k."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from testbed.fib.services.config import (
    Config,
    KerberosConfig,
    LdapConfig,
    Method,
    Tenant,
)
from testbed.fib.services.outcome import Outcome, accepted, failed, refused
from testbed.fib.services.resolve import Resolved, ResolveError


class FakeFibs:
    """FIBs by loopback address; the thread's FIB is a thread-local number."""

    def __init__(self) -> None:
        self._local = threading.local()
        self.wildcards: list[socket.socket] = []

    @contextlib.contextmanager
    def thread_fib(self, fib: int) -> Iterator[None]:
        former = self.get_thread_fib()
        self._local.fib = fib
        try:
            yield
        finally:
            self._local.fib = former

    def get_thread_fib(self) -> int:
        return int(getattr(self._local, "fib", 0))

    def socket_fib(self, sock: socket.socket) -> int:
        return self.fib_of_address(str(sock.getsockname()[0]))

    def set_socket_any(self, sock: socket.socket) -> None:
        self.wildcards.append(sock)

    def fib_of_address(self, address: str) -> int:
        plain = address.removeprefix("::ffff:")
        return int(plain.rpartition(".")[2]) if plain.startswith("127.0.0.") else 0


@dataclass
class FakeServers:
    """Directory, realm and DNS of every tenant: the password is NAME-PASSWORD of the thread's FIB.

    A login of the user `stuck` waits for `release`; `gone` finds its server out of reach.
    """

    fibs: FakeFibs
    release: threading.Event = field(default_factory=threading.Event)
    logins: list[tuple[int, str]] = field(default_factory=list)

    def login(self, config: LdapConfig | KerberosConfig, user: str, password: str) -> Outcome:
        del config
        fib = self.fibs.get_thread_fib()
        self.logins.append((fib, user))
        if user == "stuck":
            self.release.wait(10)
        if user == "gone":
            return failed("no answer", is_unavailable=True)
        if user == "broken":
            raise ZeroDivisionError
        good = password == f"{user}-{fib}"
        return accepted(f"{user}@{fib}") if good else refused("invalid credentials")

    def accept(self, config: KerberosConfig, fib: int, token: bytes) -> Outcome:
        del config
        return (
            accepted(token.decode()) if self.fibs.get_thread_fib() == fib else refused("wrong FIB")
        )

    def resolve(self, name: str) -> Resolved:
        if name == "nowhere.test":
            raise ResolveError("resolve 'nowhere.test': EAI_NONAME", is_unavailable=False)
        return Resolved(name, (f"192.168.0.{self.fibs.get_thread_fib()}",))


def tenant(fib: int, name: str, *, login: Method | None = Method.LDAP) -> Tenant:
    ldap = LdapConfig("ldap.test", 389, "dc=test", "uid={user},dc=test")
    kerberos = KerberosConfig("A.TEST", "login@server.a.test", Path("/keytab"))
    return Tenant(
        fib,
        name,
        "a.test",
        "ldap.test",
        login,
        ldap if login is Method.LDAP else None,
        kerberos if login is Method.KERBEROS else None,
    )


def config(*tenants: Tenant) -> Config:
    return Config(7007, {one.fib: one for one in tenants}, "")
