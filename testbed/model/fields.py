"""Types of a topology's fields, each with the sentence that tells a person what is wrong with it.

Addresses are only taken from text: pydantic's own types would read 5 as 0.0.0.5. Passwords are in
no message.
"""

from __future__ import annotations

import re
import unicodedata
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Annotated, Any, LiteralString, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, StrictInt, StrictStr
from pydantic_core import PydanticCustomError

from testbed.errors import InputError, Problem
from testbed.model.document import kind_of, shown

N = TypeVar("N", IPv4Network, IPv6Network)

# Host names of containers are at most 64 bytes (sethostname(2)): leave room for `client.`.
_LONGEST_DOMAIN = 56
_LONGEST_HOST_NAME = 253  # RFC 1035, section 2.3.4
_LONGEST_PASSWORD = 128
_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"


def wrong(code: LiteralString, what: str, hint: str) -> PydanticCustomError:
    """Return the error that the loader turns into a problem with these words."""
    return PydanticCustomError(code, "{what}", {"what": what, "hint": hint})


def _text(value: Any, what: str) -> str:
    if isinstance(value, str):
        return value
    raise wrong("type", f"must be {what}, not {kind_of(value)}", "put it in quotes")


def _match(code: LiteralString, pattern: str, what: str, hint: str) -> AfterValidator:
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if not compiled.fullmatch(value):
            raise wrong(code, f"{shown(value)} is no {what}", hint)
        return value

    return AfterValidator(check)


def _password(value: str) -> str:
    if not value:
        raise wrong("password", "an empty password", "an empty LDAP password is no login: set one")
    if any(unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} for character in value):
        raise wrong("password", "a control character in a password", "use printable characters")
    if len(value.encode()) > _LONGEST_PASSWORD:
        what = f"a password of more than {_LONGEST_PASSWORD} bytes"
        raise wrong("password", what, "use a shorter one")
    return value


def _domain(longest: int) -> AfterValidator:
    pattern = re.compile(rf"{_LABEL}(\.{_LABEL})*")

    def check(value: str) -> str:
        if not pattern.fullmatch(value):
            hint = "lower-case labels of letters, digits and dashes with dots between: `alpha.test`"
            raise wrong("domain", f"{shown(value)} is no domain name", hint)
        if len(value) > longest:
            what = f"domain name {shown(value)} is longer than {longest} characters"
            raise wrong("domain", what, "use a shorter one")
        return value

    return AfterValidator(check)


def _host4(value: Any) -> IPv4Address:
    text = _text(value, "an IPv4 address in text")
    try:
        address = IPv4Address(text)
    except ValueError:
        hint = "write four numbers from 0 to 255 with dots between, without prefix length"
        raise wrong("address", f"{shown(text)} is no IPv4 address", hint) from None
    _require_unicast(address)
    return address


def _host6(value: Any) -> IPv6Address:
    text = _text(value, "an IPv6 address in text")
    try:
        address = IPv6Address(text)
    except ValueError:
        hint = "write it as `fd00:c0a8::1`, without prefix length"
        raise wrong("address", f"{shown(text)} is no IPv6 address", hint) from None
    if address.scope_id or address.ipv4_mapped:
        hint = "use a unique local address such as `fd00:c0a8::1`"
        raise wrong("address", f"{shown(text)} is no address of a host on its own", hint)
    _require_unicast(address)
    return address


def _require_unicast(address: IPv4Address | IPv6Address) -> None:
    special = (
        (address.is_unspecified, "an unspecified"),
        (address.is_loopback, "a loopback"),
        (address.is_multicast, "a multicast"),
        (address.is_link_local, "a link-local"),
        (address.version == 4 and (address.is_reserved or address in _THIS_NETWORK), "a reserved"),
    )
    for holds, kind in special:
        if holds:
            hint = "use a private unicast address"
            raise wrong("address", f"{address} is {kind} address", hint)


_THIS_NETWORK = IPv4Network("0.0.0.0/8")


def _host(value: Any) -> IPv4Address | IPv6Address:
    text = _text(value, "an address in text")
    return _host6(text) if ":" in text else _host4(text)


def _network(value: Any, kind: type[N]) -> N:
    version = "IPv4" if kind is IPv4Network else "IPv6"
    text = _text(value, f"an {version} network in text")
    example = "192.168.0.0/24" if kind is IPv4Network else "fd00:c0a8::/64"
    address, slash, length = text.partition("/")
    try:
        network = kind(text, strict=False)
    except ValueError:
        slash = ""
    if not slash or not length.isdecimal() or "%" in address:
        hint = f"write address and prefix length: `{example}`"
        raise wrong("network", f"{shown(text)} is no {version} network", hint)
    if str(network.network_address) != str(type(network.network_address)(address)):
        what = f"{shown(text)} has bits beyond its prefix length"
        raise wrong("network", what, f"did you mean `{network}`?")
    return network


