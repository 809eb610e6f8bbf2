"""Which effects an event has. Called right after ``evolve``; what it returns waits until the event is durable."""

from __future__ import annotations

from functools import singledispatch

import msgspec

from evcharge.domain import commands as c
from evcharge.domain import effects as fx
from evcharge.domain import events as e
from evcharge.domain.charge_points import open_sessions_at
from evcharge.domain.decide import AnyCommand, OutboxCommand
from evcharge.domain.demand import roots
from evcharge.domain.no_shows import retry_after_s
from evcharge.domain.reasons import Obstacle
from evcharge.domain.refusals import RefusalReason
from evcharge.domain.reservations import next_look_ms
from evcharge.domain.sessions import wake_ms
from evcharge.domain.state import Session, State
from evcharge.domain.views import SessionView, view_expired, view_session
from evcharge.domain.waiting import ends_ms, own_place
from evcharge.domain.waiting_views import (
    view_left,
    view_queued,
    view_reservation,
    view_reservation_ended,
    view_waiting,
    waiting_of_driver,
)
from evcharge.domain.words import Role, SessionStatus, Stamp, StopCause
from evcharge.energy.leases import Grant
from evcharge.ids import ChargePointId, ConnectorNo, DriverId, SessionId

_AGAIN = frozenset({RefusalReason.NO_CAPACITY, RefusalReason.BUSY, RefusalReason.SUBSTATION_LOST})
# What the sentence of a reason does not say by itself, and a driver can do something about.
_TOLD = frozenset({Obstacle.ABSENT, Obstacle.LEFT_BEHIND, Obstacle.LIMIT, Obstacle.WEATHER})


@singledispatch
def effects_of(_event: e.Event, _state: State, _stamp: Stamp) -> list[fx.Effect]:
    """The effects of one event; most have none."""
    return []


def effects_without_event(command: AnyCommand, state: State, stamp: Stamp) -> list[fx.Effect]:
    """A repeated outbox item is acknowledged again (SPEC §6.3), a deadline that moved is set anew."""
    if isinstance(command, c.PassDeadline):
        session = state.sessions.get(command.session_id)
        return _passed(state, command.session_id, stamp) if session is None else _wake(state, session)
    if isinstance(command, c.RequestCharge):
        return _asked_again(state, command, stamp)
    if isinstance(command, OutboxCommand) and command.n is not None:
        charge_point = state.charge_points.get(command.cp_id)
        if charge_point is not None and command.n < charge_point.next_n:
            return [fx.OutboxAck(cp_id=command.cp_id, fence=charge_point.engine.fence, n=command.n)]
    if isinstance(command, c.EndCharge):
        session = state.sessions.get(command.session_id)
        if session is not None:
            return [fx.Granted(session=view_session(state, session))]
    return []


# --- links --------------------------------------------------------------------------------------------------------


@effects_of.register
def _central_started(_event: e.CentralStarted, state: State, _stamp: Stamp) -> list[fx.Effect]:
    found: list[fx.Effect] = []
    for session in state.sessions.values():
        found += _wake(state, session)
    for session_id in (*state.waiting, *state.reservations):
        found += _look_again(state, session_id)
    return found


@effects_of.register
def _peer_connected(event: e.PeerConnected, state: State, stamp: Stamp) -> list[fx.Effect]:
    if event.role is Role.DRIVER:
        driver_id = DriverId(event.entity)
        places = waiting_of_driver(state, driver_id, stamp.at_ms)
        own = (one for one in state.reservations.values() if one.driver_id == driver_id)
        return [
            *(fx.TicketNews(ticket=ticket) for ticket in state.drivers[driver_id].undelivered.values()),
            *(fx.WaitingNews(waiting=view) for view in places),
            *(fx.ReservationNews(reservation=view_reservation(one)) for one in own),
        ]
    if event.role is Role.MONITOR:
        return _dirty_if_waiting(state, ChargePointId(event.entity))
    return []


@effects_of.register
def _peer_disconnected(event: e.PeerDisconnected, state: State, _stamp: Stamp) -> list[fx.Effect]:
    found: list[fx.Effect] = []
    if event.role in (Role.ENGINE, Role.MONITOR):
        for session in open_sessions_at(state, ChargePointId(event.entity)):
            found += [_news(state, session), *_wake(state, session)]
    return found


