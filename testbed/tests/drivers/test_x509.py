from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from cryptography import x509 as library
from cryptography.exceptions import InvalidSignature

from testbed.drivers import x509
from testbed.plan.services import Certified

ADDRESS = ip_address("192.168.0.89")
SERVER = x509.Subject("ldap.twin.test", (ADDRESS,))


def read(certified: Certified) -> library.Certificate:
    return library.load_pem_x509_certificate(certified.certificate)


def issued(authority: Certified, subject: x509.Subject = SERVER) -> Certified:
    return x509.issue(authority, subject)


@pytest.fixture(scope="module")
def authority() -> Certified:
    return x509.new_authority("authority of twin.test")


def test_authority_vouches_for_its_servers_name_and_addresses(authority: Certified) -> None:
    server = issued(authority)
    read(server).verify_directly_issued_by(read(authority))
    names = read(server).extensions.get_extension_for_class(library.SubjectAlternativeName).value
    assert names.get_values_for_type(library.DNSName) == ["ldap.twin.test"]
    assert names.get_values_for_type(library.IPAddress) == [ADDRESS]


def test_authority_of_the_same_name_does_not(authority: Certified) -> None:
    twin = x509.new_authority("authority of twin.test")
    assert read(twin).subject == read(authority).subject
    with pytest.raises(InvalidSignature):
        read(issued(twin)).verify_directly_issued_by(read(authority))


def test_life_below_zero_is_over(authority: Certified) -> None:
    server = read(issued(authority, x509.Subject("a.test", life=timedelta(days=-1))))
    assert server.not_valid_before_utc < server.not_valid_after_utc < datetime.now(UTC)
    assert read(issued(authority)).not_valid_after_utc > datetime.now(UTC)


def test_servers_sign_for_nobody(authority: Certified) -> None:
    server = issued(authority)
    below = read(server).extensions.get_extension_for_class(library.BasicConstraints)
    assert (below.critical, below.value.ca) == (True, False)


def test_key_is_shown_by_no_repr(authority: Certified) -> None:
    assert b"PRIVATE KEY" in authority.key
    assert "PRIVATE" not in repr(authority)
