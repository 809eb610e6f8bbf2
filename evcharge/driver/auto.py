"""The automated driver: one request after the other from a file of points, with faults on purpose if asked
for.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from enum import Enum
from typing import Any, Protocol

import msgspec

from evcharge.driver.client import DriverClient, RequestFailed, RequestRefused, Unreachable
from evcharge.driver.following import STARTED, Outcome
from evcharge.driver.scripted import Summary, Wish
from protocol import messages as m

# Wall seconds between two requests (features.md, timings).
PAUSE_S = 4.0
# The reason that stands in the summary when no answer came.
NO_ANSWER = "no_answer"

Sleep = Callable[[float], Awaitable[object]]


class Say(Protocol):
    """Tells a happening to whoever runs the command."""

    def __call__(self, what: str, **fields: Any) -> None: ...


class FaultKind(Enum):
    """What an automated driver may do wrong."""

    DISCONNECT = "disconnect"
    """The link is cut right after the authorization, and comes back."""
    VANISH = "vanish"
    """The driver goes away after the authorization and does not wait; the session goes on without it."""
    END_EARLY = "end-early"
    """The driver ends the session as soon as it runs."""
    DUPLICATE = "duplicate"
    """The same request is sent a second time."""


class Faults(msgspec.Struct, frozen=True):
    """How often, and which. ``rate`` is a probability per request."""

    rate: float = 0.0
    kinds: tuple[FaultKind, ...] = tuple(FaultKind)

    def draw(self, dice: random.Random) -> FaultKind | None:
        """The fault of the next request, or None. Both numbers are always drawn, so that runs are comparable."""
        hit, kind = dice.random() < self.rate, dice.choice(self.kinds)
        return kind if hit else None


class Collector:
    """Counts tickets of all sessions of a run, whenever they come; a ``Watcher``."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self.tickets: dict[str, m.TicketView] = {}
        self.states: dict[str, str] = {}

    def link(self, *, up: bool, why: str) -> None:
        """Part of ``Watcher``."""
        if up:
            self._say("connected")
        else:
            self._say("disconnected", why=why)

    def update(self, session: m.SessionView) -> None:
        """Part of ``Watcher``: says it when a session's state changes."""
        if self.states.get(session.session_id) != session.state:
            self.states[session.session_id] = session.state
            self._say(
                "state",
                session_id=session.session_id,
                state=session.state,
                cp_id=session.cp_id,
                energy_wh=session.energy_wh,
                reason=session.reason,
            )

    def place(self, view: m.WaitingView) -> None:
        """Part of ``Watcher``."""
        self._say("waiting", **msgspec.structs.asdict(view))

    def reservation(self, view: m.ReservationView) -> None:
        """Part of ``Watcher``."""
        self._say("reservation", **msgspec.structs.asdict(view))

    def ticket(self, ticket: m.TicketView) -> bool:
        """Part of ``Watcher``: a ticket is handed over once it is said."""
        self.tickets[ticket.ticket_id] = ticket
        self._say("ticket", **msgspec.structs.asdict(ticket))
        return True

    def add_to(self, summary: Summary, sessions: set[str]) -> None:
        """Put the tickets of these sessions into the summary."""
        own = [ticket for ticket in self.tickets.values() if ticket.session_id in sessions]
        summary.tickets = len(own)
        summary.started = len({ticket.session_id for ticket in own})
        summary.energy_wh = sum(ticket.energy_wh + sum(ticket.adjustments) for ticket in own)
        summary.amount_minor = sum(ticket.amount_minor for ticket in own)


class PointsRun:
    """One run over a file of points."""

    def __init__(
        self,
        client: DriverClient,
        collector: Collector,
        say: Say,
        *,
        faults: Faults,
        dice: random.Random,
        sleep: Sleep,
        pause_s: float = PAUSE_S,
    ) -> None:
        self._client = client
        self._collector = collector
        self._say = say
        self._faults = faults
        self._dice = dice
        self._sleep = sleep
        self._pause_s = pause_s
        self._sessions: set[str] = set()
        self._summary = Summary()

    async def run(self, wishes: Sequence[Wish]) -> Summary:
        """Request, wait for the ticket or the refusal, pause, next. Raises Refusal."""
        for number, wish in enumerate(wishes, start=1):
            if number > 1:
                await self._sleep(self._pause_s)
            self._summary.sessions += 1
            await self._one(f"{number}:{wish.cp_id}", wish)
        return self.summary()

    def summary(self) -> Summary:
        """What it came to until now."""
        self._collector.add_to(self._summary, self._sessions)
        return self._summary

    async def _one(self, label: str, wish: Wish) -> None:
        fault = self._faults.draw(self._dice)
        self._say("request", label=label, cp_id=wish.cp_id, energy_wh=wish.energy_wh)
        try:
            session = await self._client.charge(wish.cp_id, energy_wh=wish.energy_wh)
        except RequestRefused as refusal:
            self._refused(label, refusal.reason, refusal.sentence)
            return
        except RequestFailed as failure:
            self._refused(label, NO_ANSWER, failure.sentence)
            return
        self._summary.authorized += 1
        self._sessions.add(session.session_id)
        self._say("authorized", label=label, session_id=session.session_id, expires_ms=session.expires_ms)
        if fault is not None:
            self._say("fault", label=label, kind=fault.value)
        if fault is FaultKind.VANISH:
            await self._vanish(session.session_id)
            return
        await self._misbehave(fault, label, session, wish)
        self._settled(label, await self._client.outcome(session.session_id))

    async def _misbehave(self, fault: FaultKind | None, label: str, session: m.SessionView, wish: Wish) -> None:
        try:
            if fault is FaultKind.DISCONNECT:
                await self._client.drop()
            elif fault is FaultKind.DUPLICATE:
                await self._ask_twice(label, session, wish)
            elif fault is FaultKind.END_EARLY:
                await self._end_early(session.session_id)
        except (RequestRefused, RequestFailed, Unreachable) as error:
            # The session is what counts: its end is awaited whatever became of the fault.
            self._say("fault_failed", label=label, why=str(error))

    async def _ask_twice(self, label: str, session: m.SessionView, wish: Wish) -> None:
        try:
            second = await self._client.charge(wish.cp_id, session.connector, wish.energy_wh)
        except RequestRefused as refusal:
            self._say("duplicate_refused", label=label, reason=refusal.reason)
            return
        if second.session_id != session.session_id:
            # Nobody ordered it: ended at once, and said, because Central should have refused it.
            self._say("duplicate_granted", label=label, session_id=second.session_id)
            await self._client.end(second.session_id)
            self._client.forget(second.session_id)

    async def _end_early(self, session_id: str) -> None:
        async for view in self._client.watch(session_id):
            if view.state in STARTED:
                await self._client.end(session_id)
                return

    async def _vanish(self, session_id: str) -> None:
        self._client.forget(session_id)
        await self._client.leave()
        await self._sleep(self._pause_s)
        self._client.come_back()
        await self._client.connected()

    def _refused(self, label: str, reason: str, sentence: str) -> None:
        self._summary.refused += 1
        self._summary.refusals[label] = reason
        self._say("refused", label=label, reason=reason, sentence=sentence)

    def _settled(self, label: str, outcome: Outcome) -> None:
        if outcome.ticket is None:
            self._summary.expired += 1
            self._say("expired", label=label, session_id=outcome.session_id, why=outcome.why)
        elif outcome.ticket.ticket_id not in self._collector.tickets:
            # Found by asking, because its message was lost; Central sends it again, and then it is confirmed.
            self._collector.ticket(outcome.ticket)
