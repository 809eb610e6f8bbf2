"""Decisions about sessions: from the charge request to the ticket."""

from __future__ import annotations

import msgspec

from evcharge.domain import events as e
from evcharge.domain.commands import (
    ANYWHERE,
    ConfirmTicket,
    EndCharge,
    PassDeadline,
    ReportEnded,
    ReportMeter,
    ReportPaused,
    ReportStarted,
    RequestCharge,
)
from evcharge.domain.headroom import Row, heat_takes, limit_of, reserved_w
from evcharge.domain.line import Line
from evcharge.domain.looks import look_now
from evcharge.domain.no_shows import against_on_the_way
from evcharge.domain.objections import against_charge, against_nodes
from evcharge.domain.openings import Seeker, Wish, choose_connector, unable
from evcharge.domain.reasons import Basis, Bound, Constraint, Objection, Obstacle
from evcharge.domain.refusals import RefusalReason
from evcharge.domain.routing import Nowhere, Routed, route
from evcharge.domain.state import ChargePoint, Session, State, Ticket
from evcharge.domain.words import COMPLETING, RUNNING, SessionStatus, Stamp, StopCause
from evcharge.ids import ChargePointId, CommandId, ConnectorNo, DriverId, SessionId, ticket_of
from evcharge.units import Grams, Millis, WattHours, amount_of, average_power, co2_of

# Most energy one session may ask for: 1 MWh, more than the battery of any road vehicle on sale holds.
MAX_ENERGY_WH = 1_000_000
# Largest register that is believed: 1 TWh, what 1 MW delivers in a century. Beyond it a meter is broken, and figures
# made from it would leave the 64 bits of a record.
MAX_REGISTER_WH = 10**12
# How long connector and power are kept for a driver who is on his way, ms: what a recommended charge point is good for.
ON_THE_WAY_MS = 900_000
# Open sessions of one account. A fleet may charge a depot's worth of vehicles, a runaway script must not take a site.
MAX_OPEN_SESSIONS = 100

# A session that has its connector for its driver; others are kept for a report that may still come.
_OWN = frozenset({SessionStatus.AUTHORIZED, *RUNNING})

# How far a charge point's clock may be behind Central's, ms; beyond it the clock is wrong and its instants say nothing.
MAX_BEHIND_MS = 60_000


def request_charge(state: State, command: RequestCharge, stamp: Stamp) -> list[e.Event]:
    """Authorize, with power reserved for the connector's minimum, or refuse with the reason and its figures."""
    placed = place(state, command, line_before(state, command, stamp), stamp)
    if isinstance(placed, e.ChargeRefused):
        return [placed]
    return [
        authorized(
            state,
            session_id=command.session_id,
            driver_id=command.driver_id,
            cp_id=placed.cp_id,
            connector=placed.connector,
            energy_wh=None if command.energy_wh is None else WattHours(command.energy_wh),
            depart_by_ms=None if command.depart_by_ms is None else Millis(command.depart_by_ms),
            expires_ms=Millis(stamp.at_ms + (ON_THE_WAY_MS if command.on_the_way else state.site.authorization_ms)),
            command_id=next_command(state),
            on_the_way=command.on_the_way,
        )
    ]


def place(state: State, command: RequestCharge, line: Line, stamp: Stamp) -> Routed | e.ChargeRefused:
    """The connector that a request gets behind all in ``line``, or why it gets none."""
    verdict: ConnectorNo | RefusalReason | None = None
    if command.cp_id == ANYWHERE:
        verdict = _judge_wish(state, command, stamp)
        if verdict is None:
            wish = Wish(command.driver_id, ConnectorNo(0), command.depart_by_ms)
            routed = route(state, Seeker(wish, command.node_id, command.power_w), line.claims)
            if isinstance(routed, Nowhere):
                return _nowhere(state, command, routed, stamp)
            command = msgspec.structs.replace(command, cp_id=routed.cp_id, connector=routed.connector)
    if verdict is None:
        verdict = _judge_request(state, command, stamp, line)
    charge_point = state.charge_points.get(command.cp_id)
    if isinstance(verdict, RefusalReason) or charge_point is None:
        reason = verdict if isinstance(verdict, RefusalReason) else RefusalReason.UNKNOWN_CHARGE_POINT
        short = _short_of_power(charge_point, command, line) if reason is RefusalReason.NO_CAPACITY else None
        figures = None if short is None else state.nodes[short.node_id]
        return e.ChargeRefused(
            driver_id=command.driver_id,
            cp_id=command.cp_id,
            reason=reason,
            connector=command.connector,
            energy_wh=command.energy_wh,
            depart_by_ms=command.depart_by_ms,
            capacity_w=None if figures is None else figures.capacity_w,
            reserved_w=None if figures is None else figures.reserved_w,
            basis=None if short is None else _shortage(state, short),
            against=against_charge(
                state, command, reason, stamp, most_wh=MAX_ENERGY_WH, most_sessions=MAX_OPEN_SESSIONS
            ),
        )
    return Routed(command.cp_id, verdict)


