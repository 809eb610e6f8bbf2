"""Decisions about reservations: promised only when connector and power will be there, kept or told why not.

When its time comes a reservation becomes an authorized session: it holds connector and power, and lapses like any
other when nobody plugs in.
"""

from __future__ import annotations

from collections.abc import Iterator

from evcharge.domain import events as e
from evcharge.domain.commands import CancelReservation, Reserve
from evcharge.domain.in_line import needed_w, waits_there
from evcharge.domain.limits import against_limit, too_low
from evcharge.domain.no_shows import against_absence
from evcharge.domain.objections import against_charge_point
from evcharge.domain.openings import TYPICAL_STAY_MS, Bookings, declared_end_ms, session_at, unable
from evcharge.domain.reasons import Objection, Obstacle
from evcharge.domain.refusals import RefusalReason
from evcharge.domain.sessions import MAX_ENERGY_WH, authorized, next_command, stop_session
from evcharge.domain.state import ChargePoint, Reservation, Session, State
from evcharge.domain.words import ReservationEnd, ReservationState, Stamp, StopCause
from evcharge.ids import ANYWHERE, CommandId, ConnectorNo, SessionId
from evcharge.units import Millis, WattHours

# Reservations of one account: today's and the next one. Each keeps a connector from others while nobody stands there.
MAX_RESERVATIONS = 2
# All of a site: each charge request looks at all of them.
MAX_SITE_RESERVATIONS = 1_000
# How far ahead, ms: a week. Whoever plans further does not know yet.
MAX_AHEAD_MS = 7 * 86_400_000
# For how long, ms: below a minute nobody plugs in, and a day is as long as a vehicle stands at work or at home.
MIN_LENGTH_MS = 60_000
MAX_LENGTH_MS = 86_400_000
# How long a connector is held for whoever reserved it and is not there, ms: what restaurants and car sharing grant too.
GRACE_MS = 900_000


def reserve(state: State, command: Reserve, stamp: Stamp) -> list[e.Event]:
    """Promise a connector for a time to come, or say what stands against it."""
    verdict = _judge(state, command, stamp)
    if not isinstance(verdict, int):
        reason, against = verdict
        return [e.RequestRefused(request="reserve", subject=command.cp_id, reason=reason, against=against)]
    connector = ConnectorNo(verdict)
    return [
        e.ReservationMade(
            reservation_id=command.reservation_id,
            driver_id=command.driver_id,
            cp_id=command.cp_id,
            connector=connector,
            from_ms=Millis(command.from_ms),
            until_ms=Millis(command.until_ms),
            energy_wh=None if command.energy_wh is None else WattHours(command.energy_wh),
            min_w=state.charge_points[command.cp_id].connectors[connector].min_w,
        )
    ]


def _judge(state: State, command: Reserve, stamp: Stamp) -> int | tuple[RefusalReason, tuple[Objection, ...]]:
    """The connector, or what stands against it."""
    now_ms, cp_id = stamp.at_ms, command.cp_id
    charge_point = state.charge_points.get(cp_id)
    if charge_point is None:
        return RefusalReason.UNKNOWN_CHARGE_POINT, (Objection(Obstacle.UNKNOWN, cp_id),)
    if command.energy_wh is not None and not 0 < command.energy_wh <= MAX_ENERGY_WH:
        energy = Objection(Obstacle.RANGE, "energy_wh", value=command.energy_wh, limit=MAX_ENERGY_WH)
        return RefusalReason.ENERGY_OUT_OF_RANGE, (energy,)
    wrong = _out_of_range(command, now_ms)
    if wrong is not None:
        return RefusalReason.RESERVATION_OUT_OF_RANGE, (wrong,)
    reason = unable(state, charge_point)
    if reason is not None:
        return reason, against_charge_point(state, charge_point, stamp)
    own = sum(1 for one in state.reservations.values() if one.driver_id == command.driver_id)
    for at, held, limit in (
        (f"driver {command.driver_id}", own, MAX_RESERVATIONS),
        ("the site", len(state.reservations), MAX_SITE_RESERVATIONS),
    ):
        if held >= limit:
            return RefusalReason.TOO_MANY_RESERVATIONS, (Objection(Obstacle.COUNT, at, value=held, limit=limit),)
    absent = against_absence(state, command.driver_id, now_ms)
    if absent is not None:
        return RefusalReason.TOO_MANY_RESERVATIONS, (absent,)
    candidates = [command.connector] if command.connector else sorted(charge_point.connectors)
    if not candidates or (command.connector and command.connector not in charge_point.connectors):
        return RefusalReason.UNKNOWN_CONNECTOR, (Objection(Obstacle.UNKNOWN, f"{cp_id}/{command.connector}"),)
    return _choose(state, command, charge_point, candidates, now_ms)


