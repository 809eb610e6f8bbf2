"""The CA of one site and its servers' certificates: X.509 v3, keys on P-256. Time comes in as an argument.

A certificate is made anew when a third of its time is left, and its key stays: so the file that is exchanged is one,
and whoever reads both never sees two that do not belong together.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

# How long the CA is good, days: ten years. Who trusts it has a copy of it, and copies are seldom looked after.
CA_DAYS = 3_650
# Clocks that are behind take a new certificate all the same.
SLACK = timedelta(minutes=5)
# Part of its time that is left when a certificate is made anew.
LEFT = 1 / 3


class BadCertificate(ValueError):
    """A file is no certificate or no key, or two do not belong together; one sentence."""


class Pair:
    """A key with its certificate."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        self.key = key
        self.certificate = certificate

    @property
    def pem(self) -> bytes:
        """The certificate."""
        return self.certificate.public_bytes(Encoding.PEM)

    def ends_soon(self, now: datetime) -> bool:
        """Whether it is time for another one."""
        begin, end = self.certificate.not_valid_before_utc, self.certificate.not_valid_after_utc
        return end - now < (end - begin) * LEFT

    def begins_later(self, now: datetime) -> bool:
        """Whether the clock is of a time before it: then the clock is wrong, and no other one is to be made by it."""
        return now < self.certificate.not_valid_before_utc - SLACK


def new_key() -> bytes:
    """A private key, PEM (PKCS #8)."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def authority(key_pem: bytes, name: str, now: datetime) -> Pair:
    """A CA's certificate for this key, good for ``CA_DAYS``. Raises BadCertificate."""
    return _authority(_key(key_pem), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), now)


def renewed(ca: Pair, now: datetime) -> Pair:
    """The same CA for another ``CA_DAYS``: key and subject stay, so what it signed before is still good."""
    return _authority(ca.key, ca.certificate.subject, now)


def _authority(key: ec.EllipticCurvePrivateKey, subject: x509.Name, now: datetime) -> Pair:
    builder = (
        _builder(subject, subject, key.public_key(), now, CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
    )
    return Pair(key, builder.sign(key, hashes.SHA256()))


def server(key_pem: bytes, names: Iterable[str], days: int, ca: Pair, now: datetime) -> Pair:
    """A server's certificate for this key, by the CA, and never longer than the CA's own. Raises BadCertificate."""
    key = _key(key_pem)
    wanted = _names(names)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, str(wanted[0].value)[:64])])
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.key.public_key())
    left = (ca.certificate.not_valid_after_utc - now).days
    builder = (
        _builder(subject, ca.certificate.subject, key.public_key(), now, min(days, left))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(wanted), critical=False)
        .add_extension(issuer, critical=False)
    )
    return Pair(key, builder.sign(ca.key, hashes.SHA256()))


def read_pair(key_pem: bytes, certificate_pem: bytes) -> Pair:
    """A key and its certificate. Raises BadCertificate, also when they do not belong together."""
    key = _key(key_pem)
    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem)
    except ValueError:
        raise BadCertificate("is no certificate") from None
    if certificate.public_key() != key.public_key():
        raise BadCertificate("does not belong to its key")
    return Pair(key, certificate)


def fits(pair: Pair, names: Iterable[str], ca: Pair) -> bool:
    """Whether the CA made it, for exactly these names."""
    try:
        pair.certificate.verify_directly_issued_by(ca.certificate)
        found = pair.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return False
    return set(found) == set(_names(names))


def _key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    try:
        key = load_pem_private_key(pem, None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise BadCertificate("is no key that was made here")
    return key


def _names(names: Iterable[str]) -> list[x509.GeneralName]:
    found: list[x509.GeneralName] = []
    for name in names:
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            found.append(x509.DNSName(name))
    return found


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SLACK)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
