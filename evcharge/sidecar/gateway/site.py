"""The site's tables: charge points, substations, sessions, tickets; and the operator's stop, resume and limit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import structlog

from evcharge.net.asking import MAX_PAGES
from evcharge.sidecar.gateway import problems
from evcharge.sidecar.gateway import site_schemas as s
from evcharge.sidecar.gateway.advice import why_of
from evcharge.sidecar.gateway.central import Central
from evcharge.sidecar.web.problem import Problem
from evcharge.sidecar.web.route import Answer, Call, Handler
from evcharge.sidecar.web.scopes import Scope
from protocol import messages as m

log = structlog.get_logger()

# The operator's own hold, as the wire has it.
ADMIN = "ADMIN"
# Characters of a driver's id that a viewer sees, at the end, and at least as many stay hidden.
SHOWN = 4


class SiteTables:
    """Handlers of the routes in ``routes/site.py``."""

    def __init__(self, central: Central, version: str) -> None:
        self._central = central
        self._version = version

    def handlers(self) -> Mapping[str, Handler]:
        """By the names of their routes."""
        return {
            "site_status": self.status,
            "list_substations": self.substations,
            "list_charge_points": self.charge_points,
            "get_charge_point": self.charge_point,
            "stop_charge_point": self.stop,
            "resume_charge_point": self.resume,
            "limit_charge_point": self.limit,
            "stop_all": self.stop_all,
            "resume_all": self.resume_all,
            "list_sessions": self.sessions,
            "get_session": self.session,
            "own_session": self.own_session,
            "why_session": self.why,
            "list_tickets": self.tickets,
        }

    # --- tables -------------------------------------------------------------------------------------------------------

    async def status(self, _call: Call) -> Answer:
        """What is known without Central is told without it."""
        try:
            reply = await self._central.ask(m.Query(id=0, what="totals"))
        except Problem:
            reply = m.Reply(re=0)
        told = reply.totals
        totals = None if told is None else s.Totals(**msgspec.structs.asdict(told))
        return Answer(body=s.Status(version=self._version, central=self._central.state, totals=totals))

    async def substations(self, call: Call) -> Answer:
        rows, following = await self._page(call, "substations", lambda row: row.substation_id)
        return Answer(body=s.Substations(substations=[_substation(row) for row in rows], next=following))

    async def charge_points(self, call: Call) -> Answer:
        rows, following = await self._page(call, "charge_points", lambda row: row.cp_id)
        name = naming(call)
        return Answer(body=s.ChargePoints(charge_points=[_charge_point(row, name) for row in rows], next=following))

    async def charge_point(self, call: Call) -> Answer:
        cp_id = call.path["id"]
        row = await self._central.row("charge_points", cp_id)
        if row is None:
            raise problems.no_such("charge point")
        return Answer(body=_charge_point(row, naming(call)))

    async def sessions(self, call: Call) -> Answer:
        rows, following = await self._page(call, "sessions", lambda row: row.session_id)
        name = naming(call)
        return Answer(body=s.Sessions(sessions=[_session(row, name) for row in rows], next=following))

    async def tickets(self, call: Call) -> Answer:
        rows, following = await self._page(call, "tickets", lambda row: row.ticket_id)
        name = naming(call)
        return Answer(body=s.Tickets(tickets=[_ticket(row, name) for row in rows], next=following))

    async def session(self, call: Call) -> Answer:
        """A session, whoever's it is."""
        session, ticket = await self._look(call.path["id"])
        if session is None and ticket is None:
            raise problems.no_such("session")
        return _found(call.path["id"], session, ticket, naming(call))

    async def own_session(self, call: Call) -> Answer:
        """A session of the client's own driver; another one's is as good as none."""
        driver_id = None if call.principal is None else call.principal.driver_id
        if driver_id is None:
            raise problems.no_driver()
        session, ticket = await self._look(call.path["id"])
        if driver_id != getattr(session or ticket, "driver_id", None):
            raise problems.no_session()
        return _found(call.path["id"], session, ticket, str)

    async def _look(self, session_id: str) -> tuple[m.SessionView | None, m.TicketView | None]:
        """Open, or over with its ticket; both are asked for at once, so that none slips through between the two."""
        session, ticket = await _both(
            self._central.row("sessions", session_id),
            # A ticket's id is its session's, with a "t-" before it.
            self._central.row("tickets", f"t-{session_id}"),
        )
        return session, ticket

    async def why(self, call: Call) -> Answer:
        """Why a session gets what it gets, whoever's it is."""
        told = (await self._central.ask(m.Why(id=0, session_id=call.path["id"]))).why
        if told is None:
            raise problems.unexpected()
        return Answer(body=why_of(told))

    # --- control ------------------------------------------------------------------------------------------------------

    async def stop(self, call: Call) -> Answer:
        _note("stop", call)
        order = m.Stop(id=0, cp_id=call.path["id"], by=call.client, trace=call.request_id)
        return await self._order(order, call.path["id"])

    async def resume(self, call: Call) -> Answer:
        _note("resume", call)
        order = m.Resume(id=0, cp_id=call.path["id"], by=call.client, trace=call.request_id)
        return await self._order(order, call.path["id"])

    async def limit(self, call: Call) -> Answer:
        """What each connector of a charge point may draw at most."""
        _note("limit", call)
        cp_id, body = call.path["id"], call.body
        old, new = await self._between(
            m.LimitChargePoint(id=0, cp_id=cp_id, limit_w=body.limit_w, by=call.client, trace=call.request_id), cp_id
        )
        changed = old.limit_w != new.limit_w
        return Answer(body=s.Limited(cp_id=cp_id, limit_w=new.limit_w, changed=changed, state=new.state))

    async def _order(self, order: m.Message, cp_id: str) -> Answer:
        old, new = await self._between(order, cp_id)
        changed = (ADMIN in old.holds) != (ADMIN in new.holds)
        return Answer(body=s.Held(cp_id=cp_id, changed=changed, state=new.state, holds=new.holds))

    async def _between(self, order: m.Message, cp_id: str) -> tuple[m.ChargePointView, m.ChargePointView]:
        """One order between two looks; the three are sent together, and Central takes them in their order."""
        old, _, new = await _both(
            self._central.row("charge_points", cp_id),
            self._central.ask(order),
            self._central.row("charge_points", cp_id),
        )
        if old is None or new is None:
            raise problems.unexpected()
        return old, new

    async def stop_all(self, call: Call) -> Answer:
        _note("stop", call)
        return await self._order_all(m.Stop(id=0, by=call.client, trace=call.request_id))

    async def resume_all(self, call: Call) -> Answer:
        _note("resume", call)
        return await self._order_all(m.Resume(id=0, by=call.client, trace=call.request_id))

    async def _order_all(self, order: m.Message) -> Answer:
        """The order first, because who stops everything does not wait for a count."""
        await self._central.ask(order)
        there = held = 0
        after = ""
        for _ in range(MAX_PAGES):
            reply = await self._central.ask(m.Query(id=0, what="charge_points", after=after))
            if reply.charge_points is None:
                break
            there += len(reply.charge_points)
            held += sum(ADMIN in row.holds for row in reply.charge_points)
            if reply.next is None:
                return Answer(body=s.HeldAll(charge_points=there, stopped=held))
            after = reply.next
        raise problems.unexpected()

    # --- asking -------------------------------------------------------------------------------------------------------

    async def _page(self, call: Call, what: Any, key: Callable[[Any], str]) -> tuple[list[Any], str | None]:
        """The rows of a page and where the next begins."""
        reply = await self._central.ask(m.Query(id=0, what=what, after=call.query.after))
        rows: list[Any] | None = getattr(reply, what)
        if rows is None:
            raise problems.unexpected()
        shown = rows[: call.query.limit]
        return shown, key(shown[-1]) if len(shown) < len(rows) else reply.next


