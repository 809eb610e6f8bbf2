"""Rows of the tables from sessions and records. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from evcharge.net.tail import Record
from evcharge.sidecar.history import kinds as k
from evcharge.sidecar.history.changes import Row
from evcharge.sidecar.history.memory import Open
from evcharge.sidecar.history.spread import LAST_MS


def session_of(record: Record) -> str | None:
    """The session that a record is about, or the place in the line or reservation that becomes one."""
    about = _about(record.data)
    return _text(about, "session_id") or _text(about, "waiting_id") or _text(about, "reservation_id")


def record_row(record: Record, known: Open | None) -> Row:
    """A record as it is kept; of a session that is ``known`` what the record itself does not say."""
    data, about = record.data, _about(record.data)
    cp_id = _text(about, "cp_id") or (None if known is None else known.cp_id)
    if cp_id is None and data.get("role") in k.LASTING:
        cp_id = _text(data, "entity")
    driver_id = _text(about, "driver_id") or (None if known is None else known.driver_id)
    if driver_id is None and record.actor.startswith("driver:"):
        driver_id = record.actor.removeprefix("driver:")
    grant = data.get("grant")
    limits: dict[str, Any] = grant if isinstance(grant, dict) else data
    return {
        "seq": record.seq,
        "at_ms": instant_of(record),
        "kind": record.kind[:64],
        "cp_id": cp_id,
        "connector": _number(about, "connector") if known is None else known.connector,
        "session_id": session_of(record),
        "driver_id": driver_id,
        "node_id": _text(data, "node_id") or _text(data, "substation_id"),
        "limit_w": _number(limits, "limit_w"),
        "reason": _text(about, "reason") or _text(about, "cause"),
        "data": _packed(record),
    }


def session_row(one: Open) -> Row:
    """A session as it is now."""
    return {
        "session_id": one.session_id,
        "seq": one.seq,
        "last_seq": one.last_seq,
        "cp_id": one.cp_id,
        "connector": one.connector,
        "driver_id": one.driver_id,
        "substation_id": one.substation_id,
        "status": one.status,
        "authorized_ms": one.authorized_ms,
        "min_w": one.min_w,
        "max_w": one.max_w,
        "requested_wh": one.requested_wh,
        "start_ms": one.start_ms,
        "end_ms": one.end_ms,
        "stop": one.stop,
        "energy_wh": one.energy_wh,
        "amount_minor": one.amount_minor,
        "currency": one.currency,
        "co2_g": one.co2_g,
        "ticket_id": one.ticket_id,
        "provisional": one.provisional,
    }


def _about(data: dict[str, Any]) -> dict[str, Any]:
    """The fields that name what a record is about: a ticket has its own."""
    ticket = data.get("ticket")
    return ticket if isinstance(ticket, dict) else data


def instant_of(record: Record) -> int:
    """Site time; the log's own records have none, and none of those comes here."""
    return min(max(record.at_ms or 0, 0), LAST_MS)


def _text(data: dict[str, Any], name: str) -> str | None:
    """A name of ordinary length."""
    value = data.get(name)
    if not isinstance(value, str) or len(value) > 128:
        return None
    # PostgreSQL has no NUL in a text.
    return value.replace("\0", "") or None


def _number(data: dict[str, Any], name: str) -> int | None:
    value = data.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53 else None


def _packed(record: Record) -> bytes:
    # What Central is configured with is long, and the log has it.
    kept = {} if record.kind == "central_started" else record.data
    packed = msgspec.msgpack.encode(kept)
    return packed if len(packed) <= k.DATA_BYTES else b"\x80"