@effects_of.register
def _peer_revoked(event: e.PeerRevoked, _state: State, _stamp: Stamp) -> list[fx.Effect]:
    return [fx.CloseChannel(role=event.role, entity=event.entity, username=event.username)]


@effects_of.register
def _stray_supply_stopped(event: e.StraySupplyStopped, state: State, _stamp: Stamp) -> list[fx.Effect]:
    return [
        fx.StopSupply(
            cp_id=event.cp_id,
            fence=state.charge_points[event.cp_id].engine.fence,
            command_id=event.command_id,
            connector=ConnectorNo(0),
            session_id=event.session_id,
            cause=StopCause.REJECTED,
        )
    ]


@effects_of.register
def _request_refused(event: e.RequestRefused, _state: State, stamp: Stamp) -> list[fx.Effect]:
    # Of a reservation it is told when and where it collides; limits stand in the sentence of the reason.
    told = event.against if event.request == "reserve" else ()
    against = tuple(one for one in told if one.obstacle not in (Obstacle.RANGE, Obstacle.COUNT, Obstacle.UNKNOWN))
    after_s = retry_after_s(against, stamp.at_ms)
    return [fx.Denied(reason=event.reason, subject=event.subject, retry_after_s=after_s, against=against)]


# --- charge point -------------------------------------------------------------------------------------------------


@effects_of.register
def _booted(event: e.ChargePointBooted, state: State, stamp: Stamp) -> list[fx.Effect]:
    """Each connector's desired state once more: a command that was lost in a crash is made good (SPEC §6)."""
    charge_point = state.charge_points[event.cp_id]
    found: list[fx.Effect] = [fx.BootAck(cp_id=event.cp_id, fence=charge_point.engine.fence)]
    for session in open_sessions_at(state, event.cp_id):
        if session.stop_command is not None:
            found.append(_stop(state, session))
            continue
        if session.status is SessionStatus.AUTHORIZED:
            found.append(_authorize(state, session))
        newest = session.lease.newest
        if newest is not None and stamp.clock_ms < newest.expires_ms:
            found.append(_set_point(state, session, newest))
    found.append(fx.Dirty(node_id=charge_point.node_id))
    return found


@effects_of.register(e.ConnectorChanged)
@effects_of.register(e.HoldLifted)
def _readiness_changed(event: e.ConnectorChanged | e.HoldLifted, state: State, _stamp: Stamp) -> list[fx.Effect]:
    return _dirty_if_waiting(state, event.cp_id)


def _dirty_if_waiting(state: State, cp_id: ChargePointId) -> list[fx.Effect]:
    """Only a session that waits for its start is touched when a charge point becomes ready."""
    waiting = any(session.status is SessionStatus.AUTHORIZED for session in open_sessions_at(state, cp_id))
    in_line = any(one.cp_id in (cp_id, c.ANYWHERE) for one in state.waiting.values())
    in_line = in_line or any(one.cp_id == cp_id for one in state.reservations.values())
    return [fx.Dirty(node_id=state.charge_points[cp_id].node_id)] if waiting or in_line else []


@effects_of.register
def _outbox_applied(event: e.OutboxApplied, state: State, _stamp: Stamp) -> list[fx.Effect]:
    fence = state.charge_points[event.cp_id].engine.fence
    return [fx.OutboxAck(cp_id=event.cp_id, fence=fence, n=event.n)]


@effects_of.register
def _capacity_changed(event: e.CapacityChanged, _state: State, _stamp: Stamp) -> list[fx.Effect]:
    return [fx.Dirty(node_id=event.substation_id)]


@effects_of.register
def _charge_point_limited(event: e.ChargePointLimited, state: State, _stamp: Stamp) -> list[fx.Effect]:
    return [fx.Dirty(node_id=state.charge_points[event.cp_id].node_id)]


@effects_of.register
def _base_load_rose(event: e.BaseLoadRose, _state: State, _stamp: Stamp) -> list[fx.Effect]:
    return [fx.Dirty(node_id=event.node_id)]


