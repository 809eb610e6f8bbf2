"""What a driver's program knows of its sessions: the newest view, and how each one ended; pure bookkeeping."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TypeVar

import msgspec

from protocol.messages import SessionView, TicketView

K = TypeVar("K")
V = TypeVar("V")

# Tickets, views and ended sessions that are remembered, so that a repeat is known as one.
REMEMBERED = 4096

# A session in one of these has begun to supply; a ticket follows.
STARTED = frozenset({"SUPPLYING", "PAUSED", "OFFLINE", "COMPLETED", "INTERRUPTED"})
# A session in one of these is over and has no ticket.
WITHOUT_TICKET = frozenset({"EXPIRED", "DENIED"})


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How a session ended: with a ticket, or without one because it never started."""

    session_id: str
    ticket: TicketView | None
    why: str = ""
    """For a session without a ticket: the reason that Central gave."""
    asked: bool = False
    """Central was asked, and no ``ticket`` message came: another program of the same driver took it."""


class Tracked:
    """A session that somebody here waits for."""

    def __init__(self, session: SessionView | None, outcome: Outcome | None) -> None:
        self.session = session
        self.outcome = outcome
        self.changed = asyncio.Event()

    def change(self) -> None:
        """Wake who waits; the next wait is for the next change."""
        self.changed.set()
        self.changed = asyncio.Event()


class Following:
    """Followed sessions in full, and the newest views and ends of all sessions, followed or not."""

    def __init__(self) -> None:
        self.tracked: dict[str, Tracked] = {}
        self.newest: OrderedDict[str, SessionView] = OrderedDict()
        self.ended: OrderedDict[str, Outcome] = OrderedDict()

    @property
    def waiting(self) -> list[str]:
        """Followed sessions whose end is not known."""
        return [session_id for session_id, tracked in self.tracked.items() if tracked.outcome is None]

    def follow(self, session_id: str, session: SessionView | None = None) -> None:
        """From now on keep what happens to a session."""
        if session_id not in self.tracked:
            # News may have come between Central's answer and this call; it is newer than the answer.
            newest = self.newest.get(session_id, session)
            self.tracked[session_id] = Tracked(newest, self.ended.get(session_id))

    def forget(self, session_id: str) -> None:
        """Nobody waits for this session any more."""
        self.tracked.pop(session_id, None)

    def update(self, session: SessionView) -> None:
        """News from Central."""
        remember(self.newest, session.session_id, session)
        tracked = self.tracked.get(session.session_id)
        if tracked is not None:
            tracked.session = session
            tracked.change()
        if session.state in WITHOUT_TICKET:
            why = session.reason or "never started"
            self.end(Outcome(session_id=session.session_id, ticket=None, why=why))

    def end(self, outcome: Outcome) -> None:
        """A session is over. A ticket overrules an end without one: a start was on its way after all."""
        known = self.ended.get(outcome.session_id)
        if known is not None and known.ticket is not None and outcome.ticket is None:
            return
        remember(self.ended, outcome.session_id, outcome)
        tracked = self.tracked.get(outcome.session_id)
        if tracked is not None:
            tracked.outcome = outcome
            tracked.change()


def remember(memory: OrderedDict[K, V], key: K, value: V) -> None:
    """Keep the newest entries only."""
    memory[key] = value
    memory.move_to_end(key)
    while len(memory) > REMEMBERED:
        memory.popitem(last=False)
