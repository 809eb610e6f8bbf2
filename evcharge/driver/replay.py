"""Sessions of a file played in site time: each car asks when it arrives, all at once where they overlap.

A car that is refused because of something that passes (the bay is still taken, no capacity, a charge point
that is not connected yet) asks again until it has to leave. One that waits stands in line for it instead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from evcharge.driver.auto import NO_ANSWER, Collector, Say, Sleep
from evcharge.driver.client import DriverClient, RequestFailed, RequestRefused
from evcharge.driver.following import Outcome
from evcharge.driver.places import GONE
from evcharge.driver.scripted import Stay, Summary
from evcharge.net.clock import Clock
from protocol.messages import WaitingView

# Wall seconds between two requests of one waiting car.
RETRY_S = 0.25
# Requests per second of all waiting cars of one account: Central reads 50 messages/s of a peer (SPEC §5).
RETRIES_PER_S = 40.0
# Requests of one account under way at once.
IN_FLIGHT = 32
# Longest nap while waiting for an instant of site time, in wall seconds: a frozen clock may start at any
# moment.
NAP_S = 0.25
# Refusals that pass with time. An unknown charge point is one that has not connected to Central yet.
PASSING = frozenset(
    {
        "busy",
        "already_charging",
        "no_capacity",
        "substation_lost",
        "disconnected",
        "unknown_charge_point",
        "unknown_connector",
        "out_of_order",
        "stopped",
        "limited",
        "weather",
        "too_many_sessions",
        "overloaded",
        "draining",
    }
)
# The reason of a car whose time was over before Central gave an answer.
DEPARTED = "departed"


# Why a place is over that may be asked for again: it was lost with the link, or the charge point did not take it.
REJECTED = "rejected"


class _Left(Exception):
    """The place in the line is over without a session."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class SessionsRun:
    """One run over a file of sessions."""

    def __init__(
        self,
        clients: Mapping[str, DriverClient],
        collector: Collector,
        say: Say,
        *,
        clock: Clock,
        sleep: Sleep,
    ) -> None:
        """``clients``: by driver. A session's label picks its driver; a single driver takes all sessions."""
        self._clients = clients
        self._collector = collector
        self._say = say
        self._clock = clock
        self._sleep = sleep
        self._waiting = 0
        self._turnstile = asyncio.Semaphore(IN_FLIGHT)
        self._sessions: set[str] = set()
        self._summary = Summary()

    async def run(self, stays: Sequence[Stay]) -> Summary:
        """Play all stays (by arrival) until every session is settled. Raises Refusal inside an
        ExceptionGroup.
        """
        self._summary.sessions = len(stays)
        async with asyncio.TaskGroup() as cars:
            for stay in stays:
                await self._until(stay.arrive_ms)
                cars.create_task(self._one(stay), name=f"session {stay.session}")
        summary = self.summary()
        # A session that was given up as never started may have got its ticket after all.
        summary.expired = summary.authorized - summary.started
        return summary

    def summary(self) -> Summary:
        """What it came to until now."""
        self._collector.add_to(self._summary, self._sessions)
        return self._summary

    def driver_of(self, stay: Stay) -> DriverClient:
        """Who asks for this stay. KeyError when there are several drivers and none has the label's name."""
        if len(self._clients) == 1:
            return next(iter(self._clients.values()))
        return self._clients[stay.session]

    async def _one(self, stay: Stay) -> None:
        client = self.driver_of(stay)
        session_id = await self._ask(client, stay)
        if session_id is None:
            return
        self._summary.authorized += 1
        while True:
            self._sessions.add(session_id)
            outcome = await client.outcome(session_id)
            if outcome.ticket is not None or not stay.wait or self._clock.site_ms() >= stay.depart_ms:
                break
            # An offer that ended before the vehicle was there: it keeps its place, and has another turn.
            try:
                again = await self._granted(client, stay, look_first=False)
            except (RequestRefused, RequestFailed, _Left):
                break
            if again == session_id:
                break
            session_id = again
        self._settled(stay, outcome)

    async def _ask(self, client: DriverClient, stay: Stay) -> str | None:
        """Ask until there is a session, a lasting refusal or the departure."""
        reason, sentence, doubtful = DEPARTED, "The car left before Central answered.", False
        self._say("request", label=stay.session, cp_id=stay.cp_id, energy_wh=stay.energy_wh)
        while self._clock.site_ms() < stay.depart_ms:
            try:
                session_id = await self._granted(client, stay, look_first=doubtful)
            except _Left as left:
                reason, sentence = left.reason, "It waited, and its turn did not come."
                if left.reason not in (GONE, REJECTED):
                    break
                doubtful = True
            except RequestRefused as refusal:
                reason, sentence = refusal.reason, refusal.sentence
                if reason not in PASSING:
                    break
            except RequestFailed as failure:
                # The answer is lost, so Central may have granted it: look for the session before asking
                # again.
                reason, sentence, doubtful = NO_ANSWER, failure.sentence, True
            else:
                self._say("authorized", label=stay.session, session_id=session_id)
                return session_id
            await self._pause()
        self._summary.refused += 1
        self._summary.refusals[stay.session] = reason
        self._say("refused", label=stay.session, reason=reason, sentence=sentence)
        return None

    async def _granted(self, client: DriverClient, stay: Stay, *, look_first: bool) -> str:
        """The session of one request, after its turn in the line if it waits. Raises _Left and as a request does."""
        answer = await self._request(client, stay, look_first=look_first)
        if isinstance(answer, str):
            return answer
        self._say("waiting", label=stay.session, waiting_id=answer.waiting_id, place=answer.place)
        over = await client.turn(answer.waiting_id)
        if over.session_id is None:
            raise _Left(over.reason or GONE)
        client.follow(over.session_id)
        return over.session_id

    async def _request(self, client: DriverClient, stay: Stay, *, look_first: bool) -> str | WaitingView:
        async with self._turnstile:
            if look_first:
                found = await client.own_session_at(stay.cp_id, stay.connector)
                if found is not None:
                    client.follow(found)
                    return found
            ask = client.charge_or_wait if stay.wait else client.charge
            answer = await ask(stay.cp_id, stay.connector, stay.energy_wh, stay.depart_ms)
            return answer if isinstance(answer, WaitingView) else answer.session_id

    async def _pause(self) -> None:
        self._waiting += 1
        try:
            await self._sleep(max(RETRY_S, self._waiting / RETRIES_PER_S / len(self._clients)))
        finally:
            self._waiting -= 1

    async def _until(self, instant_ms: int) -> None:
        while (left_ms := instant_ms - self._clock.site_ms()) > 0:
            await self._sleep(min(NAP_S, left_ms / 1000 / self._clock.speed))

    def _settled(self, stay: Stay, outcome: Outcome) -> None:
        if outcome.ticket is None:
            self._say("expired", label=stay.session, session_id=outcome.session_id, why=outcome.why)
        elif outcome.ticket.ticket_id not in self._collector.tickets:
            self._collector.ticket(outcome.ticket)
