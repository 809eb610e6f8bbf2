"""A record of Central's log as a message of Kafka: key, headers, value (docs/kafka.md is the format)."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from hashlib import sha256
from typing import Literal

import msgspec

from evcharge.events.keys import Keys, Learned
from evcharge.net.tail import Record

Format = Literal["json", "msgpack"]
CONTENT_TYPES: dict[Format, bytes] = {"json": b"application/json", "msgpack": b"application/msgpack"}
# Longest value, in bytes: a body has at most 1 MiB (FORMAT.md §2), and JSON writes no byte of it with more than six.
MOST_VALUE = 6 << 20
# What stands around a value at most: key, names and values of headers, and Kafka's own framing.
AROUND = 4_096

Headers = tuple[tuple[str, bytes], ...]


class Value(msgspec.Struct, frozen=True, kw_only=True):
    """What a message says. Every field but the last two is always there; null is nothing."""

    seq: int
    kind: str
    version: int
    at_ms: int | None
    """Site time, UTC; null for records of the log's own."""
    clock_ms: int | None
    actor: str
    source: str
    by: str | None
    trace: str | None
    data: object
    """The event's own fields; of one that is cut, null."""
    body: str | msgspec.UnsetType = msgspec.UNSET
    """The record as it is stored, base64, where its fields cannot be written in this format."""
    sha256: str | msgspec.UnsetType = msgspec.UNSET
    """Of the stored body, hex, where the message is cut."""


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """What is sent, and what is stored with it."""

    seq: int
    digest: bytes
    """SHA-256 of the record's stored body."""
    key: bytes
    value: bytes
    headers: Headers
    learned: Sequence[Learned] = ()
    cut: bool = False

    @property
    def size(self) -> int:
        """Bytes, as far as they matter for a limit."""
        return len(self.key) + len(self.value) + sum(len(name) + len(value) for name, value in self.headers) + 64


def message_of(record: Record, keys: Keys, log_name: str, form: Format, *, cut: bool = False) -> Message:
    """The message of ``record``. With ``cut`` a small one that stands for it: no ``data``, but the body's hash."""
    digest = sha256(record.body)
    key, learned = keys.key_of(record.data)
    value = _stand_in(record, digest.hexdigest(), form) if cut else _written(record, form)
    headers = [
        ("log", log_name.encode()),
        ("schema", b"evcharge." + record.kind.encode(errors="replace")),
        ("version", b"%d" % record.version),
        ("seq", b"%d" % record.seq),
        ("content-type", CONTENT_TYPES[form]),
    ]
    if record.trace is not None:
        headers.append(("trace", record.trace.encode(errors="replace")))
    if cut:
        headers.append(("cut", b"1"))
    return Message(
        seq=record.seq,
        digest=digest.digest(),
        key=key.encode(errors="replace"),
        value=value,
        headers=tuple(headers),
        learned=learned,
        cut=cut,
    )


def _written(record: Record, form: Format) -> bytes:
    try:
        return _encode(_value(record, record.data), form)
    except (TypeError, ValueError, RecursionError, OverflowError):
        # MessagePack says more than JSON can: keys that are maps, other programs' types. Then the record goes as it is.
        body = base64.b64encode(record.body).decode()
        return _encode(msgspec.structs.replace(_value(record, None), body=body), form)


def _stand_in(record: Record, digest: str, form: Format) -> bytes:
    return _encode(msgspec.structs.replace(_value(record, None), sha256=digest), form)


def _value(record: Record, data: object) -> Value:
    # Of a record that this program cannot take apart, the bytes are all there is to say.
    unread = record.kind == "unreadable" and record.version == 0 and data is not None
    return Value(
        seq=record.seq,
        kind=record.kind,
        version=record.version,
        at_ms=record.at_ms,
        clock_ms=record.clock_ms,
        actor=record.actor,
        source=record.source,
        by=record.by,
        trace=record.trace,
        data=None if unread else data,
        body=base64.b64encode(record.body).decode() if unread else msgspec.UNSET,
    )


def _encode(value: Value, form: Format) -> bytes:
    return _JSON.encode(value) if form == "json" else _MSGPACK.encode(value)


_JSON = msgspec.json.Encoder()
_MSGPACK = msgspec.msgpack.Encoder()
