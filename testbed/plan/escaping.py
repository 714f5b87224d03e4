"""How a value is written into each of the services' formats, so that no value can end its field.

Names of a topology are validated where it is loaded; these functions hold even for those that are
not. What a format cannot hold is refused by ValueError. Sources: RFC 1035 section 5.1 (master
files), RFC 2849 (LDIF), RFC 4514 (distinguished names), slapd.conf(5), krb5.conf(5), and the
tokenizer of MIT's libss, by which kadmin.local reads its commands.
"""

from __future__ import annotations

import base64
import re
import unicodedata
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address

from testbed.plan.resources import Address, Record

_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_LABEL_BYTES = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_*")
_CONTROLS = frozenset({"Cc", "Cs", "Zl", "Zp"})
_LONGEST_LABEL = 63
# Strings as they stand in a master file: an escape is `\DDD` or `\X`.
_STRINGS = re.compile(r'"([^"\\]|\\[0-9]{3}|\\[ -/:-~])*"( "([^"\\]|\\[0-9]{3}|\\[ -/:-~])*")*')


def line(value: str) -> str:
    """Return `value` if it fits on one line; no format here can hold a control character."""
    if any(unicodedata.category(character) in _CONTROLS for character in value):
        raise ValueError("a value holds a control character")  # it may be a secret
    return value


def plain(value: str) -> str:
    """Return `value` if it needs no quoting anywhere: letters, digits, dots, `_` and `-`."""
    if not _PLAIN.fullmatch(value):
        raise ValueError(f"{value!r} is not a plain name")
    return value


def host(value: str) -> str:
    """Return the host name `value` without the final dot, which Kerberos and TLS do not know."""
    return plain(value.removesuffix("."))


def endpoint(address: Address) -> str:
    """Return `address` as krb5.conf wants it, where a bare colon would begin a port."""
    return f"[{address}]" if address.version == 6 else str(address)


def quoted(value: str) -> str:
    r"""Return `value` as one word of slapd.conf.

    >>> quoted('o=the "best"')
    '"o=the \\"best\\""'
    """
    escaped = line(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def kadmin(value: str) -> str:
    r"""Return `value` as one word of a kadmin.local command: libss doubles quotes, no more.

    >>> kadmin('a "b" $(id)')
    '"a ""b"" $(id)"'
    """
    doubled = line(value).replace('"', '""')
    return f'"{doubled}"'


def principal(user: str) -> str:
    r"""Return the principal, without its realm, of a user: a single component, whatever it holds.

    >>> principal("a/b@c")
    'a\\/b\\@c'
    """
    return re.sub(r"([\\/@])", r"\\\1", line(user))


def ldif(value: str, attribute: str) -> str:
    """Return one line of LDIF, always in base64, which no value can leave.

    >>> ldif("alice", "uid")
    'uid:: YWxpY2U='
    """
    return f"{plain(attribute)}:: {base64.b64encode(value.encode()).decode()}"


def dn_value(value: str) -> str:
    r"""Return `value` as it stands in a distinguished name.

    >>> dn_value("Doe, Jane")
    'Doe\\, Jane'
    """
    escaped = re.sub(r'([\\,+"<>;=])', r"\\\1", line(value))
    if escaped[:1] in {"#", " "}:
        escaped = f"\\{escaped}"
    if escaped.endswith(" ") and escaped != "\\ ":
        escaped = f"{escaped[:-1]}\\ "
    return escaped


def owner(name: str) -> str:
    r"""Return a full domain name for a master file; dots part labels, other bytes are escaped.

    >>> owner("$ttl.a.test.")
    '\\036ttl.a.test.'
    """
    if name == ".":
        return name
    labels = name.removesuffix(".").split(".")
    return "".join(f"{_label(label)}." for label in labels)


def _label(label: str) -> str:
    octets = label.encode()
    if not 1 <= len(octets) <= _LONGEST_LABEL:
        raise ValueError(f"DNS label {label!r} is not 1 to {_LONGEST_LABEL} bytes long")
    return "".join(chr(byte) if byte in _LABEL_BYTES else f"\\{byte:03d}" for byte in octets)


def _text(value: str) -> str:
    if not _STRINGS.fullmatch(line(value)):
        raise ValueError("a TXT record's value is not one or more strings in quotes")
    return "".join(_octets(character) for character in value)


def _octets(character: str) -> str:
    if character.isascii():
        return character
    return "".join(f"\\{byte:03d}" for byte in character.encode())


def _service(value: str) -> str:
    priority, weight, port, target = value.split()
    return f"{int(priority)} {int(weight)} {int(port)} {owner(target)}"


def _exchange(value: str) -> str:
    preference, target = value.split()
    return f"{int(preference)} {owner(target)}"


_RDATA: dict[str, Callable[[str], str]] = {
    "A": lambda value: str(IPv4Address(value)),
    "AAAA": lambda value: str(IPv6Address(value)),
    "CNAME": owner,
    "MX": _exchange,
    "NS": owner,
    "PTR": owner,
    "SRV": _service,
    "TXT": _text,
}


def rdata(record: Record) -> str:
    """Return type and data of `record` for a master file.

    >>> rdata(Record("_kerberos._udp.a.test.", "SRV", "0 100 88 kdc.a.test."))
    'SRV 0 100 88 kdc.a.test.'
    """
    if record.type not in _RDATA:
        raise ValueError(f"DNS record type {record.type!r} is not one of {', '.join(_RDATA)}")
    return f"{record.type} {_RDATA[record.type](record.value)}"