async def _both(*asked: Any) -> list[Any]:
    """What was asked together, once all of it is answered; the first that failed is raised."""
    answers = await asyncio.gather(*asked, return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
    return list(answers)


def naming(call: Call) -> Callable[[str], str]:
    """How this client sees drivers' ids."""
    whole = call.principal is not None and Scope.SITE_CONTROL in call.principal.scopes
    return str if whole else masked


def masked(driver_id: str) -> str:
    """The end of a driver's id: at most half of it, and no more than four characters."""
    shown = min(SHOWN, len(driver_id) // 2)
    return "*" + driver_id[len(driver_id) - shown :]


def _found(
    session_id: str, session: m.SessionView | None, ticket: m.TicketView | None, name: Callable[[str], str]
) -> Answer:
    """One of the two is there."""
    state = session.state if session is not None else "" if ticket is None else ticket.status
    return Answer(
        body=s.SessionFound(
            session_id=session_id,
            state=state,
            session=None if session is None else _session(session, name),
            ticket=None if ticket is None else _ticket(ticket, name),
        )
    )


def _note(order: str, call: Call) -> None:
    """Who ordered it: the audit log has it too, once Central has taken the order."""
    log.info("gateway.order", order=order, cp_id=call.path.get("id", "*"), by=call.client, source=call.source)


def _substation(row: m.SubstationView) -> s.SubstationRow:
    fields = msgspec.structs.asdict(row)
    return s.SubstationRow(utilisation_percent=fields.pop("utilisation"), **fields)


def _charge_point(row: m.ChargePointView, name: Callable[[str], str]) -> s.ChargePointRow:
    fields = msgspec.structs.asdict(row)
    connectors = [_connector(one, name) for one in fields.pop("connectors")]
    return s.ChargePointRow(connectors=connectors, **fields)


def _connector(row: m.ConnectorView, name: Callable[[str], str]) -> s.ConnectorRow:
    fields = msgspec.structs.asdict(row)
    driver = fields.pop("driver")
    return s.ConnectorRow(driver_id=None if driver is None else name(driver), **fields)


def _session(row: m.SessionView, name: Callable[[str], str]) -> s.SessionRow:
    return s.SessionRow(**(msgspec.structs.asdict(row) | {"driver_id": name(row.driver_id)}))


def _ticket(row: m.TicketView, name: Callable[[str], str]) -> s.TicketRow:
    return s.TicketRow(**(msgspec.structs.asdict(row) | {"driver_id": name(row.driver_id)}))
