"""Registry records, signed with the registry's Ed25519 key (SPEC §2.5).

Central pins the registry's public key, so neither the transport nor a forged answer can admit anybody, and
Central may keep the records on its own disk.
"""

from __future__ import annotations

from typing import Literal

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from protocol.credentials import (
    KEY_SIZE,
    MAX_EPOCH,
    ROLES,
    CredentialError,
    Role,
    b64url,
    b64url_decode,
    check_name,
)

# Domain separation: a signature over a record can be nothing else. SPEC §2.5
_LABEL = b"evcharge/1 record\0"
# Bytes of an Ed25519 signature.
_SIGNATURE_SIZE = 64
# Largest record in bytes; two keys and two names need under 500. SPEC §2.5
MAX_RECORD = 2048
# At most two epochs are active while a credential rotates. SPEC §2.6
MAX_KEYS = 2
# Largest integer that every JSON reader keeps exact. SPEC §2.5
_MAX_INT = 2**53 - 1


class BadRecord(ValueError):
    """A record that is not signed by the pinned registry, or is not well-formed."""


class RegistryRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What the registry knows of one credential; public keys only.

    ``not_after_ms`` is UTC milliseconds, None for never; ``rev`` rises with every change in the registry;
    ``station_id`` is a charge point's UUID for the HTTP side.
    """

    username: str
    role: Role
    entity: str
    keys: dict[int, bytes]
    """Epoch → X25519 public key of 32 bytes; at most two epochs."""
    status: Literal["active", "revoked"]
    rev: int
    not_after_ms: int | None = None
    station_id: str | None = None


class SignedRecord(msgspec.Struct, frozen=True):
    """A record as it travels and is kept: both fields base64url without padding."""

    signed: str
    """The canonical JSON bytes of the record."""
    signature: str
    """Ed25519 over ``"evcharge/1 record\\0"`` and those bytes."""


class _RecordJson(msgspec.Struct):
    username: str
    role: str
    entity: str
    keys: dict[str, str]
    status: Literal["active", "revoked"]
    rev: int
    not_after_ms: int | None = None
    station_id: str | None = None


# Object keys in ascending order, no white space: one record has one text. SPEC §2.5
_ENCODER = msgspec.json.Encoder(order="sorted")
_DECODER = msgspec.json.Decoder(_RecordJson)


def sign_record(record: RegistryRecord, signing_key: bytes) -> SignedRecord:
    """Sign with the registry's key (the 32 seed bytes of Ed25519). Raises BadRecord for an illegal record."""
    data = _encode(record)
    signature = Ed25519PrivateKey.from_private_bytes(signing_key).sign(_LABEL + data)
    return SignedRecord(signed=b64url(data), signature=b64url(signature))


def open_record(signed: SignedRecord, registry_public: bytes) -> RegistryRecord:
    """The record, if the pinned registry signed exactly it. Raises BadRecord."""
    try:
        data = b64url_decode(signed.signed)
        signature = b64url_decode(signed.signature)
    except ValueError:
        raise BadRecord("The record is not base64url: ask the registry again.") from None
    if len(data) > MAX_RECORD or len(signature) != _SIGNATURE_SIZE:
        raise BadRecord("The record has an impossible size: ask the registry again.")
    try:
        Ed25519PublicKey.from_public_bytes(registry_public).verify(signature, _LABEL + data)
    except InvalidSignature:
        raise BadRecord("The record is not signed by the pinned registry: check its address and key.") from None
    return _decode(data)


def _encode(record: RegistryRecord) -> bytes:
    data = _ENCODER.encode(
        _RecordJson(
            username=record.username,
            role=record.role.label,
            entity=record.entity,
            keys={str(epoch): b64url(key) for epoch, key in record.keys.items()},
            status=record.status,
            rev=record.rev,
            not_after_ms=record.not_after_ms,
            station_id=record.station_id,
        )
    )
    _decode(data)
    return data


def _decode(data: bytes) -> RegistryRecord:
    try:
        raw = _DECODER.decode(data)
        record = RegistryRecord(
            username=raw.username,
            role=ROLES[raw.role],
            entity=raw.entity,
            keys={int(epoch): b64url_decode(key) for epoch, key in raw.keys.items()},
            status=raw.status,
            rev=raw.rev,
            not_after_ms=raw.not_after_ms,
            station_id=raw.station_id,
        )
        check_name(record.username, "username")
        if record.entity or record.role is not Role.CENTRAL:
            check_name(record.entity, "entity")
        if record.station_id is not None:
            check_name(record.station_id, "station_id")
        canonical = _ENCODER.encode(raw) == data
    except CredentialError as error:
        raise BadRecord(f"The record is not well-formed. {error}") from None
    except (msgspec.DecodeError, KeyError, ValueError, RecursionError):
        raise BadRecord("The record is not well-formed: is the registry of this version?") from None
    whole = (
        canonical
        and 1 <= len(record.keys) <= MAX_KEYS
        and all(1 <= epoch <= MAX_EPOCH and len(key) == KEY_SIZE for epoch, key in record.keys.items())
        # One spelling of each epoch, and none twice.
        and list(map(str, record.keys)) == list(raw.keys)
        and 0 <= record.rev <= _MAX_INT
        and (record.not_after_ms is None or 0 <= record.not_after_ms <= _MAX_INT)
    )
    if not whole:
        raise BadRecord("The record has a key, epoch, rev or time out of range.")
    return record