def _out_of_range(command: Reserve, now_ms: int) -> Objection | None:
    if not now_ms < command.from_ms <= now_ms + MAX_AHEAD_MS:
        limit_ms = now_ms if command.from_ms <= now_ms else now_ms + MAX_AHEAD_MS
        return Objection(Obstacle.RANGE, "from_ms", value=command.from_ms, limit=limit_ms)
    length_ms = command.until_ms - command.from_ms
    if not MIN_LENGTH_MS <= length_ms <= MAX_LENGTH_MS:
        length = MIN_LENGTH_MS if length_ms < MIN_LENGTH_MS else MAX_LENGTH_MS
        return Objection(Obstacle.RANGE, "until_ms", value=command.until_ms, limit=command.from_ms + length)
    return None


def _choose(
    state: State, command: Reserve, charge_point: ChargePoint, candidates: list[ConnectorNo], now_ms: int
) -> int | tuple[RefusalReason, tuple[Objection, ...]]:
    """The first connector that nobody else has then and whose smallest current fits, or an objection for each."""
    bookings = Bookings(state, now_ms)
    found: list[tuple[RefusalReason, Objection]] = []
    for no in candidates:
        connector = charge_point.connectors[no]
        against = _connector_taken(state, command, charge_point, no, now_ms)
        if against is None:
            claimed_w = needed_w(state, (command.cp_id, no), command.from_ms, now_ms)
            short = bookings.short_later(charge_point, connector.min_w, command.from_ms, command.until_ms, claimed_w)
            if short is None:
                return no
            against = RefusalReason.NO_CAPACITY, short
        found.append(against)
    reasons = {reason for reason, _ in found}
    order = (
        RefusalReason.NO_CAPACITY,
        RefusalReason.RESERVED,
        RefusalReason.BUSY,
        RefusalReason.LIMITED,
        RefusalReason.OUT_OF_ORDER,
    )
    return next(reason for reason in order if reason in reasons), tuple(objection for _, objection in found)


def _connector_taken(
    state: State, command: Reserve, charge_point: ChargePoint, no: ConnectorNo, now_ms: int
) -> tuple[RefusalReason, Objection] | None:
    """What speaks against a connector for that time: an error, another reservation, who is there or waits for it."""
    at, place, connector = f"{command.cp_id}/{no}", (command.cp_id, no), charge_point.connectors[no]
    if connector.error is not None:
        return RefusalReason.OUT_OF_ORDER, Objection(Obstacle.ERROR, at, connector.error)
    if too_low(charge_point, connector):
        return RefusalReason.LIMITED, against_limit(charge_point, at, connector)
    for one in _all_at(state, command, no):
        if one.from_ms < command.until_ms and command.from_ms < one.until_ms:
            return RefusalReason.RESERVED, Objection(Obstacle.BOOKED, at, value=one.from_ms, limit=one.until_ms)
    soon = command.from_ms - now_ms < TYPICAL_STAY_MS
    session = session_at(state, place)
    if session is not None and _still_there(session, command.from_ms, now_ms, soon=soon):
        return RefusalReason.BUSY, Objection(Obstacle.IN_USE, at, age_ms=max(0, now_ms - session.authorized_ms))
    waiting = sum(
        1
        for one in state.waiting.values()
        if waits_there(state, one, charge_point, no) and (one.offer is None or one.cp_id != ANYWHERE)
    )
    if soon and waiting:
        # Whoever waits now is not overtaken by who reserves for the next moment.
        return RefusalReason.BUSY, Objection(Obstacle.LINE, at, value=waiting)
    return None


def _all_at(state: State, command: Reserve, no: ConnectorNo) -> Iterator[Reservation]:
    for one in state.reservations.values():
        if (one.cp_id, one.connector) == (command.cp_id, no):
            yield one


def _still_there(session: Session, from_ms: int, now_ms: int, *, soon: bool) -> bool:
    end_ms = declared_end_ms(session, now_ms)
    return soon if end_ms is None else end_ms > from_ms


