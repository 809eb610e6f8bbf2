"""Questions: lists and tables for the wire, answered in the order of the commands and released like effects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import ClassVar, TypeVar, get_args

import msgspec

from evcharge.central.changes import Changes
from evcharge.central.engine import Engine
from evcharge.central.peers import Directory, Peer
from evcharge.central.ruling import RuleWatch
from evcharge.central.substations import Substations
from evcharge.central.telemetry import Telemetry
from evcharge.central.translate import assigning, outgoing
from evcharge.central.translate.advice import Advice
from evcharge.domain import views, waiting_views
from evcharge.domain.effects import Denied
from evcharge.domain.refusals import RefusalReason, sentence
from evcharge.domain.state import State, Ticket
from evcharge.domain.words import Role, Stamp
from evcharge.energy.model import Policy
from evcharge.ids import ChargePointId, DriverId, NodeId, SessionId, TicketId
from evcharge.net.clock import Clock
from protocol import messages as m
from protocol.cipher import max_body
from protocol.frames import MAX_FRAME

# Bytes that the rows of one reply may take: a frame's, less what stands around them (three names, two ids).
ROOM = max_body(MAX_FRAME) - 512
# The same for a recommendation, which also has a sentence, a vehicle and more names of 64 characters.
ADVICE_ROOM = ROOM - 3_072
# Meters in one answer, and what one takes there beside its charge point's id, in bytes: an array of four.
MOST_METERS = 1_000
_METER_BYTES = 24
# One row more than is shown: whether there is another page.
ASKED = m.MAX_ROWS + 1

Row = TypeVar("Row", bound=m.Part)

Question = m.List | m.Tickets | m.Queue | m.Reservations | m.Query | m.Recommend | m.Why | m.Assign | m.Changes


class Questions:
    """Answers ``list``, ``tickets``, ``queue``, ``reservations``, ``query``, ``recommend``, ``why``, ``assign`` and
    ``changes``.
    """

    KINDS: ClassVar[tuple[type[m.Message], ...]] = get_args(Question)

    def __init__(
        self,
        engine: Engine,
        directory: Directory,
        telemetry: Telemetry,
        rules: RuleWatch,
        substations: Substations,
        clock: Clock,
        advice: Advice,
        measured_w: Callable[[], Mapping[NodeId, int]],
        changes: Changes,
    ) -> None:
        self._engine = engine
        self._directory = directory
        self._telemetry = telemetry
        self._rules = rules
        self._substation_reports = substations
        self._clock = clock
        self._advice = advice
        self._measured_w = measured_w
        self._changes = changes

    def answer(self, peer: Peer, message: Question) -> None:
        """Send the answer once all that it shows is durable."""
        after = getattr(message, "after", None) or ""
        question: Callable[[State, Stamp], m.Reply]
        match message:
            case m.Queue():
                question = partial(_own_queue, message.id, DriverId(peer.entity))
            case m.Reservations():
                question = partial(_reservations, message.id, DriverId(peer.entity), "")
            case m.Recommend():
                self._engine.ask(partial(self._recommendation, message), peer.send)
                return
            case m.Why():
                own = DriverId(peer.entity) if peer.role is Role.DRIVER else None
                self._engine.ask(partial(self._advice.why, message, own), peer.send)
                return
            case m.Assign():
                self._assign(peer, message)
                return
            case m.Changes():
                question = partial(self._changed, message)
            case m.Tickets():
                question = partial(self._tickets, message.id, DriverId(peer.entity), after)
            case m.List():
                viewer = peer.entity if peer.role is Role.DRIVER else None
                question = partial(self._charge_points, message.id, viewer, after)
            case m.Query(one=str(one)):
                self._engine.ask(partial(self._one, message, one), peer.send)
                return
            case m.Query():
                match message.what:
                    case "charge_points":
                        question = partial(self._charge_points, message.id, None, after)
                    case "sessions":
                        question = partial(self._sessions, message.id, after)
                    case "tickets":
                        question = partial(_all_tickets, message.id, after)
                    case "substations":
                        question = partial(self._substations, message.id, after)
                    case "optimization":
                        question = partial(self._optimization, message.id)
                    case "waiting":
                        question = partial(_queue, message.id, after)
                    case "reservations":
                        question = partial(_reservations, message.id, None, after)
                    case "plan":
                        question = partial(_plans, message.id, after)
                    case "alerts":
                        question = partial(_alerts, message.id, after)
                    case "totals":
                        question = partial(_totals, message.id)
        self._engine.ask(question, peer.send)

    def _charge_points(self, re: m.RequestId, viewer: str | None, after: str, state: State, _stamp: Stamp) -> m.Reply:
        page = views.page_of_charge_points(state, after, ASKED)
        waiting = waiting_views.waiting_counts(state)
        rows = [self._charge_point_row(view, viewer, waiting[view.cp_id]) for view in page]
        shown = _fitting(rows)
        return m.Reply(re=re, charge_points=shown, next=shown[-1].cp_id if len(shown) < len(rows) else None)

    def _charge_point_row(self, view: views.ChargePointView, viewer: str | None, waiting: int) -> m.ChargePointView:
        last_seen_ms = self._last_seen_ms(view.cp_id)
        return outgoing.charge_point_view(view, self._telemetry.live_of, last_seen_ms, viewer=viewer, waiting=waiting)

    def _changed(self, asked: m.Changes, state: State, _stamp: Stamp) -> m.Reply:
        """Each charge point that changed since, with the reasons; of another run all of them."""
        since = asked.since if asked.run == self._changes.run else 0
        if not since:
            # Those that this start has not heard of yet are behind none of its numbers.
            self._changes.begin(state.charge_points)
        changed = self._changes.since(since)
        waiting = waiting_views.waiting_counts(state)
        rows: list[m.ChargePointView] = []
        meters: list[m.MeterView] = []
        upto, left, more = since, ROOM, False
        for number, key, meter in changed:
            if meter:
                reading = self._meter(key, state)
                left -= 0 if reading is None else len(reading.cp_id) + _METER_BYTES
                more = left < 0 or len(meters) >= MOST_METERS
                if reading is not None and not more:
                    meters.append(reading)
            elif (charge_point := state.charge_points.get(ChargePointId(key))) is not None:
                view = views.view_charge_point(state, charge_point)
                row = self._with_reasons(self._charge_point_row(view, None, waiting[view.cp_id]), state)
                left -= len(msgspec.msgpack.encode(row))
                more = left < 0 or len(rows) >= m.MAX_ROWS
                if not more:
                    rows.append(row)
            if more:
                break
            upto = number
        return m.Reply(
            re=asked.id,
            changes=m.ChangesView(run=self._changes.run, upto=upto, rows=rows, meters=meters, more=more),
        )

    def _meter(self, session_id: str, state: State) -> m.MeterView | None:
        session, live = state.sessions.get(SessionId(session_id)), self._telemetry.live_of(session_id)
        if session is None or live is None:
            return None
        return m.MeterView(
            cp_id=session.cp_id,
            connector=session.connector,
            power_w=live.power_w,
            energy_wh=max(live.energy_wh, session.energy_wh),
        )

    def _with_reasons(self, row: m.ChargePointView, state: State) -> m.ChargePointView:
        if all(each.session_id is None for each in row.connectors):
            return row
        told = [
            each if each.session_id is None else self._advice.told(each.session_id, each, state)
            for each in row.connectors
        ]
        return msgspec.structs.replace(row, connectors=told)

    def _assign(self, peer: Peer, asked: m.Assign) -> None:
        command = assigning.asked_for(asked)
        closed = self._engine.turned_down(command)
        if closed is not None:
            peer.send(outgoing.refusal(Denied(reason=closed), asked.id))
            return
        self._engine.ask(partial(assigning.assignment, asked.id, command), peer.send)

    def _one(self, asked: m.Query, one: str, state: State, stamp: Stamp) -> m.Reply | m.Refused:
        """The row of this id, or that there is none."""
        re, unknown = asked.id, RefusalReason.UNKNOWN_CHARGE_POINT
        match asked.what:
            case "sessions":
                unknown = RefusalReason.UNKNOWN_SESSION
                if (session := state.sessions.get(SessionId(one))) is not None:
                    return m.Reply(re=re, sessions=[self._session_row(views.view_session(state, session))])
            case "tickets":
                unknown = RefusalReason.UNKNOWN_TICKET
                if (ticket := views.find_ticket(state, TicketId(one))) is not None:
                    return m.Reply(re=re, tickets=[outgoing.ticket_view(ticket)])
            case "substations":
                unknown = RefusalReason.UNKNOWN_SUBSTATION
                if node := self._node_rows(state, stamp, "", len(state.nodes), one):
                    return m.Reply(re=re, substations=node)
            case _:
                if (charge_point := state.charge_points.get(ChargePointId(one))) is not None:
                    view = views.view_charge_point(state, charge_point)
                    waiting = waiting_views.waiting_counts(state)
                    return m.Reply(re=re, charge_points=[self._charge_point_row(view, None, waiting[view.cp_id])])
        return m.Refused(re=re, reason=unknown.value, sentence=sentence(unknown, one))

    def _last_seen_ms(self, cp_id: str) -> int | None:
        """When the engine was last heard, on the channel clock; None when it is not connected."""
        engine = self._directory.current(Role.ENGINE, cp_id)
        if engine is None:
            return None
        return self._engine.clock_ms() - int(engine.silent_s(self._clock.monotonic()) * 1000)

    def _recommendation(self, asked: m.Recommend, state: State, stamp: Stamp) -> m.Reply | m.Refused:
        """The whole answer, less the last rows where charge points have ids so long that it would not fit a frame."""
        answer = self._advice.recommendation(asked, state, stamp)
        if not isinstance(answer, m.Reply) or answer.recommendation is None:
            return answer
        told = answer.recommendation
        stations, analysed = _fitting(told.stations, ADVICE_ROOM), _fitting(told.legacy, ADVICE_ROOM)
        left_out = told.left_out + len(told.stations) - len(stations) + len(told.legacy) - len(analysed)
        told = msgspec.structs.replace(told, stations=stations, legacy=analysed, left_out=left_out)
        return msgspec.structs.replace(answer, recommendation=told)

    def _sessions(self, re: m.RequestId, after: str, state: State, _stamp: Stamp) -> m.Reply:
        rows = [self._session_row(view) for view in views.page_of_sessions(state, after, ASKED)]
        shown = _fitting(rows)
        return m.Reply(re=re, sessions=shown, next=shown[-1].session_id if len(shown) < len(rows) else None)

    def _session_row(self, view: views.SessionView) -> m.SessionView:
        return m.SessionView(**outgoing.session_fields(view, self._telemetry.live_of(view.session_id)))

    def _tickets(self, re: m.RequestId, driver_id: DriverId, after: str, state: State, _stamp: Stamp) -> m.Reply:
        return _ticket_rows(re, views.page_of_tickets(state, driver_id, after, ASKED))

    def _substations(self, re: m.RequestId, after: str, state: State, stamp: Stamp) -> m.Reply:
        rows = self._node_rows(state, stamp, after, ASKED)
        shown = _fitting(rows)
        return m.Reply(re=re, substations=shown, next=shown[-1].substation_id if len(shown) < len(rows) else None)

    def _node_rows(
        self, state: State, stamp: Stamp, after: str, count: int, one: str | None = None
    ) -> list[m.SubstationView]:
        """At most ``count`` nodes behind ``after``; with ``one`` only that one of them."""
        loads_w = self._telemetry.loads_w(state)
        return [
            outgoing.substation_view(
                view, loads_w[view.substation_id], self._substation_reports.reading_of(view.substation_id)
            )
            for view in views.view_substations(state, stamp.clock_ms, count, after, self._measured_w())
            if one in (None, view.substation_id)
        ]

    def _optimization(self, re: m.RequestId, state: State, _stamp: Stamp) -> m.Reply:
        instead = None if state.site.rules or state.site.policy is Policy.RULES else state.site.policy
        return m.Reply(re=re, optimization=outgoing.optimization_view(self._rules.answer(), instead))


def _own_queue(re: m.RequestId, driver_id: DriverId, state: State, stamp: Stamp) -> m.Reply:
    own = waiting_views.waiting_of_driver(state, driver_id, stamp.at_ms)
    return m.Reply(re=re, queue=_fitting([m.WaitingView(**outgoing.waiting_fields(view)) for view in own]))


def _queue(re: m.RequestId, after: str, state: State, stamp: Stamp) -> m.Reply:
    page = waiting_views.page_of_waiting(state, after, ASKED, stamp.at_ms)
    rows = [m.WaitingView(**outgoing.waiting_fields(view)) for view in page]
    shown = _fitting(rows)
    return m.Reply(re=re, queue=shown, next=shown[-1].waiting_id if len(shown) < len(rows) else None)


def _reservations(re: m.RequestId, driver_id: DriverId | None, after: str, state: State, _stamp: Stamp) -> m.Reply:
    page = waiting_views.page_of_reservations(state, driver_id, after, ASKED)
    rows = [m.ReservationView(**outgoing.reservation_fields(view)) for view in page]
    shown = _fitting(rows)
    return m.Reply(re=re, reservations=shown, next=shown[-1].reservation_id if len(shown) < len(rows) else None)


def _all_tickets(re: m.RequestId, after: str, state: State, _stamp: Stamp) -> m.Reply:
    return _ticket_rows(re, views.page_of_all_tickets(state, after, ASKED))


def _ticket_rows(re: m.RequestId, page: list[Ticket]) -> m.Reply:
    rows = [outgoing.ticket_view(ticket) for ticket in page]
    shown = _fitting(rows)
    return m.Reply(re=re, tickets=shown, next=shown[-1].ticket_id if len(shown) < len(rows) else None)


def _fitting(rows: list[Row], room: int = ROOM) -> list[Row]:
    """As many rows as one reply takes: a charge point with 32 connectors alone has 8 KiB."""
    left = room
    for place, row in enumerate(rows[: m.MAX_ROWS]):
        left -= len(msgspec.msgpack.encode(row))
        if left < 0:
            return rows[:place]
    return rows[: m.MAX_ROWS]


def _plans(re: m.RequestId, after: str, state: State, stamp: Stamp) -> m.Reply:
    rows = outgoing.plan_views(state, after, stamp.at_ms)
    shown = _fitting(rows)
    return m.Reply(re=re, plan=shown, next=shown[-1].substation_id if len(shown) < len(rows) else None)


def _alerts(re: m.RequestId, after: str, state: State, _stamp: Stamp) -> m.Reply:
    rows = [outgoing.alert_view(key, alert) for key, alert in sorted(state.alerts.items()) if key > after]
    shown = _fitting(rows)
    return m.Reply(re=re, alerts=shown, next=shown[-1].alert_id if len(shown) < len(rows) else None)


def _totals(re: m.RequestId, state: State, _stamp: Stamp) -> m.Reply:
    return m.Reply(re=re, totals=outgoing.totals_view(views.view_totals(state)))