def _nowhere(state: State, command: RequestCharge, nowhere: Nowhere, stamp: Stamp) -> e.ChargeRefused:
    """No charge point can serve."""
    full = nowhere.full
    figures = None if full is None else state.nodes[full.node_id]
    against: tuple[Objection, ...] = ()
    if nowhere.reason is RefusalReason.SUBSTATION_LOST:
        against = against_nodes(state, nowhere.nodes, stamp)
    elif nowhere.reason is RefusalReason.UNKNOWN_SUBSTATION:
        against = (Objection(Obstacle.UNKNOWN, f"substation {command.node_id}"),)
    elif full is None:
        against = (Objection(Obstacle.IN_USE, "every connector that is well"),)
    return e.ChargeRefused(
        driver_id=command.driver_id,
        cp_id=command.cp_id,
        reason=nowhere.reason,
        energy_wh=command.energy_wh,
        depart_by_ms=command.depart_by_ms,
        capacity_w=None if figures is None else figures.capacity_w,
        reserved_w=None if figures is None else figures.reserved_w,
        basis=None if full is None else _shortage(state, full),
        against=against,
    )


def authorized(
    state: State,
    *,
    session_id: SessionId,
    driver_id: DriverId,
    cp_id: ChargePointId,
    connector: ConnectorNo,
    energy_wh: WattHours | None,
    depart_by_ms: Millis | None,
    expires_ms: Millis,
    command_id: CommandId,
    on_the_way: bool = False,
) -> e.ChargeAuthorized:
    """A session that has this connector, and power for its smallest current."""
    charge_point = state.charge_points[cp_id]
    rating = charge_point.connectors[connector]
    return e.ChargeAuthorized(
        session_id=session_id,
        cp_id=cp_id,
        connector=connector,
        driver_id=driver_id,
        substation_id=charge_point.node_id,
        min_w=rating.min_w,
        max_w=rating.max_w,
        energy_wh=energy_wh,
        depart_by_ms=depart_by_ms,
        expires_ms=expires_ms,
        command_id=command_id,
        on_the_way=on_the_way,
    )


def _shortage(state: State, row: Row) -> Basis:
    """What there is, and what the base load and the smallest currents of those who are there take of it."""
    base = state.nodes[row.node_id].base_w
    heat_w = heat_takes(state, row)
    return Basis(
        Bound(Constraint.MINIMA, str(row), limit_of(state, row), reserved_w(state, row), base_w=base, rated_w=heat_w)
    )


def _short_of_power(charge_point: ChargePoint | None, command: RequestCharge, line: Line) -> Row | None:
    """The row that has no room for one more."""
    if charge_point is None:
        return None
    wish = Wish(command.driver_id, command.connector, command.depart_by_ms)
    choice = choose_connector(charge_point, wish, line.claims.bookings, line.claims.taken)
    short = None if isinstance(choice, RefusalReason) else _short(charge_point, choice, command, line)
    return short or Row(charge_point.node_id)


def _judge_wish(state: State, command: RequestCharge, stamp: Stamp) -> RefusalReason | None:
    """The first reason against a request wherever it is served."""
    if command.energy_wh is not None and not 0 < command.energy_wh <= MAX_ENERGY_WH:
        return RefusalReason.ENERGY_OUT_OF_RANGE
    if command.depart_by_ms is not None and command.depart_by_ms <= stamp.at_ms:
        return RefusalReason.DEPARTURE_IN_PAST
    driver = state.drivers.get(command.driver_id)
    if driver is not None and len(driver.open_sessions) >= MAX_OPEN_SESSIONS:
        return RefusalReason.TOO_MANY_SESSIONS
    if command.on_the_way and against_on_the_way(state, command.driver_id, stamp.at_ms) is not None:
        return RefusalReason.TOO_MANY_RESERVATIONS
    return None