@effects_of.register
def _base_load_forgotten(event: e.BaseLoadForgotten, state: State, _stamp: Stamp) -> list[fx.Effect]:
    news = fx.NodeNews(event=event, health=state.nodes[event.node_id].health)
    return [fx.Dirty(node_id=event.node_id), news]


@effects_of.register
def _unwatched(event: e.NodeUnwatched, state: State, _stamp: Stamp) -> list[fx.Effect]:
    return [fx.NodeNews(event=event, health=state.nodes[event.node_id].health)]


@effects_of.register(e.NodeLost)
@effects_of.register(e.NodeProbing)
@effects_of.register(e.NodeRecovered)
def _health_changed(
    event: e.NodeLost | e.NodeProbing | e.NodeRecovered, state: State, _stamp: Stamp
) -> list[fx.Effect]:
    news = fx.NodeNews(event=event, health=state.nodes[event.node_id].health)
    return [fx.Dirty(node_id=event.node_id, now=True), news]


@effects_of.register(e.ChargePointMoved)
@effects_of.register(e.MoveCompleted)
def _feed_changed(event: e.ChargePointMoved | e.MoveCompleted, state: State, _stamp: Stamp) -> list[fx.Effect]:
    return [fx.Dirty(node_id=state.charge_points[event.cp_id].node_id)]


@effects_of.register(e.RulingChanged)
@effects_of.register(e.DeratingChanged)
def _all_over(_event: e.RulingChanged | e.DeratingChanged, state: State, _stamp: Stamp) -> list[fx.Effect]:
    return [fx.Dirty(node_id=node_id) for node_id in roots(state)]


@effects_of.register(e.WeatherAlerted)
@effects_of.register(e.WeatherCleared)
def _weather_changed(event: e.WeatherAlerted | e.WeatherCleared, state: State, _stamp: Stamp) -> list[fx.Effect]:
    # Who waits may have his turn now, here or, for any charge point, elsewhere.
    return [fx.WeatherNews(event=event), *(fx.Dirty(node_id=node_id) for node_id in roots(state))]


@effects_of.register
def _plan_adopted(event: e.PlanAdopted, state: State, _stamp: Stamp) -> list[fx.Effect]:
    return [fx.Dirty(node_id=event.root_id)] if event.root_id in state.nodes else []


# --- session ------------------------------------------------------------------------------------------------------


@effects_of.register
def _charge_authorized(event: e.ChargeAuthorized, state: State, _stamp: Stamp) -> list[fx.Effect]:
    session = state.sessions[event.session_id]
    found: list[fx.Effect] = [
        _authorize(state, session),
        fx.Granted(session=view_session(state, session)),
        *_wake(state, session),
    ]
    if state.charge_points[event.cp_id].connectors[event.connector].occupied:
        found.append(fx.Dirty(node_id=event.substation_id))
    return found


@effects_of.register
def _charge_queued(event: e.ChargeQueued, state: State, _stamp: Stamp) -> list[fx.Effect]:
    return [fx.Queued(waiting=view_queued(state, event)), *_look_again(state, event.waiting_id)]


@effects_of.register
def _charge_offered(event: e.ChargeOffered, state: State, stamp: Stamp) -> list[fx.Effect]:
    return [*_place_news(state, event.waiting_id, stamp), _news(state, state.sessions[event.session_id])]


@effects_of.register
def _offer_ended(event: e.OfferEnded, state: State, stamp: Stamp) -> list[fx.Effect]:
    return _place_news(state, event.waiting_id, stamp)


@effects_of.register
def _queue_left(event: e.QueueLeft, _state: State, _stamp: Stamp) -> list[fx.Effect]:
    return [fx.WaitingNews(waiting=view_left(event))]


def _place_news(state: State, waiting_id: SessionId, stamp: Stamp) -> list[fx.Effect]:
    view = view_waiting(state, waiting_id, stamp.at_ms)
    return [] if view is None else [fx.WaitingNews(waiting=view)]


@effects_of.register
def _reservation_made(event: e.ReservationMade, state: State, _stamp: Stamp) -> list[fx.Effect]:
    view = view_reservation(state.reservations[event.reservation_id])
    return [fx.Booked(reservation=view), *_look_again(state, event.reservation_id)]


