"""A driver's side of the channel: requests, news about own sessions, tickets handed over exactly once.

A session ends for its driver with a ticket, or without one when it never started (state EXPIRED). News may be
lost while the link is down; then ``list`` and ``tickets`` tell what became of each session, so nobody waits
for ever.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Protocol

import msgspec

from evcharge.driver.following import Following, Outcome, Tracked, remember
from evcharge.driver.link import CONNECT_S, Link, Unreachable
from evcharge.driver.places import LEFT, WAITING, Places, place_of
from evcharge.net.asking import ClientMaker
from evcharge.net.client import ChannelInfo, Client, Refusal, RequestFailed, RequestRefused
from evcharge.net.clock import Clock
from protocol import messages as m
from protocol.credentials import Credential

__all__ = [
    "ClientMaker",
    "DriverClient",
    "Outcome",
    "Refusal",
    "RequestFailed",
    "RequestRefused",
    "Unreachable",
    "Watcher",
]

# How long a waiting session goes without news before Central is asked about it, in seconds.
ASK_AGAIN_S = 15.0
# Between two questions that had no answer because the link was down, in seconds: as long as a reconnection takes.
PAUSE_S = 1.0


class Watcher(Protocol):
    """Who wants to know; called on the loop, must not block."""

    def link(self, *, up: bool, why: str) -> None:
        """The channel came up or went down."""

    def update(self, session: m.SessionView) -> None:
        """News about one of the driver's sessions."""

    def place(self, view: m.WaitingView) -> None:
        """News about a place where the driver waits."""

    def reservation(self, view: m.ReservationView) -> None:
        """News about one of the driver's reservations."""

    def ticket(self, ticket: m.TicketView) -> bool:
        """A ticket, or one with a new adjustment. True: it is handed over and Central need not send it again."""