def _judge_request(state: State, command: RequestCharge, stamp: Stamp, line: Line) -> ConnectorNo | RefusalReason:
    """The connector that will serve, or the first reason against it."""
    charge_point = state.charge_points.get(command.cp_id)
    if charge_point is None:
        return RefusalReason.UNKNOWN_CHARGE_POINT
    reason = _judge_wish(state, command, stamp) or unable(state, charge_point)
    if reason is not None:
        return reason
    wish = Wish(command.driver_id, command.connector, command.depart_by_ms)
    choice = choose_connector(charge_point, wish, line.claims.bookings, line.claims.taken)
    if choice is RefusalReason.BUSY and _has_all(state, command, charge_point):
        return RefusalReason.ALREADY_CHARGING
    if isinstance(choice, RefusalReason):
        return choice
    return choice if _short(charge_point, choice, command, line) is None else RefusalReason.NO_CAPACITY


def _has_all(state: State, command: RequestCharge, charge_point: ChargePoint) -> bool:
    """Whether all connectors that would do are in use by sessions of this driver that nobody has stopped: he would wait
    for himself.
    """
    wanted = [one for no, one in charge_point.connectors.items() if command.connector in (0, no)]
    own = [state.sessions[one.session_id] for one in wanted if one.session_id is not None]
    mine = [one for one in own if one.driver_id == command.driver_id and one.status in _OWN and one.stop is None]
    return len(mine) == len(wanted)


def line_before(state: State, command: RequestCharge, stamp: Stamp) -> Line:
    """Those who come before a request: all who wait, and the reservations that are due, but for its driver's own. Where
    his vehicle stands he does not come behind his own place.
    """
    driver_id = command.driver_id
    own = frozenset(one.reservation_id for one in state.reservations.values() if one.driver_id == driver_id)
    charge_point = state.charge_points.get(command.cp_id)
    if charge_point is not None and any(one.left_by == driver_id for one in charge_point.connectors.values()):
        at = (driver_id, command.cp_id)
        own |= {one.waiting_id for one in state.waiting.values() if (one.driver_id, one.cp_id) == at}
    return Line(state, stamp.at_ms, own) if own else look_now(state, stamp.at_ms).line


def _short(charge_point: ChargePoint, connector: ConnectorNo, command: RequestCharge, line: Line) -> Row | None:
    """The row that has no room for one more."""
    min_w = charge_point.connectors[connector].min_w
    return line.claims.bookings.short_of(charge_point.cp_id, min_w, command.depart_by_ms, line.claims.claimed_w)


def end_charge(state: State, command: EndCharge) -> list[e.Event]:
    """End one's own session; anybody else's is refused."""
    session = state.sessions.get(command.session_id)
    reason = None
    if session is None or session.status in (SessionStatus.EXPIRED, SessionStatus.INTERRUPTED):
        reason = RefusalReason.UNKNOWN_SESSION
    elif session.driver_id != command.driver_id:
        reason = RefusalReason.NOT_YOUR_SESSION
    if reason is not None or session is None:
        return [
            e.RequestRefused(
                request="end_charge",
                subject=command.session_id,
                reason=reason or RefusalReason.UNKNOWN_SESSION,
                against=(
                    Objection(
                        Obstacle.FOREIGN if reason is RefusalReason.NOT_YOUR_SESSION else Obstacle.UNKNOWN,
                        f"session {command.session_id}",
                    ),
                ),
            )
        ]
    return stop_session(session, StopCause.DRIVER_ENDED, next_command(state))


def stop_session(session: Session, cause: StopCause, command_id: CommandId) -> list[e.Event]:
    """The events that end a session from Central's side; none when that was ordered before.

    One that was settled without its final meter is stopped as well: its contactor may still be closed.
    """
    if session.status is SessionStatus.AUTHORIZED:
        return [
            e.AuthorizationExpired(
                session_id=session.session_id,
                cp_id=session.cp_id,
                connector=session.connector,
                driver_id=session.driver_id,
                substation_id=session.node_id,
                cause=cause,
                command_id=command_id,
                start_pending=session.start_valid_ms is not None,
            )
        ]
    if session.stop is None:
        return [e.StopOrdered(session_id=session.session_id, cause=cause, command_id=command_id)]
    return []


def stop_all_at(state: State, charge_point: ChargePoint, cause: StopCause) -> list[e.Event]:
    """Stop whatever runs or waits at a charge point."""
    stops: list[e.Event] = []
    command_id = next_command(state)
    for connector in charge_point.connectors.values():
        if connector.session_id is not None:
            ended = stop_session(state.sessions[connector.session_id], cause, command_id)
            stops += ended
            command_id = CommandId(command_id + len(ended))
    return stops


