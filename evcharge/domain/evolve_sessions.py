"""How events of sessions change what is true: from the authorization to the delivered ticket."""

from __future__ import annotations

import msgspec

from evcharge.domain import events as e
from evcharge.domain.applying import apply
from evcharge.domain.binding import attach, detach, forget
from evcharge.domain.health import remember
from evcharge.domain.no_shows import came, missed
from evcharge.domain.state import (
    Driver,
    Session,
    State,
    Ticket,
    Visit,
)
from evcharge.domain.words import RUNNING, SessionStatus, Stamp
from evcharge.energy.leases import Lease
from evcharge.ids import CommandId
from evcharge.units import Millis, MinorUnits, WattHours

# Tickets of one driver that `tickets` can show from memory; older ones are in the log. 100 pages of paper are enough.
TICKETS_KEPT = 100
# Tickets of one driver that wait for being confirmed; one that never confirms gets the older ones by asking.
UNDELIVERED_KEPT = 100
# Sessions from which arrivals are expected: two months of a large workplace.
VISITS_KEPT = 3_000


@apply.register
def _charge_authorized(event: e.ChargeAuthorized, state: State, stamp: Stamp) -> None:
    state.last_command = CommandId(max(state.last_command, event.command_id))
    session = Session(
        session_id=event.session_id,
        cp_id=event.cp_id,
        connector=event.connector,
        driver_id=event.driver_id,
        node_id=event.substation_id,
        status=SessionStatus.AUTHORIZED,
        min_w=event.min_w,
        max_w=event.max_w,
        requested_wh=event.energy_wh,
        depart_by_ms=event.depart_by_ms,
        authorized_ms=Millis(stamp.at_ms),
        expires_ms=event.expires_ms,
        authorize_command=event.command_id,
        on_the_way=event.on_the_way,
        meter_ms=Millis(stamp.at_ms),
    )
    state.sessions[session.session_id] = session
    attach(state, session)
    state.totals.authorized += 1


@apply.register
def _charge_refused(_event: e.ChargeRefused, state: State, _stamp: Stamp) -> None:
    state.totals.refused += 1


@apply.register
def _authorization_acknowledged(event: e.AuthorizationAcknowledged, state: State, _stamp: Stamp) -> None:
    state.sessions[event.session_id].authorize_acknowledged = True


@apply.register
def _authorization_expired(event: e.AuthorizationExpired, state: State, stamp: Stamp) -> None:
    remember(event, state, stamp)
    state.last_command = CommandId(max(state.last_command, event.command_id))
    state.totals.expired += 1
    session = state.sessions[event.session_id]
    missed(state, session, event.cause, Millis(stamp.at_ms))
    state.drivers[session.driver_id].open_sessions.pop(session.session_id, None)
    if not event.start_pending:
        forget(state, session)
        return
    session.status = SessionStatus.EXPIRED
    session.stop, session.stop_command = event.cause, event.command_id


@apply.register
def _session_forgotten(event: e.SessionForgotten, state: State, _stamp: Stamp) -> None:
    session = state.sessions.get(event.session_id)
    if session is not None:
        forget(state, session)
    state.provisional.pop(event.session_id, None)


@apply.register
def _set_point_issued(event: e.SetPointIssued, state: State, stamp: Stamp) -> None:
    state.last_command = CommandId(max(state.last_command, event.grant.command_id))
    session = state.sessions[event.session_id]
    before_w = 0 if session.lease.newest is None else session.lease.newest.limit_w
    session.lease = session.lease.issue(event.grant, stamp.clock_ms)
    if session.limit_ms is None or event.grant.limit_w != before_w:
        session.limit_ms = Millis(stamp.at_ms)
    if (event.grant.limit_w > 0) != (before_w > 0):
        session.turned_ms = Millis(stamp.at_ms)
    session.limit_reason = event.reason
    if event.start_valid_ms is not None:
        session.start_valid_ms = event.start_valid_ms


@apply.register
def _set_point_acknowledged(event: e.SetPointAcknowledged, state: State, _stamp: Stamp) -> None:
    session = state.sessions[event.session_id]
    session.lease = session.lease.acknowledge(event.command_id)


@apply.register
def _set_point_rejected(event: e.SetPointRejected, state: State, stamp: Stamp) -> None:
    session = state.sessions[event.session_id]
    session.lease = session.lease.reject(event.command_id, stamp.clock_ms)
    if session.status is SessionStatus.AUTHORIZED and not session.lease.grants:
        session.start_valid_ms = None


@apply.register
def _supply_started(event: e.SupplyStarted, state: State, _stamp: Stamp) -> None:
    session = state.sessions[event.session_id]
    if session.status is SessionStatus.EXPIRED:
        # It had lapsed here while it began there: it is a session after all, with its end already ordered.
        state.totals.expired -= 1
    session.status = SessionStatus.SUPPLYING
    session.start_ms = event.at_ms
    charge_point = state.charge_points[session.cp_id]
    session.boot_id = charge_point.engine.boot_id
    connector = charge_point.connectors.get(session.connector)
    if connector is not None and connector.session_id == session.session_id:
        connector.left_by = None
    session.start_meter_wh = session.meter_wh = event.meter_wh
    session.meter_ms = event.at_ms
    driver = state.drivers[session.driver_id]
    driver.open_sessions[session.session_id] = None
    came(driver)
    state.totals.started += 1


