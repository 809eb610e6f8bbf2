"""Records of the log as events of the stream: whole for who may read the log, reduced for everybody else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from evcharge.net.tail import Record
from evcharge.sidecar.gateway.site import masked
from evcharge.sidecar.live.rows import Incident
from evcharge.sidecar.live.sse import Audience, event

# Longest record that is sent with all it says, bytes of JSON: a set-point with its reasons has 1,000. The whole of a
# longer one (the site's configuration at a start) is in the log's pages and proofs.
RECORD_BYTES = 16 * 1024
# Characters of an incident's words that the picture keeps.
DETAIL_CHARS = 500

# What a viewer's tables show anyway: names of things, figures, and words that the program chose. Never a driver, an
# address, or a text that somebody wrote.
_VIEWED = frozenset(
    {
        "cp_id", "connector", "session_id", "waiting_id", "reservation_id", "ticket_id", "substation_id", "node_id",
        "from_id", "to_id", "root_id",
        "hold", "cause", "reason", "kind", "code", "status", "currency", "month", "occupied", "on_the_way", "simulated",
        "silent", "authentication", "count", "place", "missed", "n",
        "at_ms", "from_ms", "until_ms", "start_ms", "end_ms", "expires_ms", "depart_by_ms", "eta_ms",
        "energy_wh", "meter_wh", "final_meter_wh", "power_w", "average_w", "min_w", "max_w", "limit_w", "fallback_w",
        "capacity_w", "reserved_w", "most_w", "peak_w", "milli_c", "price_e4", "amount_minor", "co2_g", "adjustments",
        "provisional",
    }
)  # fmt: skip
# Maps of the same fields.
_NESTED = frozenset({"ticket", "grant"})


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """A record as a page gets it."""

    seq: int
    kind: str
    at_ms: int | None
    actor: str | None
    source: str | None
    by: str | None
    trace: str | None
    cp_id: str | None
    session_id: str | None
    driver_id: str | None
    data: Any
    cut: bool = False
    """It says more than is sent; ``data`` is empty."""


class Entry(NamedTuple):
    """A record, written for each audience."""

    seq: int
    written: tuple[bytes, bytes]
    """By ``Audience``."""

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.written[0]) + len(self.written[1])


def entry_of(record: Record) -> Entry:
    """Both at once: who looks at either is known only later."""
    return Entry(record.seq, (_written(record, Audience.WHOLE), _written(record, Audience.MASKED)))


def incident_of(record: Record) -> Incident | None:
    """The incident that a record reports."""
    if record.kind != "incident_raised":
        return None
    return incident(record.seq, record.at_ms, record.data)


def incident(seq: int, at_ms: int | None, data: Mapping[str, Any]) -> Incident:
    """Of the fields of such a record."""
    code, detail = (str(data.get(name, "")) for name in ("code", "detail"))
    return Incident(seq=seq, at_ms=at_ms, code=code, detail=detail[:DETAIL_CHARS])


def _written(record: Record, audience: Audience) -> bytes:
    whole = audience is Audience.WHOLE
    about = _about(record.data)
    driver = about.get("driver_id")
    told = Told(
        seq=record.seq,
        kind=record.kind,
        at_ms=record.at_ms,
        actor=record.actor if whole else None,
        source=record.source if whole else None,
        by=record.by if whole else None,
        trace=record.trace if whole else None,
        cp_id=about.get("cp_id"),
        session_id=about.get("session_id"),
        driver_id=driver if whole or driver is None else masked(driver),
        data=record.data if whole else viewed(record.data),
    )
    try:
        data = msgspec.json.encode(told)
    except (TypeError, ValueError, RecursionError, OverflowError):
        # MessagePack says more than JSON can: keys that are maps, other programs' types.
        data = b""
    if not 0 < len(data) <= RECORD_BYTES:
        data = msgspec.json.encode(msgspec.structs.replace(told, data={}, cut=True))
    return event("record", data, record.seq)


def _about(data: Mapping[str, Any]) -> dict[str, str]:
    """Whom it is about; a ticket lies one level deeper, a peer is an entity, a place in line becomes a session."""
    about: dict[str, Any] = {}
    ticket = data.get("ticket")
    for told in (data, ticket if isinstance(ticket, dict) else {}):
        for name in ("cp_id", "session_id", "driver_id"):
            about[name] = about.get(name) or told.get(name)
    about["session_id"] = about["session_id"] or data.get("waiting_id") or data.get("reservation_id")
    if "entity" in data:
        name = "driver_id" if data.get("role") == "driver" else "cp_id"
        if data.get("role") in ("driver", "engine", "monitor"):
            about[name] = about[name] or data["entity"]
    return {name: value for name, value in about.items() if isinstance(value, str)}


def _figures(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, int) for one in value)


def viewed(data: Mapping[str, Any]) -> dict[str, Any]:
    """What of it everybody may see who may see the site."""
    kept: dict[str, Any] = {}
    for name, value in data.items():
        if name == "driver_id" and isinstance(value, str):
            kept[name] = masked(value)
        elif name in _NESTED and isinstance(value, dict):
            kept[name] = viewed(value)
        elif name in _VIEWED and (value is None or isinstance(value, str | int | float) or _figures(value)):
            kept[name] = value
    return kept
