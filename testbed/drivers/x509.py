"""Certificates by `cryptography`: an authority, and what it says of servers (RFC 5280).

Keys are on P-256, since an emulated processor has to check them at every login.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from testbed.plan.resources import Address
from testbed.plan.services import Certified

LIFE = timedelta(days=3650)
"""Longer than any deployment lasts."""
_SLACK = timedelta(days=1)  # of clocks that differ


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom a certificate speaks of: a server by its name and addresses, for so long from now.

    A life below zero has ended already.
    """

    host: str
    addresses: tuple[Address, ...] = ()
    life: timedelta = LIFE


def new_authority(name: str) -> Certified:
    """Return an authority called `name`, which nobody but itself vouches for."""
    key, called = ec.generate_private_key(ec.SECP256R1()), _name(name)
    draft = _draft(called, called, key, LIFE).add_extension(
        x509.BasicConstraints(ca=True, path_length=0), critical=True
    )
    return _signed(draft, key, key)


def issue(authority: Certified, subject: Subject) -> Certified:
    """Return a new key for `subject` with the authority's word that it is the subject's.

    Raises:
        ValueError: when the authority is none of `new_authority`.
    """
    signer = load_pem_private_key(authority.key, password=None)
    if not isinstance(signer, ec.EllipticCurvePrivateKey):
        raise ValueError("not an authority's key of ours")  # noqa: TRY004 - the content is wrong
    issuer = x509.load_pem_x509_certificate(authority.certificate).subject
    key = ec.generate_private_key(ec.SECP256R1())
    names = [
        x509.DNSName(subject.host),
        *(x509.IPAddress(address) for address in subject.addresses),
    ]
    draft = (
        _draft(_name(subject.host), issuer, key, subject.life)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    )
    return _signed(draft, signer, key)


def _draft(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, life: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(now, now + life) - _SLACK)  # it has begun, also where it is over
        .not_valid_after(now + life)
    )


def _signed(
    draft: x509.CertificateBuilder,
    signer: ec.EllipticCurvePrivateKey,
    key: ec.EllipticCurvePrivateKey,
) -> Certified:
    return Certified(
        draft.sign(signer, hashes.SHA256()).public_bytes(Encoding.PEM),
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