@apply.register
def _meter_sampled(event: e.MeterSampled, state: State, stamp: Stamp) -> None:
    remember(event, state, stamp)
    _read_meter(state.sessions[event.session_id], event.meter_wh, stamp)


@apply.register
def _supply_paused(event: e.SupplyPaused, state: State, stamp: Stamp) -> None:
    session = state.sessions[event.session_id]
    session.status = SessionStatus.PAUSED
    _read_meter(session, event.meter_wh, stamp)


@apply.register
def _supply_resumed(event: e.SupplyResumed, state: State, stamp: Stamp) -> None:
    session = state.sessions[event.session_id]
    session.status = SessionStatus.SUPPLYING
    _read_meter(session, event.meter_wh, stamp)


def _read_meter(session: Session, meter_wh: WattHours | None, stamp: Stamp) -> None:
    if meter_wh is not None:
        session.meter_wh = meter_wh
        session.meter_ms = Millis(stamp.at_ms)


@apply.register
def _session_online(event: e.SessionOnline, state: State, _stamp: Stamp) -> None:
    state.sessions[event.session_id].status = SessionStatus.SUPPLYING


@apply.register
def _stop_ordered(event: e.StopOrdered, state: State, _stamp: Stamp) -> None:
    state.last_command = CommandId(max(state.last_command, event.command_id))
    session = state.sessions[event.session_id]
    session.stop, session.stop_command = event.cause, event.command_id


@apply.register
def _stop_confirmed(event: e.StopConfirmed, state: State, stamp: Stamp) -> None:
    session = state.sessions[event.session_id]
    session.lease = Lease()
    session.stopped_ms = Millis(stamp.at_ms)
    if session.status not in RUNNING:
        # Its connector is free again; the session is kept for a report that may still come (``wake_ms``).
        detach(state, session)


@apply.register
def _supply_ended(event: e.SupplyEnded, state: State, _stamp: Stamp) -> None:
    session = state.sessions[event.session_id]
    session.lease = Lease()
    session.stop = event.cause
    session.meter_wh, session.meter_ms = event.meter_wh, event.at_ms


@apply.register
def _ticket_issued(event: e.TicketIssued, state: State, stamp: Stamp) -> None:
    remember(event, state, stamp)
    ticket = event.ticket
    session = state.sessions[ticket.session_id]
    driver = state.drivers.setdefault(ticket.driver_id, Driver())
    driver.open_sessions.pop(ticket.session_id, None)
    driver.tickets.append(ticket)
    del driver.tickets[:-TICKETS_KEPT]
    _await_delivery(driver, ticket)
    totals = state.totals
    totals.tickets += 1
    totals.energy_wh = WattHours(totals.energy_wh + ticket.energy_wh)
    totals.amount_minor = MinorUnits(totals.amount_minor + ticket.amount_minor)
    state.visits.append(Visit(ticket.start_ms, ticket.end_ms - ticket.start_ms, ticket.energy_wh, session.max_w))
    del state.visits[:-VISITS_KEPT]
    if not ticket.provisional:
        forget(state, session)
        return
    session.status = SessionStatus.INTERRUPTED
    state.provisional[ticket.session_id] = ticket
    if session.stopped_ms is not None:
        detach(state, session)


def _await_delivery(driver: Driver, ticket: Ticket) -> None:
    driver.undelivered.pop(ticket.ticket_id, None)
    driver.undelivered[ticket.ticket_id] = ticket
    if len(driver.undelivered) > UNDELIVERED_KEPT:
        del driver.undelivered[next(iter(driver.undelivered))]


@apply.register
def _ticket_adjusted(event: e.TicketAdjusted, state: State, _stamp: Stamp) -> None:
    ticket = state.provisional.pop(event.session_id)
    adjusted = msgspec.structs.replace(ticket, adjustments=[*ticket.adjustments, event.energy_wh], provisional=False)
    driver = state.drivers[event.driver_id]
    driver.tickets = [adjusted if old.ticket_id == ticket.ticket_id else old for old in driver.tickets]
    _await_delivery(driver, adjusted)
    state.totals.energy_wh = WattHours(state.totals.energy_wh + event.energy_wh)
    state.totals.amount_minor = MinorUnits(state.totals.amount_minor + event.amount_minor)
    forget(state, state.sessions[event.session_id])


@apply.register
def _ticket_delivered(event: e.TicketDelivered, state: State, _stamp: Stamp) -> None:
    state.drivers[event.driver_id].undelivered.pop(event.ticket_id, None)
