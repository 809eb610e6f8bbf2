"""What a start makes good: one command may be several records, and a crash may have kept the first of them only.

Each rule knows something that a whole command never leaves behind, and is decided from the state alone: again, should
there be a crash among the repairs. Which commands they mend, and which need none, is in ``audit/FORMAT.md`` §15.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from evcharge.domain import events as e
from evcharge.domain.alerts import is_covered
from evcharge.domain.commands import CancelReservation, LeaveQueue
from evcharge.domain.followed import followed
from evcharge.domain.health import verdicts
from evcharge.domain.reservations import after_expiry as after_reserved
from evcharge.domain.reservations import ended
from evcharge.domain.sessions import next_command, stop_session
from evcharge.domain.site import SiteConfig
from evcharge.domain.state import ChargePoint, Reservation, Session, State, Waiting
from evcharge.domain.waiting import after_expiry as after_offered
from evcharge.domain.waiting import left
from evcharge.domain.words import (
    Hold,
    LeftCause,
    LinkState,
    ReservationEnd,
    ReservationState,
    SessionStatus,
    Stamp,
    StopCause,
)
from evcharge.ids import CommandId, SessionId

# Why everything at a charge point has to end; the first that holds it is said.
_HELD = (
    (Hold.FAULT, StopCause.FAULT),
    (Hold.REVOKED, StopCause.REVOKED),
    (Hold.ADMIN, StopCause.STOPPED),
)


def repairs(state: State, site: SiteConfig, stamp: Stamp) -> list[e.Event]:
    """The rest of a command that the log has the beginning of; none after commands that are whole. With them what the
    new configuration asks for at charge points that the weather closes.
    """
    stops = list(_stops(state, site))
    stopped = {event.session_id: event.cause for event in stops}
    begun: list[e.Event] = []
    over: dict[SessionId, e.Event] = {}
    for waiting in state.waiting.values():
        event = _of_waiting(state, waiting, stopped, stamp)
        if isinstance(event, e.ChargeOffered):
            begun.append(event)
        elif event is not None:
            over[waiting.waiting_id] = event
    for reservation in state.reservations.values():
        event = _of_reservation(state, reservation, stopped)
        if isinstance(event, e.ReservationOpened):
            begun.append(event)
        elif event is not None:
            over[reservation.reservation_id] = event
    for event in followed(state, [*_holds(state), *stops], stamp):
        # Whoever may not wait on is not only without an offer.
        if isinstance(over.get(_about(event)), e.OfferEnded | None):
            over[_about(event)] = event
    return [*begun, *stops, *verdicts(state, stops, stamp), *over.values()]


def torn_off(state: State, command: LeaveQueue | CancelReservation) -> list[e.Event]:
    """The end of what a driver gives back when the session that should end with it is gone; empty: it is not."""
    if isinstance(command, LeaveQueue):
        waiting = state.waiting.get(command.waiting_id)
        if waiting is None or waiting.driver_id != command.driver_id or waiting.offer is None:
            return []
        return [] if waiting.offer in state.sessions else [left(waiting, LeftCause.LEFT)]
    one = state.reservations.get(command.reservation_id)
    if one is None or one.driver_id != command.driver_id or one.status is not ReservationState.OPEN:
        return []
    return [] if one.reservation_id in state.sessions else [ended(one, ReservationEnd.CANCELLED)]


# --- what has to stop -------------------------------------------------------------------------------------------------


def _stops(state: State, site: SiteConfig) -> Iterator[Any]:
    """The stops that follow from a hold or from a lost monitor: that came first, and they did not."""
    command_id = next_command(state)
    for charge_point in state.charge_points.values():
        cause, closed = _must_stop(charge_point), is_covered(state.alerts, site, charge_point.cp_id)
        if cause is None and closed and site.weather_stops:
            cause = StopCause.WEATHER
        for no, connector in charge_point.connectors.items():
            session = None if connector.session_id is None else state.sessions.get(connector.session_id)
            if session is None or (session.cp_id, session.connector) != (charge_point.cp_id, no):
                continue
            why = cause
            if why is None and session.status is SessionStatus.AUTHORIZED and Hold.DUPLICATE_ID in charge_point.holds:
                # What runs there stays with its owner.
                why = StopCause.DUPLICATE_ID
            if why is None and session.status is SessionStatus.AUTHORIZED and closed:
                # What runs there goes on to its end.
                why = StopCause.WEATHER
            ordered = [] if why is None else stop_session(session, why, command_id)
            command_id = CommandId(command_id + len(ordered))
            yield from ordered


def _must_stop(charge_point: ChargePoint) -> StopCause | None:
    for hold, cause in _HELD:
        if hold in charge_point.holds:
            return cause
    return StopCause.MONITOR_LOST if charge_point.monitor.state is LinkState.LOST else None


def _holds(state: State) -> Iterator[e.HoldPlaced]:
    """All holds, as if each was placed now: what follows from one has followed already, or is missing."""
    for charge_point in state.charge_points.values():
        for hold in sorted(charge_point.holds):
            yield e.HoldPlaced(cp_id=charge_point.cp_id, hold=hold, detail="")


# --- who waits, and who has reserved ----------------------------------------------------------------------------------


def _of_waiting(state: State, one: Waiting, stopped: Mapping[SessionId, StopCause], stamp: Stamp) -> e.Event | None:
    if one.offer is None:
        session = _not_offered(state, one)
        if session is None:
            return None
        if session.status not in (SessionStatus.AUTHORIZED, SessionStatus.EXPIRED):
            return left(one, LeftCause.SERVED)
        if stopped.get(session.session_id) is StopCause.WEATHER:
            # That passes: it keeps its place, and nobody was told of this offer.
            return None
        if session.status is SessionStatus.EXPIRED or session.session_id in stopped:
            return left(one, LeftCause.HELD)
        return e.ChargeOffered(waiting_id=one.waiting_id, session_id=session.session_id, until_ms=session.expires_ms)
    session = state.sessions.get(one.offer)
    if session is None:
        # It lapsed; why, only the record said that is missing or has passed.
        return e.OfferEnded(waiting_id=one.waiting_id, cause=StopCause.OTHER, missed=one.missed)
    if session.status is SessionStatus.EXPIRED:
        return _first(after_offered(state, _expired(session), stamp))
    return None if session.status is SessionStatus.AUTHORIZED else left(one, LeftCause.SERVED)


def _not_offered(state: State, one: Waiting) -> Session | None:
    """A session that was authorized for one who waits and never heard of it."""
    for session in state.sessions.values():
        # A second offer has a number behind its id; of earlier ones none is authorized any more.
        if session.status is SessionStatus.AUTHORIZED and session.session_id.partition(".")[0] == one.waiting_id:
            return session
    return None if one.offers else state.sessions.get(one.waiting_id)


def _of_reservation(state: State, one: Reservation, stopped: Mapping[SessionId, StopCause]) -> e.Event | None:
    session = state.sessions.get(one.reservation_id)
    if session is None:
        return ended(one, ReservationEnd.UNAVAILABLE) if one.status is ReservationState.OPEN else None
    if session.status not in (SessionStatus.AUTHORIZED, SessionStatus.EXPIRED):
        return ended(one, ReservationEnd.KEPT)
    if one.status is ReservationState.OPEN:
        lapsed = session.status is SessionStatus.EXPIRED
        return _first(after_reserved(state, _expired(session))) if lapsed else None
    if session.status is SessionStatus.EXPIRED or one.reservation_id in stopped:
        return ended(one, ReservationEnd.UNAVAILABLE)
    return e.ReservationOpened(reservation_id=one.reservation_id)


def _expired(session: Session) -> e.AuthorizationExpired:
    """What was said when a session lapsed that may have begun unheard."""
    return e.AuthorizationExpired(
        session_id=session.session_id,
        cp_id=session.cp_id,
        connector=session.connector,
        driver_id=session.driver_id,
        substation_id=session.node_id,
        cause=session.stop or StopCause.OTHER,
        command_id=session.stop_command or CommandId(0),
        start_pending=True,
    )


def _first(events: Sequence[e.Event]) -> e.Event | None:
    return events[0] if events else None


def _about(event: Any) -> SessionId:
    """The place in the line, or the reservation."""
    found: SessionId = getattr(event, "waiting_id", None) or event.reservation_id
    return found