@effects_of.register
def _reservation_opened(event: e.ReservationOpened, state: State, _stamp: Stamp) -> list[fx.Effect]:
    view = view_reservation(state.reservations[event.reservation_id])
    return [fx.ReservationNews(reservation=view), _news(state, state.sessions[event.reservation_id])]


@effects_of.register
def _reservation_delayed(event: e.ReservationDelayed, state: State, _stamp: Stamp) -> list[fx.Effect]:
    view = view_reservation(state.reservations[event.reservation_id], event.reason.value)
    return [fx.ReservationNews(reservation=view), *_look_again(state, event.reservation_id)]


@effects_of.register
def _reservation_ended(event: e.ReservationEnded, state: State, _stamp: Stamp) -> list[fx.Effect]:
    node_id = state.charge_points[event.cp_id].node_id
    return [fx.ReservationNews(reservation=view_reservation_ended(event)), fx.Dirty(node_id=node_id)]


@effects_of.register
def _charge_refused(event: e.ChargeRefused, state: State, stamp: Stamp) -> list[fx.Effect]:
    # Whoever asked for any charge point finds one again when a reservation in flight lapsed, at the latest.
    anywhere = event.cp_id == c.ANYWHERE and event.reason in _AGAIN
    after_s = -(-state.site.authorization_ms // 1000) if anywhere else retry_after_s(event.against, stamp.at_ms)
    told = tuple(one for one in event.against if one.obstacle in _TOLD)
    return [fx.Denied(reason=event.reason, subject=event.cp_id, retry_after_s=after_s, against=told, basis=event.basis)]


@effects_of.register
def _authorization_expired(event: e.AuthorizationExpired, state: State, _stamp: Stamp) -> list[fx.Effect]:
    found: list[fx.Effect] = [
        fx.StopSupply(
            cp_id=event.cp_id,
            fence=state.charge_points[event.cp_id].engine.fence,
            command_id=event.command_id,
            connector=event.connector,
            session_id=event.session_id,
            cause=event.cause,
        ),
        *_granted(view_expired(state, event), event.cause),
        fx.SessionNews(session=view_expired(state, event)),
        fx.Dirty(node_id=event.substation_id),
    ]
    session = state.sessions.get(event.session_id)
    return found if session is None else [*found, *_wake(state, session)]


def _granted(view: SessionView, cause: StopCause) -> list[fx.Effect]:
    """The answer to the driver whose wish it was; nobody else asked."""
    return [fx.Granted(session=view)] if cause is StopCause.DRIVER_ENDED else []


@effects_of.register
def _set_point_issued(event: e.SetPointIssued, state: State, stamp: Stamp) -> list[fx.Effect]:
    session = state.sessions[event.session_id]
    told = _set_point(state, session, event.grant)
    return [msgspec.structs.replace(told, decided_ms=stamp.at_ms, basis=event.basis), _news(state, session)]


@effects_of.register(e.SetPointAcknowledged)
@effects_of.register(e.SetPointRejected)
@effects_of.register(e.StopConfirmed)
def _room_may_have_changed(
    event: e.SetPointAcknowledged | e.SetPointRejected | e.StopConfirmed, state: State, _stamp: Stamp
) -> list[fx.Effect]:
    session = state.sessions[event.session_id]
    return [fx.Dirty(node_id=session.node_id), *_wake(state, session)]


@effects_of.register(e.SupplyStarted)
@effects_of.register(e.SupplyPaused)
@effects_of.register(e.SupplyResumed)
@effects_of.register(e.SessionOnline)
def _progress(
    event: e.SupplyStarted | e.SupplyPaused | e.SupplyResumed | e.SessionOnline, state: State, _stamp: Stamp
) -> list[fx.Effect]:
    session = state.sessions[event.session_id]
    return [_news(state, session), *_wake(state, session)]


@effects_of.register
def _stop_ordered(event: e.StopOrdered, state: State, _stamp: Stamp) -> list[fx.Effect]:
    session = state.sessions[event.session_id]
    return [
        _stop(state, session),
        *_granted(view_session(state, session), event.cause),
        _news(state, session),
        *_wake(state, session),
    ]


@effects_of.register
def _ticket_issued(event: e.TicketIssued, state: State, _stamp: Stamp) -> list[fx.Effect]:
    found: list[fx.Effect] = [fx.TicketNews(ticket=event.ticket), fx.Dirty(node_id=event.ticket.substation_id)]
    session = state.sessions.get(event.ticket.session_id)
    return found if session is None else [*found, *_wake(state, session)]


@effects_of.register
def _ticket_adjusted(event: e.TicketAdjusted, state: State, _stamp: Stamp) -> list[fx.Effect]:
    ticket = state.drivers[event.driver_id].undelivered[event.ticket_id]
    return [fx.TicketNews(ticket=ticket), fx.Dirty(node_id=ticket.substation_id)]


# --- the parts ----------------------------------------------------------------------------------------------------


def _authorize(state: State, session: Session) -> fx.Authorize:
    return fx.Authorize(
        cp_id=session.cp_id,
        fence=state.charge_points[session.cp_id].engine.fence,
        command_id=session.authorize_command,
        session_id=session.session_id,
        connector=session.connector,
        energy_wh=session.requested_wh,
        depart_by_ms=session.depart_by_ms,
        expires_ms=session.expires_ms,
    )


def _set_point(state: State, session: Session, grant: Grant) -> fx.SetPoint:
    assert session.limit_reason is not None
    starting = session.status is SessionStatus.AUTHORIZED
    return fx.SetPoint(
        cp_id=session.cp_id,
        fence=state.charge_points[session.cp_id].engine.fence,
        command_id=grant.command_id,  # type: ignore[arg-type]
        session_id=session.session_id,
        connector=session.connector,
        limit_w=grant.limit_w,
        fallback_w=grant.fallback_w,
        expires_ms=grant.expires_ms,
        reason=session.limit_reason,
        start_valid_ms=session.start_valid_ms if starting else None,
    )


def _stop(state: State, session: Session) -> fx.StopSupply:
    assert session.stop is not None
    assert session.stop_command is not None
    return fx.StopSupply(
        cp_id=session.cp_id,
        fence=state.charge_points[session.cp_id].engine.fence,
        command_id=session.stop_command,
        connector=session.connector,
        session_id=session.session_id,
        cause=session.stop,
    )


def _news(state: State, session: Session) -> fx.SessionNews:
    return fx.SessionNews(session=view_session(state, session))


def _wake(state: State, session: Session) -> list[fx.Effect]:
    at_ms = wake_ms(state, session)
    return [] if at_ms is None else [fx.Wake(session_id=session.session_id, at_ms=at_ms)]


def _look_again(state: State, session_id: SessionId) -> list[fx.Effect]:
    """The next moment at which something is due for one who waits, or for a reservation."""
    waiting, reservation = state.waiting.get(session_id), state.reservations.get(session_id)
    at_ms = None if reservation is None else next_look_ms(reservation)
    if waiting is not None:
        at_ms = ends_ms(waiting)
    return [] if at_ms is None else [fx.Wake(session_id=session_id, at_ms=at_ms)]


def _passed(state: State, session_id: SessionId, stamp: Stamp) -> list[fx.Effect]:
    """A deadline of one who waits, or of a reservation: the next look at the site does what is due."""
    waiting, reservation = state.waiting.get(session_id), state.reservations.get(session_id)
    if waiting is not None and waiting.cp_id == c.ANYWHERE:
        node_id = waiting.node_id or next(iter(roots(state)))
    elif waiting is not None:
        node_id = state.charge_points[waiting.cp_id].node_id
    elif reservation is not None:
        node_id = state.charge_points[reservation.cp_id].node_id
    else:
        return []
    again = [wake for wake in _look_again(state, session_id) if isinstance(wake, fx.Wake) and wake.at_ms > stamp.at_ms]
    return [fx.Dirty(node_id=node_id), *again]


def _asked_again(state: State, command: c.RequestCharge, stamp: Stamp) -> list[fx.Effect]:
    """Who asks for what he waits for gets the answer that holds now."""
    known = own_place(state, command)
    if known is None:
        return []
    session = None if known.offer is None else state.sessions.get(known.offer)
    if session is not None:
        return [fx.Granted(session=view_session(state, session))]
    view = view_waiting(state, known.waiting_id, stamp.at_ms)
    return [] if view is None else [fx.Queued(waiting=view)]