def cancel(state: State, command: CancelReservation) -> list[e.Event]:
    """A driver gives a reservation back; what holds the connector for it already ends."""
    one = state.reservations.get(command.reservation_id)
    if one is None or one.driver_id != command.driver_id:
        obstacle = Obstacle.UNKNOWN if one is None else Obstacle.FOREIGN
        return [
            e.RequestRefused(
                request="cancel_reservation",
                subject=command.reservation_id,
                reason=RefusalReason.UNKNOWN_RESERVATION,
                against=(Objection(obstacle, f"reservation {command.reservation_id}"),),
            )
        ]
    if one.status is ReservationState.OPEN:
        # What follows from the end of its session ends it (``after_expiry``).
        return stop_session(state.sessions[one.reservation_id], StopCause.DRIVER_ENDED, next_command(state))
    return [ended(one, ReservationEnd.CANCELLED)]


def ended(one: Reservation, cause: ReservationEnd) -> e.ReservationEnded:
    """It is no longer there."""
    return e.ReservationEnded(
        reservation_id=one.reservation_id,
        cp_id=one.cp_id,
        connector=one.connector,
        driver_id=one.driver_id,
        from_ms=one.from_ms,
        until_ms=one.until_ms,
        cause=cause,
    )


def over(state: State, now_ms: int) -> Iterator[e.ReservationEnded]:
    """Those that end by themselves now: their driver charges there already, or their time has passed."""
    for one in state.reservations.values():
        if one.status is ReservationState.OPEN or now_ms < one.from_ms:
            continue
        session = session_at(state, (one.cp_id, one.connector))
        if session is not None and session.driver_id == one.driver_id:
            yield ended(one, ReservationEnd.KEPT)
        elif now_ms >= one.until_ms:
            yield ended(one, ReservationEnd.PASSED)


def opened(state: State, one: Reservation, command_id: CommandId, stamp: Stamp) -> list[e.Event]:
    """Its connector is held for it from now on; when nobody plugs in, for ``GRACE_MS``."""
    return [
        authorized(
            state,
            session_id=one.reservation_id,
            driver_id=one.driver_id,
            cp_id=one.cp_id,
            connector=one.connector,
            energy_wh=one.requested_wh,
            depart_by_ms=one.until_ms,
            expires_ms=Millis(min(one.until_ms, stamp.at_ms + GRACE_MS)),
            command_id=command_id,
        ),
        e.ReservationOpened(reservation_id=one.reservation_id),
    ]


def delayed(one: Reservation, reason: RefusalReason) -> e.ReservationDelayed:
    """Its time has come, and it has to wait."""
    return e.ReservationDelayed(reservation_id=one.reservation_id, reason=reason)


def next_look_ms(one: Reservation) -> int | None:
    """When it has to be looked at again; None: its session has a deadline of its own."""
    match one.status:
        case ReservationState.PLANNED:
            return one.from_ms
        case ReservationState.LATE:
            return one.until_ms
        case ReservationState.OPEN:
            return None


# --- what follows from other events -----------------------------------------------------------------------------------

_ENDS = {
    StopCause.EXPIRED: ReservationEnd.NO_SHOW,
    StopCause.DRIVER_ENDED: ReservationEnd.CANCELLED,
    StopCause.REVOKED: ReservationEnd.REVOKED,
}


def after_start(state: State, event: e.SupplyStarted) -> list[e.Event]:
    """Its driver is there."""
    one = _open(state, event.session_id)
    return [] if one is None else [ended(one, ReservationEnd.KEPT)]


def after_expiry(state: State, event: e.AuthorizationExpired) -> list[e.Event]:
    """Nobody came, or the charge point could not."""
    one = _open(state, event.session_id)
    return [] if one is None else [ended(one, _ENDS.get(event.cause, ReservationEnd.UNAVAILABLE))]


def of_charge_point(state: State, cp_id: str) -> list[e.Event]:
    """A charge point whose credential was revoked keeps no promise. One that is held may be free again in time."""
    return [
        ended(one, ReservationEnd.REVOKED)
        for one in state.reservations.values()
        if one.cp_id == cp_id and one.status is not ReservationState.OPEN
    ]


def of_driver(state: State, driver_id: str) -> list[e.Event]:
    """A driver whose credential was revoked has none."""
    return [ended(one, ReservationEnd.REVOKED) for one in state.reservations.values() if one.driver_id == driver_id]


def _open(state: State, session_id: SessionId) -> Reservation | None:
    one = state.reservations.get(session_id)
    return one if one is not None and one.status is ReservationState.OPEN else None
