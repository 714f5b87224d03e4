"""What the oracle knows of a tenant's names."""

from ipaddress import ip_address

import pytest

from testbed.plan.records import build_records, known_values

RECORDS = build_records(
    "corp.test", {"ldap": [ip_address("192.168.0.89"), ip_address("fd00::89")]}, None
)


@pytest.mark.parametrize(
    ("name", "kinds", "values"),
    [
        ("ldap.corp.test", ("A",), {"192.168.0.89"}),
        ("LDAP.corp.test.", ("A", "AAAA"), {"192.168.0.89", "fd00::89"}),
        ("ldap.corp.test", ("TXT",), set()),
        ("89.0.168.192.in-addr.arpa", ("PTR",), {"ldap.corp.test."}),
        ("_ldap._tcp.corp.test", ("SRV",), {"0 0 389 ldap.corp.test."}),
        ("nobody.corp.test", ("A",), None),
    ],
)
def test_values_of_a_name(name: str, kinds: tuple[str, ...], values: set[str] | None) -> None:
    assert known_values(RECORDS, name, *kinds) == values
