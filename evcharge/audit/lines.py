"""Records as people and programs read them: one event a line, filtered by who, where, when and what."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from evcharge.audit.record import Record

_MS = 1_000
_STAMP = ("at_ms", "clock_ms", "actor", "source", "by", "trace")


class Line(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One record; ``data`` has its fields as they are in the log."""

    seq: int
    kind: str
    version: int
    at_ms: int | None = None
    """Site time; None for records of the log's own."""
    clock_ms: int | None = None
    actor: str = ""
    source: str = ""
    by: str | None = None
    """Whom the actor says it acted for."""
    trace: str | None = None
    """The request's id, by the actor's word."""
    data: dict[str, Any] = {}


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """What is wanted; None and empty: everything."""

    since_ms: int | None = None
    until_ms: int | None = None
    actor: str = ""
    cp: str = ""
    session: str = ""
    driver: str = ""
    by: str = ""
    trace: str = ""
    kinds: frozenset[str] = frozenset()

    def takes(self, line: Line) -> bool:
        """Whether the line is wanted. Records of the log's own only when their kind is asked for, or nothing is."""
        if self.kinds and line.kind not in self.kinds:
            return False
        if line.at_ms is None:
            return bool(self.kinds) or self == Filter()
        if self.since_ms is not None and line.at_ms < self.since_ms:
            return False
        if self.until_ms is not None and line.at_ms >= self.until_ms:
            return False
        if self.actor and self.actor not in (line.actor, line.actor.partition(":")[2]):
            return False
        if (self.by and self.by != line.by) or (self.trace and self.trace != line.trace):
            return False
        about = about_of(line.data)
        wanted = (("cp_id", self.cp), ("session_id", self.session), ("driver_id", self.driver))
        return all(not value or about.get(name) == value for name, value in wanted)


def about_of(data: Mapping[str, Any]) -> dict[str, Any]:
    """Whom a record is about; tickets lie one level deeper, peers have an entity."""
    about: dict[str, Any] = dict(data)
    if isinstance(ticket := data.get("ticket"), dict):
        about.update(ticket)
    for name in ("waiting_id", "reservation_id"):
        # A place in the line and a reservation have the id of the session that they become.
        if name in data:
            about.setdefault("session_id", data[name])
    if "entity" in data:
        name = "driver_id" if data.get("role") == "driver" else "cp_id"
        about.setdefault(name, data["entity"])
    return about


def line_of(record: Record) -> Line:
    """A record taken apart. A body that is none becomes a line of kind `unreadable`: nothing is hidden."""
    try:
        kind, version, rest = msgspec.msgpack.decode(record.body, type=tuple[str, int, dict[str, Any]])
        stamp = {name: rest.pop(name) for name in _STAMP if name in rest}
        data = rest.pop("data", rest)
        line: dict[str, Any] = {"seq": record.seq, "kind": kind, "version": version, "data": data}
        return msgspec.convert(line | stamp, Line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, AttributeError):
        return Line(seq=record.seq, kind="unreadable", version=0, data={"body": record.body.hex()})


def asker(by: str | None, trace: str | None) -> str:
    """Whom an actor says it acted for, and by which request, for people; empty where it said neither."""
    said = ([f"for {by}"] if by else []) + ([f"request {trace}"] if trace else [])
    return ", ".join(said)


def when(at_ms: int | None) -> str:
    """Site time as ISO 8601 with milliseconds, UTC; blank for what has none."""
    if at_ms is None:
        return ""
    try:
        moment = datetime.fromtimestamp(at_ms / _MS, UTC)
    except (OverflowError, ValueError, OSError):
        return f"{at_ms} ms"
    return f"{moment:%Y-%m-%d %H:%M:%S}.{at_ms % _MS:03}"


def parse_when(text: str) -> int:
    """ISO 8601, UTC unless it says otherwise, as milliseconds. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * _MS)


def fields(data: Mapping[str, Any]) -> str:
    """A record's fields in one line: name=value, bytes in hex, nested ones as JSON."""
    return " ".join(f"{name}={_value(value)}" for name, value in data.items())


def _value(value: Any) -> str:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, str):
        return value if value and " " not in value else msgspec.json.encode(value).decode()
    return msgspec.json.encode(value).decode()
