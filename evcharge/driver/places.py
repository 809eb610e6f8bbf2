"""What a driver's program knows of the places where it waits; pure bookkeeping, like ``following``."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

import msgspec

from evcharge.driver.following import remember
from protocol.messages import SessionView, WaitingView

WAITING, OFFERED, LEFT = "WAITING", "OFFERED", "LEFT"
SERVED = "served"
# Why a place is over of which Central tells nothing any more: the news was lost with the link.
GONE = "gone"
# A session in one of these is open: with the id of a place it is that place's offer, or what became of it.
_OPEN = frozenset({"AUTHORIZED", "SUPPLYING", "PAUSED", "OFFLINE"})
# What one waits for, for people; codes of ``refused``.
WAITS_FOR = {
    "busy": "a free connector",
    "no_capacity": "power",
    "reserved": "the end of a reservation",
    "disconnected": "the charge point to come back",
    "out_of_order": "the connector to be repaired",
    "substation_lost": "its substation to come back",
    "duplicate_id": "its charge point to be one again",
    "stopped": "the operator to open it",
    "limited": "the operator to allow it more power",
    "weather": "better weather",
}


def place_of(session_id: str) -> str:
    """The place that a session comes from, if it comes from one: a second offer has ``.2`` behind it (SPEC §7.8)."""
    return session_id.partition(".")[0]


class Places:
    """The newest view of each place, and a bell that rings with each change."""

    def __init__(self) -> None:
        self._newest: OrderedDict[str, WaitingView] = OrderedDict()
        self.changed = asyncio.Event()

    def take(self, view: WaitingView) -> None:
        """News, or an answer. Who was served keeps the session of his offer, however fast one followed the other."""
        known = self._newest.get(view.waiting_id)
        if known is not None and view.state == LEFT and view.reason == SERVED:
            view = msgspec.structs.replace(view, session_id=known.session_id)
        remember(self._newest, view.waiting_id, view)
        self._ring()

    def answer(self, view: WaitingView) -> None:
        """The answer to a request. An offer or an end that came right behind it was handled first, and stays."""
        known = self._newest.get(view.waiting_id)
        if known is None or known.state == WAITING or view.state != WAITING:
            self.take(view)

    def compare(self, waiting_id: str, rows: list[WaitingView], after: str | None = None) -> None:
        """Central's list of all own places: one that is missing there is over.

        An offer or an end that came right behind the list was handled first, and stays; ``after``: an offer of which it
        is known that it was missed, and that does not.
        """
        for row in rows:
            known = self._newest.get(row.waiting_id)
            newer = known is not None and (
                known.state == LEFT
                or (known.state == OFFERED and known.session_id != after and row.session_id in (None, after))
            )
            if not newer:
                self.take(row)
        if all(row.waiting_id != waiting_id for row in rows):
            self.over(waiting_id, None)

    def over(self, waiting_id: str, session_id: str | None) -> None:
        """A place that Central does not list: it became ``session_id``, or nobody knows what became of it."""
        known = self._newest.get(waiting_id)
        if known is not None and known.state != LEFT:
            left = WaitingView(waiting_id=waiting_id, state=LEFT, cp_id=known.cp_id, connector=known.connector)
            reason = GONE if session_id is None else SERVED
            remember(self._newest, waiting_id, msgspec.structs.replace(left, reason=reason, session_id=session_id))
            self._ring()

    def session(self, view: SessionView) -> None:
        """News of a session: it is the offer of the place with its id, where the news of that went with the link."""
        known = self._newest.get(place_of(view.session_id))
        if known is not None and known.state == WAITING and view.state in _OPEN:
            offered = msgspec.structs.replace(known, state=OFFERED, session_id=view.session_id, place=0)
            self.take(
                msgspec.structs.replace(
                    offered, cp_id=view.cp_id, connector=view.connector, offered_until_ms=view.expires_ms
                )
            )

    def newest(self, waiting_id: str) -> WaitingView | None:
        """The newest view of a place."""
        return self._newest.get(waiting_id)

    def _ring(self) -> None:
        """Wake who waits; the next wait is for the next change."""
        self.changed.set()
        self.changed = asyncio.Event()
