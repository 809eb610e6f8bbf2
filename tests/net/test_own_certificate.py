"""A program's own certificate: what is wrong with its files is said, and nobody is asked for a pass phrase."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from evcharge.net.own_certificate import BadCertificateFile, load_own_certificate

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def key_file(folder: Path, name: str, key: ec.EllipticCurvePrivateKey, phrase: bytes | None = None) -> str:
    protection = serialization.NoEncryption() if phrase is None else serialization.BestAvailableEncryption(phrase)
    file = folder / name
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection),
    )
    return str(file)


@pytest.fixture
def key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
def certificate(tmp_path: Path, key: ec.EllipticCurvePrivateKey) -> str:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "here")])
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(1).not_valid_before(NOW).not_valid_after(NOW + timedelta(days=9))
    file = tmp_path / "tls.crt"
    file.write_bytes(made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    return str(file)


def test_both_in_files_of_their_own_or_in_one(
    tmp_path: Path, certificate: str, key: ec.EllipticCurvePrivateKey
) -> None:
    own = key_file(tmp_path, "tls.key", key)
    load_own_certificate(ssl.create_default_context(), certificate, own)
    both = tmp_path / "both.pem"
    both.write_bytes(Path(certificate).read_bytes() + Path(own).read_bytes())
    load_own_certificate(ssl.create_default_context(), str(both), None)


def test_an_encrypted_key_is_said(tmp_path: Path, certificate: str, key: ec.EllipticCurvePrivateKey) -> None:
    own = key_file(tmp_path, "tls.key", key, b"secret")
    with pytest.raises(BadCertificateFile, match=r"tls\.key is encrypted; store it without a pass phrase"):
        load_own_certificate(ssl.create_default_context(), certificate, own)


def test_what_does_not_fit_or_is_missing_is_said(tmp_path: Path, certificate: str) -> None:
    other = key_file(tmp_path, "other.key", ec.generate_private_key(ec.SECP256R1()))
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("nonsense")
    for file, key, why in (
        (certificate, other, "KEY_VALUES_MISMATCH"),
        (certificate, str(tmp_path / "none"), "No such file"),
        (str(nonsense), other, r"nonsense\.pem"),
    ):
        with pytest.raises(BadCertificateFile, match=why):
            load_own_certificate(ssl.create_default_context(), file, key)
