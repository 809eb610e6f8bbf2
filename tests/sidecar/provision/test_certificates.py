"""The site's CA: what it signs is taken by a real TLS client, and nothing else is."""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from evcharge.sidecar.provision.certificates import (
    CA_DAYS,
    BadCertificate,
    Pair,
    authority,
    fits,
    new_key,
    read_pair,
    renewed,
    server,
)

NOW = datetime(2026, 3, 1, tzinfo=UTC)
NAMES = ["localhost", "127.0.0.1", "::1"]


async def shake(folder: Path, key: bytes, pair: Pair, trusted: bytes, name: str) -> str:
    """A whole handshake over loopback; the subject that the client saw."""
    for file, content in (("key", key), ("crt", pair.pem), ("ca", trusted)):
        (folder / file).write_bytes(content)
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    served.load_cert_chain(folder / "crt", folder / "key")
    client = ssl.create_default_context(cafile=str(folder / "ca"))

    async def handle(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    listening = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=served)
    async with listening:
        port = listening.sockets[0].getsockname()[1]
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client, server_hostname=name)
        found = writer.get_extra_info("peercert")
        writer.close()
    return str(dict(row[0] for row in found["subject"])["commonName"])


async def test_a_client_takes_what_the_ca_signed(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    ca, key = authority(new_key(), "a site", now), new_key()
    pair = server(key, NAMES, 397, ca, now)
    for name in NAMES:
        assert await shake(tmp_path, key, pair, ca.pem, name) == "localhost"
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        await shake(tmp_path, key, pair, ca.pem, "elsewhere")
    stranger = authority(new_key(), "a site", now)
    with pytest.raises(ssl.SSLCertVerificationError):
        await shake(tmp_path, key, pair, stranger.pem, "localhost")
    # A server's certificate is no CA's.
    other = new_key()
    forged = server(other, NAMES, 30, Pair(read_pair(key, pair.pem).key, pair.certificate), now)
    with pytest.raises(ssl.SSLCertVerificationError):
        await shake(tmp_path, other, forged, ca.pem, "localhost")


async def test_over_when_its_time_is_over(tmp_path: Path) -> None:
    then = datetime.now(UTC) - timedelta(days=40)
    ca, key = authority(new_key(), "a site", then), new_key()
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        await shake(tmp_path, key, server(key, NAMES, 30, ca, then), ca.pem, "localhost")


async def test_a_renewed_ca_vouches_for_what_the_old_one_signed(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    ca_key, key = new_key(), new_key()
    old = authority(ca_key, "a site", now - timedelta(days=1))
    pair = server(key, NAMES, 397, old, now)
    fresh = renewed(old, now)
    assert fresh.certificate.not_valid_after_utc > old.certificate.not_valid_after_utc
    assert await shake(tmp_path, key, pair, fresh.pem, "localhost") == "localhost"


# Making keys is slow, and any will do.
CA_KEY, SERVER_KEY = new_key(), new_key()


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=16), st.integers(1, 3))
def test_a_renewed_ca_has_its_name_and_vouches_whatever_it_is_called(name: str, times: int) -> None:
    ca = fresh = authority(CA_KEY, name, NOW)
    pair = server(SERVER_KEY, NAMES, 397, ca, NOW)
    for year in range(times):
        fresh = renewed(fresh, NOW + timedelta(days=365 * year))
    assert fresh.certificate.subject == ca.certificate.subject
    assert fits(pair, NAMES, fresh)


def test_when_it_is_time_for_another_one() -> None:
    ca = authority(new_key(), "a site", NOW)
    pair = server(new_key(), NAMES, 90, ca, NOW)
    assert not pair.ends_soon(NOW)
    assert not pair.ends_soon(NOW + timedelta(days=59))
    assert pair.ends_soon(NOW + timedelta(days=61))
    assert pair.ends_soon(NOW + timedelta(days=400))


def test_a_clock_that_is_behind_ends_nothing() -> None:
    ca = authority(new_key(), "a site", NOW)
    pair = server(new_key(), NAMES, 90, ca, NOW)
    for then in (datetime(1970, 1, 1, tzinfo=UTC), NOW - timedelta(minutes=11)):
        assert pair.begins_later(then) and not pair.ends_soon(then)
    # As far as clocks differ from each other.
    assert not pair.begins_later(NOW - timedelta(minutes=9)) and not pair.begins_later(NOW)


def test_it_never_outlives_its_ca() -> None:
    ca = authority(new_key(), "a site", NOW)
    late = NOW + timedelta(days=CA_DAYS - 10)
    pair = server(new_key(), NAMES, 397, ca, late)
    assert pair.certificate.not_valid_after_utc <= ca.certificate.not_valid_after_utc


def test_names_and_ca_have_to_fit_exactly() -> None:
    ca, other = authority(new_key(), "a site", NOW), authority(new_key(), "a site", NOW)
    pair = server(new_key(), NAMES, 397, ca, NOW)
    assert fits(pair, reversed(NAMES), ca)
    assert not fits(pair, NAMES[:2], ca)
    assert not fits(pair, [*NAMES, "more"], ca)
    assert not fits(pair, NAMES, other)


def test_files_that_do_not_belong_together() -> None:
    key, other = new_key(), new_key()
    ca = authority(key, "a site", NOW)
    assert read_pair(key, ca.pem).certificate == ca.certificate
    with pytest.raises(BadCertificate, match="does not belong"):
        read_pair(other, ca.pem)
    with pytest.raises(BadCertificate, match="no certificate"):
        read_pair(key, b"nonsense")
    with pytest.raises(BadCertificate, match="no key"):
        read_pair(b"nonsense", ca.pem)


def test_what_it_may_be_used_for() -> None:
    ca = authority(new_key(), "a site", NOW)
    pair = server(new_key(), NAMES, 397, ca, NOW)
    assert ca.certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0
    basic = pair.certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert basic.critical and not basic.value.ca
    usage = pair.certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.digital_signature and not usage.key_cert_sign