class DriverClient:
    """One driver's connection to Central. Use as ``async with``: it connects on entry and closes on exit."""

    def __init__(
        self,
        credential: Credential,
        host: str,
        port: int,
        *,
        clock: Clock,
        entropy: Callable[[int], bytes],
        watcher: Watcher | None = None,
        connect_s: float = CONNECT_S,
        make_client: ClientMaker = Client,
    ) -> None:
        self.driver_id = credential.entity
        self._watcher = watcher
        self._following = Following()
        self._places = Places()
        self._handed: OrderedDict[tuple[str, tuple[int, ...]], bool] = OrderedDict()
        self._asking: asyncio.Task[None] | None = None
        self._link = Link(
            credential,
            host,
            port,
            clock=clock,
            listener=self,
            entropy=entropy,
            connect_s=connect_s,
            make_client=make_client,
        )

    async def __aenter__(self) -> DriverClient:
        self.come_back()
        try:
            await self.connected()
        except BaseException:
            await self.leave()
            raise
        return self

    async def __aexit__(self, *_error: object) -> None:
        # The end is no news to whoever ends it; a ticket that comes now stays with Central for the next time.
        self._watcher = None
        await self.leave()

    # --- the link -----------------------------------------------------------------------------------------------------

    @property
    def up(self) -> bool:
        """A channel is open."""
        return self._link.up

    async def connected(self) -> None:
        """Wait for the channel.

        Raises:
            Refusal: Central turned this driver away for good.
            Unreachable: there is no channel after ``connect_s`` seconds.
        """
        await self._link.connected()

    async def leave(self) -> None:
        """Close the link and stay away. Sessions go on without their driver."""
        asking, self._asking = self._asking, None
        if asking is not None:
            asking.cancel()
        await self._link.leave()
        if asking is not None:
            await asyncio.gather(asking, return_exceptions=True)

    def come_back(self) -> None:
        """Connect again after ``leave``."""
        self._link.come_back()

    async def drop(self) -> None:
        """Cut the link and connect anew, as a phone does that loses its network."""
        await self.leave()
        self.come_back()
        await self.connected()

    # --- requests -----------------------------------------------------------------------------------------------------

    async def charge_points(self) -> list[m.ChargePointView]:
        """All charge points, page by page.

        Raises RequestRefused, RequestFailed, Refusal; so do all requests.
        """
        rows: list[m.ChargePointView] = []
        async for reply in self._link.pages(lambda after: m.List(id=0, after=after)):
            rows += reply.charge_points or []
        return rows

    async def tickets(self) -> list[m.TicketView]:
        """All of this driver's tickets, newest first."""
        rows: list[m.TicketView] = []
        async for reply in self._link.pages(lambda after: m.Tickets(id=0, after=after)):
            rows += reply.tickets or []
        return rows

    async def charge(
        self, cp_id: str, connector: int = 0, energy_wh: int | None = None, depart_by_ms: int | None = None
    ) -> m.SessionView:
        """Ask for a charge; the authorized session, which is followed from now on."""
        request = m.ChargeRequest(
            id=0, cp_id=cp_id, connector=connector, energy_wh=energy_wh, depart_by_ms=depart_by_ms
        )
        return self._granted(await self._link.request(request), cp_id)

    async def charge_or_wait(
        self,
        cp_id: str,
        connector: int = 0,
        energy_wh: int | None = None,
        depart_by_ms: int | None = None,
        *,
        on_the_way: bool = False,
    ) -> m.SessionView | m.WaitingView:
        """Ask for a charge; where a connector or power is missing, the place in the line (``turn``).

        ``on_the_way``: the driver still has to come; what is free is kept for 15 minutes.
        """
        request = m.ChargeRequest(
            id=0,
            cp_id=cp_id,
            connector=connector,
            energy_wh=energy_wh,
            depart_by_ms=depart_by_ms,
            wait=True,
            on_the_way=on_the_way,
        )
        reply = await self._link.request(request)
        if reply.waiting is None:
            return self._granted(reply, cp_id)
        self._places.answer(reply.waiting)
        return reply.waiting

    def _granted(self, reply: m.Reply, cp_id: str) -> m.SessionView:
        session = reply.session
        if session is None:
            session = m.SessionView(session_id=reply.session_id or "", state="AUTHORIZED", cp_id=cp_id)
        self.follow(session.session_id, session)
        return session

    async def turn(self, waiting_id: str, after: str | None = None) -> m.WaitingView:
        """Wait until a place has an offer (``session_id``) or is over; ``after``: an offer that was missed.

        A place whose end went with the link and that became a session is over with its ``session_id``. Raises Refusal.
        """
        while True:
            newest = self._places.newest(waiting_id)
            if newest is not None and newest.state != WAITING:
                missed = after is not None and newest.session_id == after
                if not missed:
                    return newest
                if newest.state == LEFT:
                    return msgspec.structs.replace(newest, session_id=None)
            try:
                await self._link.guard(self._places.changed.wait(), ASK_AGAIN_S)
            except TimeoutError:
                with suppress(RequestRefused, RequestFailed):
                    await self._look(waiting_id, after)

    async def still_waiting(self, session_id: str) -> m.WaitingView | None:
        """The place that is left after an offer which ended before it began; None: there is none, or no more.

        Raises Refusal.
        """
        waiting_id = place_of(session_id)
        while True:
            with suppress(RequestRefused, RequestFailed):
                await self._look(waiting_id, session_id)
                break
            with suppress(TimeoutError):
                await self._link.guard(asyncio.Event().wait(), PAUSE_S)
        newest = self._places.newest(waiting_id)
        return None if newest is None or newest.state == LEFT else newest

    def place(self, waiting_id: str) -> m.WaitingView | None:
        """The newest view of a place, over or not."""
        return self._places.newest(waiting_id)

    async def _look(self, waiting_id: str, after: str | None) -> None:
        """Ask where this driver waits; of a place that is over, find the session that it became (not ``after``).

        Raises as a request does.
        """
        rows = await self.queue()
        known = self._places.newest(waiting_id)
        if any(row.waiting_id == waiting_id for row in rows) or known is None or known.state == LEFT:
            self._places.compare(waiting_id, rows, after)
            return
        listed = [view.session_id for row in await self.charge_points() for view in row.connectors]
        tickets = {ticket.session_id: ticket for ticket in await self.tickets()}
        for session_id in (*listed, *tickets):
            if session_id is not None and session_id != after and place_of(session_id) == waiting_id:
                if session_id in tickets:
                    self._following.end(Outcome(session_id=session_id, ticket=tickets[session_id], asked=True))
                self._places.over(waiting_id, session_id)
                return
        self._places.over(waiting_id, None)

    async def queue(self) -> list[m.WaitingView]:
        """Where this driver waits."""
        return (await self._link.request(m.Queue(id=0))).queue or []

    async def leave_queue(self, waiting_id: str) -> None:
        """Give a place up."""
        await self._link.request(m.LeaveQueue(id=0, waiting_id=waiting_id))

    async def reserve(
        self, cp_id: str, from_ms: int, until_ms: int, connector: int = 0, energy_wh: int | None = None
    ) -> m.ReservationView:
        """Reserve a connector for later."""
        request = m.Reserve(
            id=0, cp_id=cp_id, from_ms=from_ms, until_ms=until_ms, connector=connector, energy_wh=energy_wh
        )
        made = (await self._link.request(request)).reservation
        if made is None:
            raise RequestFailed("Central did not say what it reserved; 'reservations' shows it.")
        return made

    async def reservations(self) -> list[m.ReservationView]:
        """This driver's reservations."""
        return (await self._link.request(m.Reservations(id=0))).reservations or []

    async def cancel_reservation(self, reservation_id: str) -> None:
        """Give a reservation back."""
        await self._link.request(m.CancelReservation(id=0, reservation_id=reservation_id))

    async def end(self, session_id: str) -> None:
        """End a session; the ticket follows when the final meter is known."""
        await self._link.request(m.EndCharge(id=0, session_id=session_id))

    async def recommend(self, wish: m.Recommend) -> m.RecommendationView:
        """Where to charge; the ``id`` of ``wish`` does not matter. Nothing is reserved."""
        reply = await self._link.request(wish)
        if reply.recommendation is None:
            raise RequestFailed("Central answered without a recommendation; it may be an older one.")
        return reply.recommendation

    async def why(self, session_id: str | None = None) -> m.WhyView:
        """Why a session of this driver gets what it gets; None: the newest open one."""
        reply = await self._link.request(m.Why(id=0, session_id=session_id))
        if reply.why is None:
            raise RequestFailed("Central answered without a reason; it may be an older one.")
        return reply.why

    async def own_session_at(self, cp_id: str, connector: int = 0) -> str | None:
        """The session of this driver at a charge point that is open and followed by nobody here, if any.

        For a request whose answer was lost: Central may have granted it.
        """
        for row in await self.charge_points():
            if row.cp_id != cp_id:
                continue
            for view in row.connectors:
                own = view.session_id is not None and connector in (0, view.connector)
                if own and view.session_id not in self._following.tracked:
                    return view.session_id
        return None

    def confirm(self, ticket_id: str) -> bool:
        """Tell Central that a ticket has arrived. False without a channel: it will be sent again then."""
        return self._link.send(m.TicketReceived(ticket_id=ticket_id))

    # --- sessions -----------------------------------------------------------------------------------------------------

    def follow(self, session_id: str, session: m.SessionView | None = None) -> None:
        """From now on keep what happens to a session until ``outcome`` has told it."""
        self._following.follow(session_id, session)

    async def watch(self, session_id: str) -> AsyncIterator[m.SessionView]:
        """Each newest view of a followed session until it ends; what comes faster than it is read is skipped.

        Raises Refusal.
        """
        tracked = self._following.tracked[session_id]
        shown: m.SessionView | None = None
        while True:
            if tracked.session is not None and tracked.session is not shown:
                shown = tracked.session
                yield shown
            elif tracked.outcome is not None:
                return
            else:
                await self._news_of(tracked)

    async def outcome(self, session_id: str) -> Outcome:
        """Wait until a followed session has ended. Raises Refusal."""
        tracked = self._following.tracked[session_id]
        while tracked.outcome is None:
            await self._news_of(tracked)
        self._following.forget(session_id)
        return tracked.outcome

    def newest(self, session_id: str) -> m.SessionView | None:
        """The newest view of a session that Central told; only the newest sessions are remembered."""
        return self._following.newest.get(session_id)

    def has_ended(self, session_id: str) -> bool:
        """Whether a session is known to be over; only the newest ones are remembered."""
        return session_id in self._following.ended

    def forget(self, session_id: str) -> None:
        """Nobody waits for this session any more."""
        self._following.forget(session_id)

    async def _news_of(self, tracked: Tracked) -> None:
        """Wait for a change; after a while without one ask Central."""
        try:
            await self._link.guard(tracked.changed.wait(), ASK_AGAIN_S)
        except TimeoutError:
            self._ask()

    def _ask(self) -> None:
        """Find out about all followed sessions; one question at a time is enough for all who wait."""
        busy = self._asking is not None and not self._asking.done()
        if self._following.waiting and not busy:
            self._asking = asyncio.create_task(self._find_out(), name=f"sessions of {self.driver_id}")

    async def _find_out(self) -> None:
        """Settle every followed session that Central does not list: by its ticket, or as never started.

        A session that ends between the two questions is in the second answer.
        """
        waiting = self._following.waiting
        try:
            rows = await self.charge_points()
            listed = {connector.session_id for row in rows for connector in row.connectors}
            gone = [session_id for session_id in waiting if session_id not in listed]
            tickets = {ticket.session_id: ticket for ticket in await self.tickets()} if gone else {}
        except (RequestRefused, RequestFailed, Refusal):
            # The link went down again; the next channel or the next wait asks anew.
            return
        for session_id in gone:
            ticket = tickets.get(session_id)
            why = "" if ticket else "never started"
            self._following.end(Outcome(session_id=session_id, ticket=ticket, why=why, asked=True))

    # --- Listener -----------------------------------------------------------------------------------------------------

    def channel_up(self, info: ChannelInfo) -> None:  # noqa: ARG002  # part of the interface
        """Part of ``Listener``."""
        if self._watcher is not None:
            self._watcher.link(up=True, why="")
        self._ask()

    def channel_down(self, why: str) -> None:
        """Part of ``Listener``."""
        if self._watcher is not None:
            self._watcher.link(up=False, why=why)

    def message(self, message: m.Message) -> None:
        """Part of ``Listener``: news and tickets; answers to requests do not come here."""
        if isinstance(message, m.Ticket):
            self._take(message)
        elif isinstance(message, m.Update):
            self._update(message)
        elif isinstance(message, m.Waiting):
            if self._watcher is not None:
                self._watcher.place(message)
            self._places.take(message)
        elif isinstance(message, m.Reservation) and self._watcher is not None:
            self._watcher.reservation(message)

    def _take(self, ticket: m.Ticket) -> None:
        """Hand a ticket over, then confirm it. One that comes again was handed over; only its confirmation
        was lost.
        """
        key = (ticket.ticket_id, tuple(ticket.adjustments))
        handed = key in self._handed
        if not handed and self._watcher is not None:
            handed = self._watcher.ticket(ticket)
        self._following.end(Outcome(session_id=ticket.session_id, ticket=ticket))
        if handed:
            remember(self._handed, key, True)
            self.confirm(ticket.ticket_id)

    def _update(self, session: m.Update) -> None:
        if self._watcher is not None:
            self._watcher.update(session)
        self._following.update(session)
        self._places.session(session)