def _range4(value: Any) -> IPv4Network:
    return _usable(_network(value, IPv4Network), 8, 30)


def _range6(value: Any) -> IPv6Network:
    return _usable(_network(value, IPv6Network), 8, 126)


def _usable(network: N, shortest: int, longest: int) -> N:
    if not shortest <= network.prefixlen <= longest:
        hint = f"use a prefix length from {shortest} to {longest}"
        raise wrong("network", f"{network} is no size for a network of hosts", hint)
    _require_unicast(network.network_address + 1)
    return network


def _destination(value: Any) -> IPv4Network | IPv6Network:
    text = _text(value, "a network in text")
    network: IPv4Network | IPv6Network
    network = _network(text, IPv6Network) if ":" in text else _network(text, IPv4Network)
    if network.prefixlen and not network.network_address.is_unspecified:
        _require_unicast(network.network_address)
    return network


def _mac(value: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", value.lower()):
        hint = "write six pairs of hexadecimal digits with colons between, in quotes"
        raise wrong("mac", f"{shown(value)} is no MAC address", hint)
    if int(value[:2], 16) & 1:
        raise wrong("mac", f"{shown(value)} is a group address", "use the interface's own address")
    return value.lower()


_NAME = r"[a-z]([a-z0-9-]{0,30}[a-z0-9])?"
_NAME_HINT = "use 1 to 32 lower-case letters, digits and dashes; a letter first, no dash last"
# Stricter than Docker and `ip netns`: a tenant's name is a DNS label of its domain as well.
Name = Annotated[StrictStr, _match("name", _NAME, "name", _NAME_HINT)]
UserName = Annotated[
    StrictStr,
    # Safe in a DN, a principal and a shell alike.
    _match(
        "user",
        r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}",
        "user name",
        "use 1 to 64 letters, digits, dots, dashes and underscores; a letter or digit first",
    ),
]
Password = Annotated[StrictStr, AfterValidator(_password)]
Domain = Annotated[StrictStr, _domain(_LONGEST_DOMAIN)]
HostName = Annotated[StrictStr, _domain(_LONGEST_HOST_NAME)]
Realm = Annotated[
    StrictStr,
    _match(
        "realm",
        r"[A-Z0-9]([A-Z0-9-]*[A-Z0-9])?(\.[A-Z0-9]([A-Z0-9-]*[A-Z0-9])?)*",
        "Kerberos realm",
        "upper-case letters, digits and dashes with dots between: `ALPHA.TEST`",
    ),
    Field(max_length=64),
]
BaseDn = Annotated[
    StrictStr,
    _match(
        "base_dn",
        rf"dc={_LABEL}(,dc={_LABEL})*",
        "base DN",
        "write domain components, lower-case, with commas between: `dc=alpha,dc=test`",
    ),
    Field(max_length=255),
]
InterfaceName = Annotated[
    StrictStr,
    _match(
        "interface",
        r"(?!\.{1,2}$)[A-Za-z0-9._][A-Za-z0-9._-]{0,14}",  # no option of a command's either
        "interface name",
        "use 1 to 15 letters, digits, dots, dashes and underscores, no dash first",
    ),
]
SshHost = Annotated[
    StrictStr,
    _match("host", r"[A-Za-z0-9:][A-Za-z0-9.:_-]{0,252}", "host", "write a name or an address"),
]
SshUser = Annotated[
    StrictStr,
    _match("user", r"[A-Za-z0-9_][A-Za-z0-9._-]{0,31}", "user name", "write the login name"),
]
Mac = Annotated[StrictStr, AfterValidator(_mac)]
Port = Annotated[StrictInt, Field(ge=1, le=65535)]
Host4 = Annotated[IPv4Address, PlainValidator(_host4)]
Host6 = Annotated[IPv6Address, PlainValidator(_host6)]
Host = Annotated[IPv4Address | IPv6Address, PlainValidator(_host)]
Range4 = Annotated[IPv4Network, PlainValidator(_range4)]
Range6 = Annotated[IPv6Network, PlainValidator(_range6)]
Destination = Annotated[IPv4Network | IPv6Network, PlainValidator(_destination)]


def _nothing_is_empty(value: Any) -> Any:
    return {} if value is None else value


NothingIsEmpty = BeforeValidator(_nothing_is_empty)  # `services: {dns, ldap}` is YAML for nulls


def require_name(value: str, *, where: str) -> str:
    """Return `value`, which was given at `where`, if it can be a deployment's name.

    Raises:
        InputError: when it cannot.
    """
    if re.fullmatch(_NAME, value):
        return value
    raise InputError([Problem(where, f"{shown(value)} is no name", _NAME_HINT)])