def report_started(state: State, command: ReportStarted, stamp: Stamp) -> list[e.Event]:
    """The contactor closed. A second report of a running session is a retry, not an error: SPEC §6.3."""
    session = state.sessions.get(command.session_id)
    if session is None or session.cp_id != command.cp_id:
        # Nobody pays for it and no share is kept for it: it must not go on.
        return [
            _anomaly("started_unknown_session", command.cp_id, command.session_id, command.meter_wh),
            e.StraySupplyStopped(cp_id=command.cp_id, session_id=command.session_id, command_id=next_command(state)),
        ]
    if session.status not in (SessionStatus.AUTHORIZED, SessionStatus.EXPIRED):
        return []
    happened: list[e.Event] = []
    if command.meter_wh > MAX_REGISTER_WH:
        happened.append(_anomaly("meter_absurd", command.cp_id, command.session_id, command.meter_wh))
    meter_wh = WattHours(min(command.meter_wh, MAX_REGISTER_WH))
    at_ms = _clip(command.at_ms, session.authorized_ms, stamp.at_ms)
    return [*happened, e.SupplyStarted(session_id=session.session_id, meter_wh=meter_wh, at_ms=at_ms)]


def report_paused(state: State, command: ReportPaused) -> list[e.Event]:
    """Supply was suspended or taken up again."""
    session = state.sessions.get(command.session_id)
    if session is None or session.cp_id != command.cp_id or session.status not in RUNNING:
        return []
    if command.paused == (session.status is SessionStatus.PAUSED):
        return []
    known_wh = command.meter_wh
    meter_wh = known_wh if known_wh is not None and session.meter_wh <= known_wh <= MAX_REGISTER_WH else None
    change = e.SupplyPaused if command.paused else e.SupplyResumed
    return [change(session_id=session.session_id, meter_wh=meter_wh)]


def report_meter(state: State, command: ReportMeter) -> list[e.Event]:
    """A meter value on the way; one that runs backwards or wild is telemetry's noise, the final one decides."""
    session = state.sessions.get(command.session_id)
    if session is None or session.cp_id != command.cp_id or session.status not in RUNNING:
        return []
    if not session.meter_wh <= command.meter_wh <= MAX_REGISTER_WH:
        return []
    return [e.MeterSampled(session_id=session.session_id, meter_wh=command.meter_wh, power_w=command.power_w)]


def report_ended(state: State, command: ReportEnded, stamp: Stamp) -> list[e.Event]:
    """The final meter is known: the ticket, or the adjustment of one that was settled without it."""
    session = state.sessions.get(command.session_id)
    if session is None or session.status is SessionStatus.INTERRUPTED:
        return _adjust(state, command)
    if session.cp_id != command.cp_id or session.status not in RUNNING:
        return [_anomaly("ended_unknown_session", command.cp_id, command.session_id, command.meter_wh)]
    meter_wh, happened = _final_meter(command, session.meter_wh)
    end_ms = _clip(command.at_ms, session.start_ms or session.authorized_ms, stamp.at_ms)
    cause = session.stop if session.stop is not None and command.reason not in COMPLETING else command.reason
    happened.append(e.SupplyEnded(session_id=session.session_id, meter_wh=meter_wh, cause=cause, at_ms=end_ms))
    happened.append(e.TicketIssued(ticket=_ticket(state, session, meter_wh, end_ms, cause)))
    return happened


def _final_meter(command: ReportEnded, known_wh: WattHours) -> tuple[WattHours, list[e.Event]]:
    """The register that counts: the reported one, even below the last known, unless it is absurd."""
    if command.meter_wh > MAX_REGISTER_WH:
        return known_wh, [_anomaly("meter_absurd", command.cp_id, command.session_id, command.meter_wh)]
    if command.meter_wh < known_wh:
        return command.meter_wh, [_anomaly("meter_ran_backwards", command.cp_id, command.session_id, command.meter_wh)]
    return command.meter_wh, []


def pass_deadline(state: State, command: PassDeadline, stamp: Stamp) -> list[e.Event]:
    """Whatever is due for this session at this moment."""
    session = state.sessions.get(command.session_id)
    due_ms = None if session is None else wake_ms(state, session)
    if session is None or due_ms is None or stamp.at_ms < due_ms:
        return []
    if session.status is SessionStatus.AUTHORIZED:
        return stop_session(session, StopCause.EXPIRED, next_command(state))
    if session.status in RUNNING:
        return [settle(state, session, session.stop or StopCause.SILENT)]
    return [e.SessionForgotten(session_id=session.session_id)]


