"""The daemon's configuration: who is behind each FIB, and how that tenant authenticates.

Format (JSON, version 1; `docs/daemon.md` has it with an example). All problems of a file are
reported at once, each with its path inside the document.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

VERSION = 1
DEFAULT_PORT = 7007
_LDAP_PORT = 389
# FIB 0 belongs to nobody; what the kernel side allows above that, it judges itself.
_FIBS = range(1, 65536)
_PORTS = range(1, 65536)
_HOST_NAME = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?")
_HOST = re.compile(rf"{_HOST_NAME.pattern}|[0-9a-fA-F:.]*:[0-9a-fA-F:.]*")  # or an IPv6 address
_HOST_SERVICE = re.compile(r"[a-z0-9-]+@[A-Za-z0-9.-]+")


class Method(StrEnum):
    """How a tenant authenticates its users."""

    LDAP = "ldap"
    KERBEROS = "kerberos"


class ConfigError(Exception):
    """A configuration that cannot be used; `problems` has a line for each thing that is wrong."""

    def __init__(self, source: str, problems: Sequence[str]) -> None:
        super().__init__("\n".join(f"{source}: {problem}" for problem in problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class LdapConfig:
    """A tenant's directory. `user_dn` holds `{user}` once, where the escaped name goes.

    With an `authority`, a file in PEM, it must prove its name by TLS before it is told any password. A
    `second` host has the same content.
    """

    host: str
    port: int
    base_dn: str
    user_dn: str
    authority: Path | None = None
    second: str | None = None

    @property
    def uris(self) -> tuple[str, ...]:
        """The directory's servers as libldap wants them, the first one first."""
        hosts = (self.host, self.second) if self.second else (self.host,)
        return tuple(
            f"ldap://[{host}]:{self.port}" if ":" in host else f"ldap://{host}:{self.port}"
            for host in hosts
        )


@dataclass(frozen=True, slots=True)
class KerberosConfig:
    """A tenant's realm and our key in it. `service` is host-based: `login@server.a.test`."""

    realm: str
    service: str
    keytab: Path

    @property
    def principal(self) -> str:
        """The service's full principal: `login/server.a.test@A.TEST`."""
        service, _, host = self.service.partition("@")
        return f"{service}/{host}@{self.realm}"


@dataclass(frozen=True, slots=True)
class Tenant:
    """One tenant. `resolve` is the name whose addresses every login reports."""

    fib: int
    name: str
    domain: str
    resolve: str | None
    login: Method | None
    ldap: LdapConfig | None
    kerberos: KerberosConfig | None

    def offers(self, method: Method) -> bool:
        """Whether the tenant has a server for `method`."""
        return (self.ldap if method is Method.LDAP else self.kerberos) is not None


@dataclass(frozen=True, slots=True)
class Config:
    """A whole configuration: tenants by FIB, in the order of the file, and the file's SHA-256."""

    port: int
    tenants: Mapping[int, Tenant]
    sha256: str

    def methods(self) -> frozenset[Method]:
        """Return the methods that at least one tenant offers."""
        return frozenset(
            method for tenant in self.tenants.values() for method in Method if tenant.offers(method)
        )


