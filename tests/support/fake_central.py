"""A Central for tests of drivers: real protocol, sessions and tickets in memory, scripted by the test."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

import msgspec

from protocol import messages as m
from protocol.connection import Connection
from protocol.credentials import Credential
from protocol.errors import CloseCode, RefuseCode, RemoteProtocolError
from protocol.events import AuthPresented, Established, Grant, HelloReceived, MessageReceived
from tests.support.wire import CENTRAL, T0_MS

EURO_PER_KWH_E4 = 3000


class Link:
    """One connection of a peer."""

    def __init__(self, central: FakeCentral, writer: asyncio.StreamWriter) -> None:
        self.conn = Connection.server(central.credential, now=central.now(), entropy=os.urandom)
        self.writer = writer
        self.central = central
        self.entity = ""

    def send(self, message: m.Message) -> None:
        self.conn.send(message, self.central.now())
        self.flush()

    def flush(self) -> None:
        self.writer.write(self.conn.data_to_send())

    def close(self, code: CloseCode) -> None:
        self.conn.close(code, self.central.now())
        self.flush()
        self.writer.close()


class FakeCentral:
    """Use as ``async with``; listens on a free port of loopback."""

    def __init__(self, credential: Credential = CENTRAL) -> None:
        self.credential = credential
        self.port = 0
        self.links: list[Link] = []
        self.refuse: RefuseCode | None = None
        self.rows: list[m.ChargePointView] = []
        self.page_rows = m.MAX_ROWS
        self.refusals: dict[str, list[str]] = {}
        """Charge point → reasons for the next requests there; "*" as the last one stays."""
        self.silent: list[str] = []
        """Charge points whose next request is granted, but the link breaks before the answer."""
        self.sessions: dict[str, m.SessionView] = {}
        self.places: dict[str, m.WaitingView] = {}
        self.reserved: dict[str, m.ReservationView] = {}
        self.on_wait: Callable[[m.WaitingView], None] = lambda _place: None
        """Called after somebody came into the line."""
        self.on_queue: Callable[[], None] = lambda: None
        """Called after somebody asked where he waits."""
        self.ticket_book: dict[str, list[m.Ticket]] = {}
        self.confirmed: list[str] = []
        self.recommendation: m.RecommendationView | None = None
        self.reasons: dict[str, m.WhyView] = {}
        """By session; "" for the newest."""
        self.received: list[tuple[str, m.Message]] = []
        self.connections = 0
        self.on_request: Callable[[str, m.SessionView], None] = lambda _driver, _session: None
        """Called after a session was granted."""
        self.on_end: Callable[[str], None] = lambda session_id: self.finish(session_id, 0, "driver_ended")
        self.changed = asyncio.Condition()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> FakeCentral:
        await self.listen()
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.stop()

    async def listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and break every link."""
        assert self._server is not None
        self._server.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    # --- what tests do --------------------------------------------------------------------------------------------

    def cut(self) -> None:
        """Break every link without a word."""
        for link in list(self.links):
            link.writer.transport.abort()

    def close_links(self, code: CloseCode) -> None:
        for link in list(self.links):
            link.close(code)

    def update(self, session_id: str, **fields: Any) -> m.SessionView:
        """Change a session and tell its driver, if it is there."""
        session = msgspec.structs.replace(self.sessions[session_id], **fields)
        self.sessions[session_id] = session
        self._tell(session.driver_id, m.Update(**msgspec.structs.asdict(session)))
        return session

    def start(self, session_id: str, power_w: int = 7000) -> m.SessionView:
        return self.update(session_id, state="SUPPLYING", power_w=power_w, limit_w=power_w, reason="shared")

    def expire(self, session_id: str) -> None:
        self.update(session_id, state="EXPIRED", reason="expired")
        del self.sessions[session_id]

    def finish(self, session_id: str, energy_wh: int, reason: str = "target_reached") -> m.Ticket:
        """The session ends: its ticket is kept until it is confirmed, and sent."""
        session = self.sessions.pop(session_id)
        ticket = m.Ticket(
            ticket_id=f"t-{session_id}",
            session_id=session_id,
            cp_id=session.cp_id,
            driver_id=session.driver_id,
            substation_id="main",
            start_ms=T0_MS,
            end_ms=T0_MS + 3_600_000,
            duration_s=3600,
            energy_wh=energy_wh,
            price_e4=EURO_PER_KWH_E4,
            amount_minor=energy_wh * EURO_PER_KWH_E4 // 100_000,
            currency="EUR",
            status="COMPLETED",
            reason=reason,
            average_w=energy_wh,
            co2_g=energy_wh * 3 // 10,
        )
        self.ticket_book.setdefault(session.driver_id, []).insert(0, ticket)
        self._tell(session.driver_id, ticket)
        return ticket

    def move(self, waiting_id: str, **fields: Any) -> m.WaitingView:
        """Change a place and tell its driver, if it is there."""
        place = self.places[waiting_id] = msgspec.structs.replace(self.places[waiting_id], **fields)
        self._tell(place.driver_id, m.Waiting(**msgspec.structs.asdict(place)))
        return place

    def offer(self, waiting_id: str, session_id: str = "") -> m.SessionView:
        """It is its turn: a session holds the connector, that of a second offer with an id of its own."""
        until_ms = T0_MS + 300_000
        session_id = session_id or waiting_id
        place = self.move(waiting_id, state="OFFERED", session_id=session_id, offered_until_ms=until_ms, place=0)
        session = m.SessionView(
            session_id=session_id,
            state="AUTHORIZED",
            cp_id=place.cp_id,
            driver_id=place.driver_id,
            expires_ms=until_ms,
            currency="EUR",
        )
        self.sessions[session_id] = session
        return self.update(session_id)

    def miss(self, waiting_id: str) -> None:
        """Nobody plugs in: the offer ends, and the place goes on."""
        session_id = self.places[waiting_id].session_id
        assert session_id is not None
        self.expire(session_id)
        self.move(waiting_id, state="WAITING", session_id=None, offered_until_ms=None, place=1)

    def send_ticket(self, ticket: m.Ticket) -> None:
        self._tell(ticket.driver_id, ticket)

    async def until(self, fact: Callable[[], bool]) -> None:
        """Wait until something that links or messages bring about is true."""
        async with self.changed:
            await self.changed.wait_for(fact)

    def got(self, kind: type[m.Message]) -> list[Any]:
        """Messages of one kind so far."""
        return [message for _, message in self.received if isinstance(message, kind)]

    # --- the wire -------------------------------------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        link = Link(self, writer)
        try:
            while not link.conn.closed and (data := await reader.read(65536)):
                link.conn.receive_data(data, self.now())
                while (event := link.conn.next_event()) is not None:
                    self._handle(link, event)
                    link.flush()
                link.flush()
        except (ConnectionError, RemoteProtocolError):
            pass
        finally:
            self._tasks.discard(task)
            if link in self.links:
                self.links.remove(link)
            writer.close()
            await self._notify()

    def _handle(self, link: Link, event: object) -> None:
        match event:
            case HelloReceived():
                link.conn.reply_hello(T0_MS, self.now())
            case AuthPresented():
                self.connections += 1
                if self.refuse is not None:
                    link.conn.refuse(self.refuse, 0, self.now())
                else:
                    grant = Grant(sid=os.urandom(16), secret=os.urandom(32), t0_ms=T0_MS, fence=self.connections)
                    link.conn.accept(grant, self.now())
            case Established():
                link.entity = link.conn.entity
                self.links.append(link)
                for ticket in self.ticket_book.get(link.entity, []):
                    if ticket.ticket_id not in self.confirmed:
                        link.send(ticket)
            case MessageReceived():
                self.received.append((link.entity, event.message))
                self._answer(link, event.message)
        self._tasks.add(note := asyncio.ensure_future(self._notify()))
        note.add_done_callback(self._tasks.discard)

    async def _notify(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    def _tell(self, driver_id: str, message: m.Message) -> None:
        for link in self.links:
            if link.entity == driver_id and link.conn.ready:
                link.send(message)

    def _answer(self, link: Link, message: m.Message) -> None:
        match message:
            case m.List():
                rows = [self._row(row, link.entity) for row in self.rows]
                page, following = self._page(rows, message.after)
                link.send(m.Reply(re=message.id, charge_points=page, next=following))
            case m.Tickets():
                page, following = self._page(self.ticket_book.get(link.entity, []), message.after)
                views = [m.TicketView(**msgspec.structs.asdict(ticket)) for ticket in page]
                link.send(m.Reply(re=message.id, tickets=views, next=following))
            case m.ChargeRequest():
                self._charge(link, message)
            case m.Queue():
                own = [place for place in self.places.values() if place.driver_id == link.entity]
                link.send(m.Reply(re=message.id, queue=own))
                self.on_queue()
            case m.LeaveQueue():
                known = self.places.pop(message.waiting_id, None)
                link.send(_no(message.id, "unknown_waiting") if known is None else m.Reply(re=message.id))
            case m.Reserve():
                self._reserve(link, message)
            case m.Reservations():
                link.send(m.Reply(re=message.id, reservations=list(self.reserved.values())))
            case m.CancelReservation():
                kept = self.reserved.pop(message.reservation_id, None)
                link.send(_no(message.id, "unknown_reservation") if kept is None else m.Reply(re=message.id))
            case m.EndCharge():
                if message.session_id not in self.sessions:
                    link.send(_no(message.id, "unknown_session"))
                    return
                link.send(m.Ack(re=message.id))
                self.on_end(message.session_id)
            case m.Recommend():
                link.send(m.Reply(re=message.id, recommendation=self.recommendation))
            case m.Why():
                told = self.reasons.get(message.session_id or "")
                link.send(_no(message.id, "unknown_session") if told is None else m.Reply(re=message.id, why=told))
            case m.TicketReceived():
                self.confirmed.append(message.ticket_id)

    def _page(self, rows: list[Any], after: str | None) -> tuple[list[Any], str | None]:
        first = int(after or 0)
        last = first + self.page_rows
        return rows[first:last], str(last) if last < len(rows) else None

    def _row(self, row: m.ChargePointView, driver_id: str) -> m.ChargePointView:
        """A charge point with the driver's own open sessions, as Central shows it."""
        own = {
            (session.cp_id, session.connector): session.session_id
            for session in self.sessions.values()
            if session.driver_id == driver_id
        }
        connectors = [
            msgspec.structs.replace(view, session_id=own.get((row.cp_id, view.connector))) for view in row.connectors
        ]
        return msgspec.structs.replace(row, connectors=connectors)

    def _charge(self, link: Link, request: m.ChargeRequest) -> None:
        reasons = self.refusals.get(request.cp_id, [])
        if reasons:
            link.send(_no(request.id, reasons.pop(0)))
            return
        connector = request.connector or 1
        taken = {(session.cp_id, session.connector) for session in self.sessions.values()}
        if (request.cp_id, connector) in taken and request.wait:
            self._wait(link, request)
            return
        if (request.cp_id, connector) in taken:
            link.send(_no(request.id, "busy"))
            return
        session = m.SessionView(
            session_id=f"s{len(self.sessions) + len(self.ticket_book.get(link.entity, [])) + len(self.received)}",
            state="AUTHORIZED",
            cp_id=request.cp_id,
            connector=connector,
            driver_id=link.entity,
            requested_wh=request.energy_wh,
            depart_by_ms=request.depart_by_ms,
            expires_ms=T0_MS + 60_000,
            currency="EUR",
        )
        self.sessions[session.session_id] = session
        if not any(row.cp_id == request.cp_id for row in self.rows):
            self.rows.append(charge_point(request.cp_id))
        if request.cp_id in self.silent:
            self.silent.remove(request.cp_id)
            link.writer.transport.abort()
            return
        link.send(m.Reply(re=request.id, session_id=session.session_id, session=session))
        self.on_request(link.entity, session)

    def _wait(self, link: Link, request: m.ChargeRequest) -> None:
        place = m.WaitingView(
            waiting_id=f"w{len(self.places)}",
            state="WAITING",
            cp_id=request.cp_id,
            driver_id=link.entity,
            place=len(self.places) + 1,
            eta_ms=T0_MS + 1_800_000,
            inputs_age_ms=4_000,
            since_ms=T0_MS,
            reason="busy",
        )
        self.places[place.waiting_id] = place
        link.send(m.Reply(re=request.id, waiting=place))
        self.on_wait(place)

    def _reserve(self, link: Link, request: m.Reserve) -> None:
        reasons = self.refusals.get(request.cp_id, [])
        if reasons:
            link.send(_no(request.id, reasons.pop(0)))
            return
        made = m.ReservationView(
            reservation_id=f"r{len(self.reserved)}",
            state="PLANNED",
            cp_id=request.cp_id,
            connector=request.connector or 1,
            from_ms=request.from_ms,
            until_ms=request.until_ms,
            driver_id=link.entity,
            requested_wh=request.energy_wh,
        )
        self.reserved[made.reservation_id] = made
        link.send(m.Reply(re=request.id, reservation=made))


def charge_point(cp_id: str, state: str = "ACTIVATED", connectors: int = 1) -> m.ChargePointView:
    """A charge point as Central shows it."""
    return m.ChargePointView(
        cp_id=cp_id,
        state=state,
        substation_id="main",
        connectors=[
            m.ConnectorView(connector=number, state=state, min_w=1400, max_w=7400)
            for number in range(1, connectors + 1)
        ],
    )


def _no(number: int | str, reason: str) -> m.Refused:
    return m.Refused(re=number, reason=reason, sentence=f"No: {reason}.")