def wake_ms(state: State, session: Session) -> int | None:
    """When a session has to be looked at again, site time; None: only a message moves it.

    What expired or was settled unheard has no deadline until its charge point says that the contactor is open: as long
    as it may be closed, the share of power has to be kept.
    """
    if session.status is SessionStatus.AUTHORIZED:
        return session.expires_ms
    if session.status not in RUNNING:
        return None if session.stopped_ms is None else session.stopped_ms + state.site.settle_ms
    if session.status is SessionStatus.OFFLINE or session.stop is not None:
        return session.meter_ms + state.site.settle_ms
    return None


def settle(state: State, session: Session, cause: StopCause, *, provisional: bool = True) -> e.Event:
    """The ticket from the last known meter, because the final one did not come; ``provisional``: it still may."""
    ticket = _ticket(state, session, session.meter_wh, session.meter_ms, cause, provisional=provisional)
    return e.TicketIssued(ticket=ticket)


def confirm_ticket(state: State, command: ConfirmTicket) -> list[e.Event]:
    """The driver has it; it is not sent again."""
    driver = state.drivers.get(command.driver_id)
    if driver is None or command.ticket_id not in driver.undelivered:
        return []
    return [e.TicketDelivered(driver_id=command.driver_id, ticket_id=command.ticket_id)]


def next_command(state: State) -> CommandId:
    """The number of the next command to a charge point."""
    return CommandId(state.last_command + 1)


def _adjust(state: State, command: ReportEnded) -> list[e.Event]:
    ticket = state.provisional.get(command.session_id)
    if ticket is None or ticket.cp_id != command.cp_id:
        return [_anomaly("ended_unknown_session", command.cp_id, command.session_id, command.meter_wh)]
    meter_wh, happened = _final_meter(command, ticket.final_meter_wh)
    whole_wh = WattHours(max(0, ticket.energy_wh + meter_wh - ticket.final_meter_wh))
    happened.append(
        e.TicketAdjusted(
            ticket_id=ticket.ticket_id,
            session_id=ticket.session_id,
            driver_id=ticket.driver_id,
            energy_wh=whole_wh - ticket.energy_wh,
            amount_minor=amount_of(whole_wh, ticket.price_e4) - ticket.amount_minor,
            co2_g=co2_of(whole_wh, state.site.tariff.co2_g_per_kwh) - ticket.co2_g,
            final_meter_wh=meter_wh,
        )
    )
    return happened


def _ticket(
    state: State, session: Session, meter_wh: int, end_ms: int, cause: StopCause, *, provisional: bool = False
) -> Ticket:
    tariff = state.site.tariff
    energy_wh = WattHours(max(0, meter_wh - session.start_meter_wh))
    start_ms = session.start_ms if session.start_ms is not None else session.authorized_ms
    grams: Grams = co2_of(energy_wh, tariff.co2_g_per_kwh)
    return Ticket(
        ticket_id=ticket_of(session.session_id),
        session_id=session.session_id,
        cp_id=session.cp_id,
        driver_id=session.driver_id,
        substation_id=session.node_id,
        start_ms=start_ms,
        end_ms=Millis(max(start_ms, end_ms)),
        energy_wh=energy_wh,
        price_e4=tariff.price_e4,
        amount_minor=amount_of(energy_wh, tariff.price_e4),
        currency=tariff.currency,
        status=SessionStatus.COMPLETED if cause in COMPLETING else SessionStatus.INTERRUPTED,
        reason=cause,
        average_w=average_power(energy_wh, end_ms - start_ms),
        co2_g=grams,
        final_meter_wh=WattHours(meter_wh),
        provisional=provisional,
    )


def _anomaly(code: str, cp_id: ChargePointId, session_id: str, meter_wh: int) -> e.AnomalySeen:
    return e.AnomalySeen(code=code, cp_id=cp_id, detail=f"session {session_id}, meter {meter_wh} Wh")


def _clip(at_ms: int | None, earliest_ms: int, now_ms: int) -> Millis:
    """The reported instant, kept between what it must follow and now; an impossible one counts as now."""
    if at_ms is None or at_ms < earliest_ms - MAX_BEHIND_MS:
        return Millis(max(earliest_ms, now_ms))
    return Millis(max(earliest_ms, min(at_ms, now_ms)))
