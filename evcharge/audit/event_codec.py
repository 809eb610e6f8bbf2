"""Domain events ↔ bodies of log records (FORMAT.md, "Bodies").

A body is msgpack ``[kind, version, {at_ms, clock_ms, actor, source, by, trace, data}]``: the kind is the event's name
in snake case, ``data`` the event's own fields. Integers, strings, bytes and booleans only; a field that has its default
is left out, and so are ``by`` and ``trace`` where nobody said them: an old record means the same to a newer program.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import msgspec

from evcharge.audit.control import KINDS
from evcharge.domain.events import EVENTS, Event
from evcharge.domain.words import Stamp


class UnknownKind(ValueError):
    """A record of a kind or version that this program does not know: it was written by a newer one."""


class LoggedEvent(NamedTuple):
    """One decoded record."""

    stamp: Stamp
    event: Event


class _Written(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The fields of a stamp: these four are always there, ``by`` and ``trace`` only where somebody said them."""

    at_ms: int
    clock_ms: int
    actor: str
    source: str
    by: str | None = None
    trace: str | None = None
    data: Event


class _Read(Stamp, frozen=True, kw_only=True):
    data: msgspec.Raw


def kind_of(event_type: type[Event]) -> str:
    """``ChargeAuthorized`` → ``charge_authorized``."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", event_type.__name__).lower()


_KINDS: dict[type[Event], str] = {event_type: kind_of(event_type) for event_type in EVENTS}
_DECODERS = {
    (kind, version): msgspec.msgpack.Decoder(event_type)
    for event_type, kind in _KINDS.items()
    for version in range(event_type.SINCE, event_type.VERSION + 1)
}
# Maps keep their order (it means something: the first substation takes the charge points that are not named), and no
# event holds a set; so the same event gives the same bytes in every process.
_ENCODER = msgspec.msgpack.Encoder()
_HEAD = msgspec.msgpack.Decoder(tuple[str, int, msgspec.Raw])
_BODY = msgspec.msgpack.Decoder(_Read)


def encode(event: Event, stamp: Stamp) -> bytes:
    """The body of the record of ``event``."""
    written = _Written(
        at_ms=stamp.at_ms,
        clock_ms=stamp.clock_ms,
        actor=stamp.actor,
        source=stamp.source,
        by=stamp.by,
        trace=stamp.trace,
        data=event,
    )
    return _ENCODER.encode((_KINDS[type(event)], event.VERSION, written))


def decode(body: bytes) -> LoggedEvent | None:
    """The event of a body; None for a record of the log's own (``control.KINDS``).

    Raises:
        UnknownKind: written by a newer program; that one has to read it.
        msgspec.DecodeError: not a body at all.
    """
    try:
        kind, version, rest = _HEAD.decode(body)
        if kind in KINDS:
            return None
        decoder = _DECODERS.get((kind, version))
        if decoder is None:
            raise UnknownKind(f"record kind {kind!r} version {version}: start a newer evcharge on this log")
        read = _BODY.decode(rest)
        stamp = Stamp(
            at_ms=read.at_ms,
            clock_ms=read.clock_ms,
            actor=read.actor,
            source=read.source,
            by=read.by,
            trace=read.trace,
        )
        return LoggedEvent(stamp, decoder.decode(read.data))
    except UnicodeDecodeError as error:
        # msgspec lets this one through as it is.
        raise msgspec.DecodeError(f"a text in the body is not UTF-8: {error.reason}") from error
