"""Under which key a record is published: the charge point's that it is about, in order (docs/kafka.md).

Most records of a charge name their session only. So the charge point of every session is remembered from the record
that began it; what is learned is stored beside the position, in the same transaction, and is there after a restart.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

# The key of records that are about no charge point: no charge point is called that.
NO_CHARGE_POINT = "*"
# Sessions, places in line and reservations that are remembered; of more, the oldest are forgotten. A site of 10,000
# connectors has begun so many within some hours, and hears of none for longer than it lasts.
MOST_SESSIONS = 50_000
# Longest name that is remembered, in characters: Central's own have 30.
NAME_CHARS = 128
# What a ticket's name has before that of its session.
_TICKET = "t-"
_NAMED_BY = ("session_id", "waiting_id", "reservation_id")


class Learned(NamedTuple):
    """What is to be stored with the record that said it."""

    session: str
    cp_id: str | None
    """None: it is forgotten."""


def learn(charges: dict[str, str], learned: Iterable[Learned]) -> None:
    """Keep ``charges``, charge points by session, as what is stored."""
    for each in learned:
        if each.cp_id is None:
            charges.pop(each.session, None)
        else:
            charges[each.session] = each.cp_id


class Keys:
    """The memory. Its order is that in which sessions began."""

    def __init__(self, known: Mapping[str, str] | None = None, most: int = MOST_SESSIONS) -> None:
        """``known``: charge points by session, the oldest first, as they were stored."""
        self._cp_of: dict[str, str] = dict(known or {})
        self._most = most

    def __len__(self) -> int:
        """Sessions that are remembered."""
        return len(self._cp_of)

    def key_of(self, data: Mapping[str, Any]) -> tuple[str, list[Learned]]:
        """The key of a record with these fields, and what it teaches."""
        sessions = list(_sessions(data))
        cp_id = _named(data)
        if cp_id is None:
            known = (self._cp_of.get(session) for session in sessions)
            cp_id = next((found for found in known if found is not None), None)
        if cp_id is None:
            return NO_CHARGE_POINT, []
        learned: list[Learned] = []
        for session in sessions:
            # A session never moves: what was said first stays.
            if session not in self._cp_of and len(session) <= NAME_CHARS:
                self._cp_of[session] = cp_id
                learned.append(Learned(session, cp_id))
        while len(self._cp_of) > self._most:
            oldest = next(iter(self._cp_of))
            del self._cp_of[oldest]
            learned.append(Learned(oldest, None))
        return cp_id, learned


def _named(data: Mapping[str, Any]) -> str | None:
    """The charge point that the record itself names; a ticket lies one level deeper, a peer is an entity."""
    ticket = data.get("ticket")
    found = data.get("cp_id") or (ticket.get("cp_id") if isinstance(ticket, dict) else None)
    if found is None and data.get("role") in ("engine", "monitor"):
        found = data.get("entity")
    if isinstance(found, str) and 0 < len(found) <= NAME_CHARS and found != NO_CHARGE_POINT:
        return found
    return None


def _sessions(data: Mapping[str, Any]) -> Iterator[str]:
    """The names under which the record speaks of a charge: a session, a place in line, a reservation, a ticket."""
    for name in _NAMED_BY:
        if isinstance(value := data.get(name), str) and value:
            yield value
    ticket = data.get("ticket")
    if isinstance(ticket, dict) and isinstance(value := ticket.get("session_id"), str) and value:
        yield value
    if isinstance(value := data.get("ticket_id"), str) and value.startswith(_TICKET):
        yield value.removeprefix(_TICKET)
