"""What has to become of a message: the table of requests is what counts, the topic only brings them. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

import msgspec

from evcharge.sidecar.authority.queue import read_waiting
from evcharge.sidecar.authority.tables import Decision

# Of a dead message that is kept, in bytes: one of ours has 6,000 at most, others may have what a broker takes.
DEAD_BYTES = 64 * 1024
# Of its key: one of ours has 36. With the headers a dead message stays below 80 KiB.
KEY_BYTES = 1024
# As the sidecar makes them; whatever else stands in a message never gets to the database.
_REQUEST_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Death(StrEnum):
    """Why a message is put aside, for programs; ``DEATHS`` has it for people."""

    UNREADABLE = "unreadable"
    BAD_FIELDS = "bad_fields"
    UNKNOWN_REQUEST = "unknown_request"
    ALTERED = "altered"


DEATHS = {
    Death.UNREADABLE: "It is no message of this sidecar, or its secrets cannot be opened with this sidecar's keys.",
    Death.BAD_FIELDS: "The request has a field that is not valid.",
    Death.UNKNOWN_REQUEST: "No request of this id was accepted here; each database needs a topic of its own.",
    Death.ALTERED: "It is not what was accepted under this id; the accepted request stays in the queue.",
}


class Known(NamedTuple):
    """What the tables have of a request."""

    decision: str | None
    reason: str | None
    number: int | None
    """Of its row in the queue; None: it has none any more."""
    data: bytes | None
    """Of the same row."""


class Fate(NamedTuple):
    """What to do with one message."""

    request_id: str | None
    """Known only where the tables know it."""
    open: bool = False
    """It waits for its decision."""
    death: Death | None = None
    number: int | None = None
    """The row that is over with it."""


def named(value: bytes, key: bytes | None) -> str | None:
    """The request that a message is about: by itself, or by its key when it cannot be read."""
    waiting = read_waiting(value)
    text = (key or b"").decode("ascii", "replace") if waiting is None else waiting.request_id
    return text if _REQUEST_ID.fullmatch(text) else None


def fate(value: bytes, key: bytes | None, known: Mapping[str, Known]) -> Fate:
    """``known``: what the tables have of the requests that are named."""
    name = named(value, key)
    row = None if name is None else known.get(name)
    if row is None:
        return Fate(None, death=Death.UNREADABLE if read_waiting(value) is None else Death.UNKNOWN_REQUEST)
    if row.decision == Decision.INVALID.value:
        # Said by the table, not remembered: a crash between the decision and this brings the message again.
        return Fate(name, death=Death(row.reason or Death.UNREADABLE), number=row.number)
    if row.decision is None and (row.data is None or row.data == value):
        return Fate(name, open=True, number=row.number)
    if read_waiting(value) is None:
        return Fate(name, death=Death.UNREADABLE)
    if row.decision is None:
        return Fate(name, death=Death.ALTERED)
    return Fate(name, number=row.number)


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be written to a topic."""

    value: bytes
    key: bytes | None = None
    headers: Sequence[tuple[str, bytes]] = ()


def dead_message(
    why: Death, request_id: str | None, value: bytes, key: bytes | None, source: tuple[str, int, int]
) -> Message:
    """The letter that it becomes. ``source``: topic, partition and offset where it came from."""
    topic, partition, offset = source
    said: dict[str, object] = {
        "reason": why.value,
        "sentence": DEATHS[why],
        "source_topic": topic,
        "source_partition": partition,
        "source_offset": offset,
    }
    if request_id is not None:
        said["request_id"] = request_id
    if len(value) > DEAD_BYTES:
        said["cut_from_bytes"] = len(value)
    return Message(
        key=None if key is None else key[:KEY_BYTES],
        value=value[:DEAD_BYTES],
        headers=[(name, str(each).encode()) for name, each in said.items()],
    )
