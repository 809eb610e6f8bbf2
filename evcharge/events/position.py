"""What stands on the compacted topic of positions: how far each log was published, and where its sessions charge.

Keys are ``LOG/TOPIC`` for the position and ``LOG/TOPIC/SESSION`` for a session; values are JSON. All of it is written
in the transaction of the messages that it is about, so it is never ahead of them and never behind.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from evcharge.events.keys import Learned


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """How far it is."""

    seq: int
    """The last record that was published; 0: none yet."""
    sha256: str | None = None
    """Of that record's stored body, hex: another log has another one. None: it is not known."""
    instance: str = ""
    """Which start of which publisher wrote this."""
    at_ms: int = 0
    """When, UTC."""


class _Charge(msgspec.Struct, frozen=True):
    cp_id: str


class Row(NamedTuple):
    """One message of the topic; ``value`` None: the key is to be forgotten."""

    key: bytes
    value: bytes | None


class Kept(NamedTuple):
    """What the topic says of one log."""

    position: Position | None
    """None: nothing of this log was ever published."""
    charges: dict[str, str]
    """Charge points by session, the oldest first."""


def rows_of(name: str, position: Position, learned: Iterable[Learned]) -> list[Row]:
    """What is written with a transaction; ``name`` is ``LOG/TOPIC``. The position comes last."""
    # A session that began and was forgotten within one transaction leaves only its end.
    last = {each.session: each.cp_id for each in learned}
    rows = [
        Row(f"{name}/{session}".encode(), None if cp_id is None else msgspec.json.encode(_Charge(cp_id)))
        for session, cp_id in last.items()
    ]
    return [*rows, Row(name.encode(), msgspec.json.encode(position))]


def kept_of(name: str, rows: Iterable[Row]) -> Kept:
    """What all committed messages of the topic, in their order, say of ``name``.

    Raises:
        ValueError: one under its keys is none of this program's.
    """
    own, before = name.encode(), f"{name}/".encode()
    position: Position | None = None
    charges: dict[str, str] = {}
    try:
        for row in rows:
            if row.key == own:
                position = None if row.value is None else _POSITION.decode(row.value)
            elif row.key.startswith(before):
                session = row.key[len(before) :].decode()
                if row.value is None:
                    charges.pop(session, None)
                else:
                    charges[session] = _CHARGE.decode(row.value).cp_id
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ValueError(f"{error}") from error
    return Kept(position, charges)


def after(messages: Sequence[tuple[int, bytes]], instance: str, at_ms: int) -> Position:
    """The position behind these messages, each its number and its digest."""
    seq, digest = messages[-1]
    return Position(seq=seq, sha256=digest.hex(), instance=instance, at_ms=at_ms)


_POSITION = msgspec.json.Decoder(Position)
_CHARGE = msgspec.json.Decoder(_Charge)
