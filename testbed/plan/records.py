"""A tenant's DNS records: its own hosts and services forward and back, and what its topology adds.

Values are as a zone file has them: names with a final dot, the text of a TXT record in quotes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache

from testbed.plan.resources import Address, Record

_KERBEROS_PORT = 88
_LDAP_PORT = 389


def build_records(
    domain: str, hosts: Mapping[str, Iterable[Address]], realm: str | None
) -> tuple[Record, ...]:
    """Return the records of `domain`, whose `hosts` are given by their first labels."""
    return (
        *(
            record
            for label, found in hosts.items()
            for record in _host(f"{label}.{domain}.", found)
        ),
        *_services(domain, hosts, realm),
    )


def build_extra(names: Mapping[str, Iterable[Address]]) -> tuple[Record, ...]:
    """Return address records for `names` (without final dots), and no reverse ones."""
    return tuple(
        _address(f"{name}.", address) for name, found in names.items() for address in found
    )


def known_values(records: Iterable[Record], name: str, *kinds: str) -> frozenset[str] | None:
    """Return what `records` have for `name`, with or without a final dot; None: nothing of any kind."""
    owner = f"{name.rstrip('.')}.".lower()
    own = [record for record in records if record.owner.lower() == owner]
    return frozenset(r.value for r in own if r.type in kinds) if own else None


def _host(owner: str, addresses: Iterable[Address]) -> Iterator[Record]:
    for address in addresses:
        yield _address(owner, address)
        yield Record(f"{_texts(address)[1]}.", "PTR", owner)


def _address(owner: str, address: Address) -> Record:
    return Record(owner, "A" if address.version == 4 else "AAAA", _texts(address)[0])


@lru_cache(maxsize=1024)  # most addresses on tenants' LANs are the same
def _texts(address: Address) -> tuple[str, str]:
    return str(address), address.reverse_pointer


def _services(
    domain: str, hosts: Mapping[str, Iterable[Address]], realm: str | None
) -> Iterator[Record]:
    for priority, label in ((0, "ldap"), (10, "ldap2")):
        if label in hosts:
            value = f"{priority} 0 {_LDAP_PORT} {label}.{domain}."
            yield Record(f"_ldap._tcp.{domain}.", "SRV", value)
    if "kdc" in hosts and realm is not None:
        for protocol in ("udp", "tcp"):
            for priority, label in ((0, "kdc"), (10, "kdc2")):
                if label in hosts:
                    value = f"{priority} 0 {_KERBEROS_PORT} {label}.{domain}."
                    yield Record(f"_kerberos._{protocol}.{domain}.", "SRV", value)
        yield Record(f"_kerberos.{domain}.", "TXT", f'"{realm}"')
