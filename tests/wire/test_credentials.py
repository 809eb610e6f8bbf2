"""Passwords, derived keys and credential files: strict, canonical, and silent about their secret."""

from __future__ import annotations

import json
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.credentials import (
    Credential,
    CredentialError,
    Role,
    b64url,
    b64url_decode,
    decode_password,
    encode_password,
    key_id,
    public_key,
    static_private_key,
)
from tests.support.wire import CENTRAL, CENTRAL_KEY, credential

SECRET = bytes(range(32))
PASSWORD = "evc1_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8_awAXn"


@given(st.binary(min_size=32, max_size=32))
def test_password_round_trip(secret: bytes) -> None:
    password = encode_password(secret)
    assert len(password) == 54 and decode_password(password) == secret


def test_every_changed_character_is_refused() -> None:
    assert decode_password(PASSWORD) == SECRET
    alphabet = string.ascii_letters + string.digits + "-_+/= \né"
    for place in range(len(PASSWORD)):
        for char in alphabet:
            changed = PASSWORD[:place] + char + PASSWORD[place + 1 :]
            if changed != PASSWORD:
                with pytest.raises(CredentialError):
                    decode_password(changed)


@pytest.mark.parametrize(
    "bad", ["", PASSWORD[:-1], PASSWORD + "A", " " + PASSWORD, PASSWORD + "\n", "evc2" + PASSWORD[4:]]
)
def test_wrong_shape_is_refused(bad: str) -> None:
    with pytest.raises(CredentialError, match="54 characters"):
        decode_password(bad)


def test_unused_bits_must_be_zero() -> None:
    # 43 characters hold 258 bits: the last character of the secret has two to spare.
    changed = PASSWORD[:47] + chr(ord(PASSWORD[47]) + 1) + PASSWORD[48:]
    with pytest.raises(CredentialError):
        decode_password(changed)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_secret_size(size: int) -> None:
    with pytest.raises(CredentialError):
        encode_password(bytes(size))
    with pytest.raises(CredentialError):
        static_private_key(bytes(size), "u", Role.CP, 1)


def test_each_input_changes_the_key() -> None:
    inputs: list[tuple[bytes, str, Role, int]] = [
        (SECRET, "u", Role.CP, 1),
        (bytes(32), "u", Role.CP, 1),
        (SECRET, "v", Role.CP, 1),
        (SECRET, "u", Role.MONITOR, 1),
        (SECRET, "u", Role.CP, 2),
    ]
    assert len({static_private_key(*one) for one in inputs}) == len(inputs)


@pytest.mark.parametrize("name", ["", "é" * 33, "a" * 65, "a\n", "a\0", "\ud800"])
def test_illegal_names(name: str) -> None:
    with pytest.raises(CredentialError):
        static_private_key(SECRET, name, Role.CP, 1)


@pytest.mark.parametrize("epoch", [0, -1, 2**32])
def test_illegal_epochs(epoch: int) -> None:
    with pytest.raises(CredentialError):
        static_private_key(SECRET, "u", Role.CP, epoch)


@given(st.binary(max_size=40))
def test_base64url_is_one_to_one(data: bytes) -> None:
    text = b64url(data)
    assert b64url_decode(text) == data and "=" not in text


@given(st.text(alphabet=string.ascii_letters + string.digits + "-_+/=é ", max_size=8))
def test_base64url_takes_only_what_it_writes(text: str) -> None:
    try:
        data = b64url_decode(text)
    except ValueError:
        return
    assert b64url(data) == text


def test_json_round_trip_and_extra_fields() -> None:
    later = public_key(bytes([9]) * 32)
    one = Credential(
        username="cp-1", password=PASSWORD, role=Role.CP, entity="CP-1", epoch=3,
        central_public_key=CENTRAL_KEY, central_next=later,
    )  # fmt: skip
    raw = json.loads(one.to_json())
    assert raw["central"] == {"kid": b64url(key_id(CENTRAL_KEY)), "public_key": b64url(CENTRAL_KEY)}
    assert raw["role"] == "cp" and raw["epoch"] == 3
    raw["registry"] = {"url": "later"}
    assert Credential.from_json(json.dumps(raw).encode()) == one


def test_answer_has_every_field_even_at_its_default() -> None:
    assert list(json.loads(credential().to_json())) == ["username", "password", "role", "entity", "epoch", "central"]
    assert json.loads(CENTRAL.to_json())["entity"] == "" and json.loads(CENTRAL.to_json())["epoch"] == 1


def test_credential_derives_its_keys() -> None:
    one = credential()
    assert one.private_key() == static_private_key(SECRET, "cp-1", Role.CP, 1)
    assert one.public_key() == public_key(one.private_key())


def test_central_needs_no_pinned_key() -> None:
    raw = json.loads(CENTRAL.to_json())
    assert Credential.from_json(CENTRAL.to_json()) == CENTRAL
    del raw["central"]
    assert Credential.from_json(json.dumps(raw).encode()).central_public_key == CENTRAL_KEY
    raw["central"] = json.loads(credential().to_json())["central"] | {
        "kid": b64url(key_id(credential().public_key())),
        "public_key": b64url(credential().public_key()),
    }
    with pytest.raises(CredentialError, match="Central's password"):
        Credential.from_json(json.dumps(raw).encode())


def _changed(**fields: Any) -> bytes:
    raw = json.loads(credential().to_json())
    raw.update(fields)
    return json.dumps({name: value for name, value in raw.items() if value is not ...}).encode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{",
        b"\xff",
        b"[" * 5000,
        b" " * 4097,
        b"[" * 4000,
        _changed(role="boss"),
        _changed(role=1),
        _changed(epoch="1"),
        _changed(epoch=0),
        _changed(username=""),
        _changed(entity=""),
        _changed(entity=...),
        _changed(password=PASSWORD[:-1] + "x"),
        _changed(password=...),
        _changed(central=...),
        _changed(central={"kid": "AAAAAAAAAAA", "public_key": b64url(CENTRAL_KEY)}),
        _changed(central={"kid": "AAAAAAAAAAA", "public_key": "!"}),
        _changed(central={"kid": b64url(key_id(b"x")), "public_key": b64url(b"x")}),
        _changed(central_next={"kid": "", "public_key": ""}),
    ],
)
def test_damaged_files_are_refused_without_quoting_them(data: bytes) -> None:
    with pytest.raises(CredentialError) as caught:
        Credential.from_json(data)
    assert "AAECAwQF" not in str(caught.value) and caught.value.__cause__ is None


def test_nothing_printed_holds_the_password() -> None:
    from rich.pretty import pretty_repr

    for shown in (repr(credential()), str(credential()), f"{credential()!r}", pretty_repr(credential())):
        assert "evc1" not in shown and "cp-1" in shown