def load_config(path: Path) -> Config:
    """Read and check the file.

    Raises:
        ConfigError: with every problem, also when the file cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), [f"cannot be read: {error}"]) from error
    return parse_config(text, source=str(path))


def parse_config(text: str, *, source: str = "config") -> Config:
    """Check the text of a configuration.

    Raises:
        ConfigError: with every problem.
    """
    try:
        document = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise ConfigError(source, [f"not JSON: {error}"]) from error
    problems: list[str] = []
    config = _config(_Reader(document, "", problems), hashlib.sha256(text.encode()).hexdigest())
    if problems:
        raise ConfigError(source, problems)
    return config


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        names = [name for name, _ in pairs]
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f"key {', '.join(map(repr, twice))} stands twice in one object")
    return members


class _Reader:
    """Takes members out of a JSON object, noting each problem and going on with a filler."""

    def __init__(self, value: object, path: str, problems: list[str]) -> None:
        self._path = path
        self._problems = problems
        self._members: dict[str, object] = {}
        if isinstance(value, dict):
            self._members = dict(value)
        else:
            self.complain("", "is not an object")

    def complain(self, name: str, what: str) -> None:
        place = f"{self._path}.{name}".strip(".") or "document"
        self._problems.append(f"{place}: {what}")

    def text(self, name: str, pattern: re.Pattern[str] | None = None) -> str:
        value = self._members.pop(name, None)
        if not isinstance(value, str) or not value:
            self.complain(name, f"must be a text that is not empty, not {value!r}")
            return ""
        if pattern is not None and not pattern.fullmatch(value):
            self.complain(name, f"{value!r} does not look right (must match {pattern.pattern})")
        return value

    def optional_text(self, name: str, pattern: re.Pattern[str] | None = None) -> str | None:
        if self._members.get(name) is None:
            self._members.pop(name, None)
            return None
        return self.text(name, pattern)

    def number(self, name: str, allowed: range, default: int | None = None) -> int:
        value = self._members.pop(name, default)
        # bool is an int in Python, not in JSON.
        if not isinstance(value, int) or isinstance(value, bool) or value not in allowed:
            self.complain(name, f"must be a number in {allowed[0]}..{allowed[-1]}, not {value!r}")
            return allowed[0]
        return value

    def method(self, name: str) -> Method | None:
        value = self._members.pop(name, None)
        if value is None:
            return None
        if value not in list(Method):
            self.complain(name, f"must be one of {', '.join(Method)}, or null, not {value!r}")
            return None
        return Method(str(value))

    def objects(self, name: str) -> list[_Reader]:
        value = self._members.pop(name, None)
        if not isinstance(value, list):
            self.complain(name, f"must be a list, not {value!r}")
            return []
        return [
            _Reader(item, f"{self._path}.{name}[{number}]".strip("."), self._problems)
            for number, item in enumerate(value)
        ]

    def optional_object(self, name: str) -> _Reader | None:
        value = self._members.pop(name, None)
        if value is None:
            return None
        return _Reader(value, f"{self._path}.{name}".strip("."), self._problems)

    def finish(self) -> None:
        for name in self._members:
            self.complain(name, "unknown key")


def _config(reader: _Reader, sha256: str) -> Config:
    version = reader.number("version", range(VERSION, VERSION + 1))
    port = reader.number("port", _PORTS, DEFAULT_PORT)
    tenants: dict[int, Tenant] = {}
    names: dict[str, int] = {}
    for item in reader.objects("tenants") if version == VERSION else []:
        tenant = _tenant(item)
        if tenant.fib in tenants:
            item.complain("fib", f"{tenant.fib} is already that of {tenants[tenant.fib].name!r}")
        if tenant.name in names:
            item.complain(
                "name", f"{tenant.name!r} is already the tenant of FIB {names[tenant.name]}"
            )
        tenants.setdefault(tenant.fib, tenant)
        names.setdefault(tenant.name, tenant.fib)
    reader.finish()
    return Config(port, tenants, sha256)


def _tenant(reader: _Reader) -> Tenant:
    fib = reader.number("fib", _FIBS)
    name = reader.text("name")
    domain = reader.text("domain", _HOST_NAME)
    resolve = reader.optional_text("resolve", _HOST)
    login = reader.method("login")
    ldap_reader = reader.optional_object("ldap")
    kerberos_reader = reader.optional_object("kerberos")
    ldap = _ldap(ldap_reader) if ldap_reader is not None else None
    kerberos = _kerberos(kerberos_reader) if kerberos_reader is not None else None
    reader.finish()
    if resolve is None and login is Method.LDAP and ldap is not None:
        resolve = ldap.host
    if resolve is None and login is Method.KERBEROS:
        resolve = f"kdc.{domain}"
    tenant = Tenant(fib, name, domain, resolve, login, ldap, kerberos)
    if login is not None and not tenant.offers(login):
        reader.complain("login", f"is {login.value!r}, but {login.value!r} is not configured")
    return tenant


def _ldap(reader: _Reader) -> LdapConfig:
    authority = reader.optional_text("authority")
    config = LdapConfig(
        host=reader.text("host", _HOST),
        port=reader.number("port", _PORTS, _LDAP_PORT),
        base_dn=reader.text("base_dn"),
        user_dn=reader.text("user_dn"),
        authority=Path(authority) if authority else None,
        second=reader.optional_text("second", _HOST),
    )
    if config.authority and not config.authority.is_absolute():
        reader.complain("authority", "must be an absolute path")
    if config.user_dn and config.user_dn.count("{user}") != 1:
        reader.complain("user_dn", "must contain '{user}' exactly once")
    # Two tenants' settings mixed up would otherwise show only as refused logins.
    elif config.base_dn and not config.user_dn.lower().endswith(f",{config.base_dn.lower()}"):
        reader.complain("user_dn", f"does not lie under base_dn {config.base_dn!r}")
    reader.finish()
    return config


def _kerberos(reader: _Reader) -> KerberosConfig:
    config = KerberosConfig(
        realm=reader.text("realm", re.compile(r"[A-Za-z0-9.-]+")),
        service=reader.text("service", _HOST_SERVICE),
        keytab=Path(reader.text("keytab")),
    )
    if not config.keytab.is_absolute():
        reader.complain("keytab", "must be an absolute path")
    reader.finish()
    return config
