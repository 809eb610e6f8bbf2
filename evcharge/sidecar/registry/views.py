"""A credential as it is shown: once with its secret, and without it for ever after."""

from __future__ import annotations

import msgspec

from protocol.credentials import Credential, b64url, encode_password
from protocol.records import RegistryRecord


class View(msgspec.Struct, frozen=True, kw_only=True):
    """A credential as /list and /get show it: public parts only. ``keys`` are epoch → base64url public key."""

    username: str
    role: str
    entity: str
    status: str
    rev: int
    keys: dict[str, str]
    not_after_ms: int | None = None
    station_id: str | None = None


def credential_json(username: str, secret: bytes, record: RegistryRecord, epoch: int, central: bytes) -> bytes:
    """The answer to a registration, exactly as a client keeps it; a charge point's also has its
    ``station_id``, and one that ends by itself ``not_after_ms``.
    """
    credential = Credential(
        username=username,
        password=encode_password(secret),
        role=record.role,
        entity=record.entity,
        epoch=epoch,
        central_public_key=central,
        central_next=None,
    )
    answer = msgspec.json.decode(credential.to_json(), type=dict[str, object])
    # The epoch always stands in the answer: another implementation must not have to know our default.
    answer["epoch"] = epoch
    if record.station_id is not None:
        answer["station_id"] = record.station_id
    if record.not_after_ms is not None:
        answer["not_after_ms"] = record.not_after_ms
    return msgspec.json.encode(answer)


def view(record: RegistryRecord) -> View:
    """What anyone with a token may see of a record."""
    return View(
        username=record.username,
        role=record.role.label,
        entity=record.entity,
        status=record.status,
        rev=record.rev,
        keys={str(epoch): b64url(key) for epoch, key in record.keys.items()},
        not_after_ms=record.not_after_ms,
        station_id=record.station_id,
    )
