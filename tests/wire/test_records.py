"""Signed registry records: only the pinned registry can make one, and only exactly one way."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from protocol.credentials import Role, b64url, b64url_decode
from protocol.records import BadRecord, RegistryRecord, SignedRecord, open_record, sign_record
from tests.support.wire import CENTRAL_KEY, credential

SEED = b"\x77" * 32
PUBLIC = Ed25519PrivateKey.from_private_bytes(SEED).public_key().public_bytes_raw()


def record(**fields: Any) -> RegistryRecord:
    values: dict[str, Any] = {
        "username": "cp-1",
        "role": Role.CP,
        "entity": "CP-1",
        "keys": {1: credential().public_key()},
        "status": "active",
        "rev": 7,
    }
    return RegistryRecord(**(values | fields))


def resign(text: bytes) -> SignedRecord:
    """A record with any text, properly signed."""
    signature = Ed25519PrivateKey.from_private_bytes(SEED).sign(b"evcharge/1 record\0" + text)
    return SignedRecord(signed=b64url(text), signature=b64url(signature))


@pytest.mark.parametrize(
    "one",
    [
        record(),
        record(keys={1: CENTRAL_KEY, 2: credential().public_key()}),
        record(status="revoked", not_after_ms=5, station_id="3e1f9dc6-9f4b-4f0e-8d0c-000000000001"),
        record(role=Role.CENTRAL, entity="", username="central"),
        record(username="Zähler", entity="Ort"),
    ],
)
def test_round_trip(one: RegistryRecord) -> None:
    signed = sign_record(one, SEED)
    assert open_record(signed, PUBLIC) == one
    assert open_record(msgspec.json.decode(msgspec.json.encode(signed), type=SignedRecord), PUBLIC) == one


def test_text_is_canonical_json() -> None:
    text = b64url_decode(sign_record(record(), SEED).signed)
    assert text.startswith(b'{"entity":"CP-1","keys":{"1":"')
    assert text.endswith(
        b'"not_after_ms":null,"rev":7,"role":"cp","station_id":null,"status":"active","username":"cp-1"}'
    )


def test_every_changed_bit_is_refused() -> None:
    signed = sign_record(record(), SEED)
    for name in ("signed", "signature"):
        data = b64url_decode(getattr(signed, name))
        for place in range(len(data)):
            for bit in range(8):
                changed = bytearray(data)
                changed[place] ^= 1 << bit
                bad = msgspec.structs.replace(signed, **{name: b64url(bytes(changed))})
                with pytest.raises(BadRecord):
                    open_record(bad, PUBLIC)


def test_another_registry_is_refused() -> None:
    signed = sign_record(record(), b"\x78" * 32)
    with pytest.raises(BadRecord, match="not signed by"):
        open_record(signed, PUBLIC)


def test_signature_over_the_bare_text_is_refused() -> None:
    text = b64url_decode(sign_record(record(), SEED).signed)
    bare = Ed25519PrivateKey.from_private_bytes(SEED).sign(text)
    with pytest.raises(BadRecord):
        open_record(SignedRecord(signed=b64url(text), signature=b64url(bare)), PUBLIC)


@pytest.mark.parametrize(
    "fields",
    [
        {"keys": {}},
        {"keys": {1: CENTRAL_KEY, 2: CENTRAL_KEY, 3: CENTRAL_KEY}},
        {"keys": {0: CENTRAL_KEY}},
        {"keys": {2**32: CENTRAL_KEY}},
        {"keys": {1: CENTRAL_KEY[:-1]}},
        {"rev": -1},
        {"rev": 2**53},
        {"not_after_ms": -1},
        {"not_after_ms": 2**53},
        {"username": ""},
        {"username": "a" * 65},
        {"entity": ""},
        {"entity": "a\nb"},
        {"station_id": ""},
        {"status": "asleep"},
    ],
)
def test_illegal_records_are_not_signed(fields: dict[str, Any]) -> None:
    with pytest.raises(BadRecord):
        sign_record(record(**fields), SEED)


KEY = b64url(CENTRAL_KEY).encode()


@pytest.mark.parametrize(
    "change",
    [
        (b'"rev":7', b'"rev": 7'),
        (b'"rev":7', b'"rev":7.0'),
        (b'"rev":7', b'"rev":true'),
        (b'"rev":7', b'"rev":7,"zone":1'),
        (b'"role":"cp"', b'"role":"boss"'),
        (b'"role":"cp"', b'"role":1'),
        (b'"1":', b'"01":'),
        (b'"1":', b'"one":'),
        (b'"keys":{', b'"keys":{"1":"' + KEY + b'",'),
        (b"}", b"} "),
        (b"CP-1", b"\xff"),
        (b'"not_after_ms":null,', b""),
    ],
)
def test_other_texts_are_refused_even_when_signed(change: tuple[bytes, bytes]) -> None:
    text = b64url_decode(sign_record(record(), SEED).signed)
    assert open_record(resign(text), PUBLIC) == record()
    changed = text.replace(*change)
    assert changed != text
    with pytest.raises(BadRecord):
        open_record(resign(changed), PUBLIC)


@given(st.text(max_size=60), st.text(max_size=90))
def test_any_text_gives_bad_record(signed: str, signature: str) -> None:
    with pytest.raises(BadRecord):
        open_record(SignedRecord(signed=signed, signature=signature), PUBLIC)


@given(st.binary(max_size=200) | st.sampled_from([b"[" * 2000, b"{}" * 2000, b" " * 3000]))
def test_any_signed_bytes_give_bad_record(text: bytes) -> None:
    with pytest.raises(BadRecord):
        open_record(resign(text), PUBLIC)
