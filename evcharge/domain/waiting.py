"""Decisions about those who wait: into the line, out of it, and to the connector when it is their turn.

An offer is an authorized session: it holds connector and power, and lapses like any other when nobody plugs in.
"""

from __future__ import annotations

import msgspec

from evcharge.domain import events as e
from evcharge.domain.commands import LeaveQueue, RequestCharge
from evcharge.domain.line import Line, in_order
from evcharge.domain.looks import newcomer
from evcharge.domain.openings import Place
from evcharge.domain.reasons import Objection, Obstacle
from evcharge.domain.refusals import RefusalReason
from evcharge.domain.reservations import delayed, opened, over
from evcharge.domain.sessions import MAX_OPEN_SESSIONS, authorized, next_command, request_charge, stop_session
from evcharge.domain.state import Driver, State, Waiting
from evcharge.domain.words import Hold, LeftCause, ReservationState, Stamp, StopCause
from evcharge.ids import CommandId, SessionId
from evcharge.units import Millis, WattHours

# Most that wait at one site: as many as the largest charging parks have connectors. Each look at the line costs some
# microseconds for each of them.
MAX_WAITING = 1_000
# Offers that one may let pass: the first may have come while he was away for a moment.
MAX_MISSED = 2
# Longest that anybody waits, ms: who has waited for a day has found another place, and said so to nobody.
MAX_WAIT_MS = 86_400_000

_WAITABLE = (RefusalReason.BUSY, RefusalReason.NO_CAPACITY, RefusalReason.LIMITED)
# Holds that a person placed; the charge point itself will not come back from them.
_FOR_GOOD = frozenset({Hold.ADMIN, Hold.REVOKED})
# Ends of an offer that are the fault of whoever got it.
_MISSED = {StopCause.EXPIRED: LeftCause.NO_SHOW, StopCause.REJECTED: LeftCause.REJECTED}


def waiting_of(state: State, session_id: SessionId) -> Waiting | None:
    """The one for whom a session holds a connector."""
    waiting = state.waiting.get(SessionId(session_id.partition(".")[0]))
    return waiting if waiting is not None and waiting.offer == session_id else None


def request(state: State, command: RequestCharge, stamp: Stamp) -> list[e.Event]:
    """Authorize, refuse, or let it wait. Who asks again for what he has or waits for repeats himself: no event."""
    known = own_place(state, command)
    if known is not None and (known.offer is not None or command.wait):
        return []
    (decided, *more) = request_charge(state, command, stamp)
    if known is not None and isinstance(decided, e.ChargeAuthorized):
        # With that he has what he waits for.
        own = msgspec.structs.replace(decided, session_id=_offer_id(known))
        return [own, e.ChargeOffered(waiting_id=known.waiting_id, session_id=own.session_id, until_ms=own.expires_ms)]
    if not command.wait or not isinstance(decided, e.ChargeRefused) or decided.reason not in _WAITABLE:
        return [decided, *more]
    return [_join(state, command, decided, stamp)]


def own_place(state: State, command: RequestCharge) -> Waiting | None:
    """Where this driver waits already for the same connector."""
    for one in state.waiting.values():
        at = (one.cp_id, one.connector, one.node_id)
        if one.driver_id == command.driver_id and at == (command.cp_id, command.connector, command.node_id):
            return one
    return None


def _join(state: State, command: RequestCharge, no: e.ChargeRefused, stamp: Stamp) -> e.Event:
    waits = sum(1 for one in state.waiting.values() if one.driver_id == command.driver_id)
    held = len(state.drivers.get(command.driver_id, Driver()).open_sessions) + waits
    if held >= MAX_OPEN_SESSIONS:
        full = Objection(Obstacle.COUNT, f"driver {command.driver_id}", value=held, limit=MAX_OPEN_SESSIONS)
        return _refuse(no, RefusalReason.TOO_MANY_SESSIONS, full)
    if len(state.waiting) >= MAX_WAITING:
        full = Objection(Obstacle.COUNT, "the queue", value=len(state.waiting), limit=MAX_WAITING)
        return _refuse(no, RefusalReason.QUEUE_FULL, full)
    waiting = Waiting(
        waiting_id=command.session_id,
        driver_id=command.driver_id,
        cp_id=command.cp_id,
        connector=command.connector,
        requested_wh=None if command.energy_wh is None else WattHours(command.energy_wh),
        depart_by_ms=None if command.depart_by_ms is None else Millis(command.depart_by_ms),
        since_ms=Millis(stamp.at_ms),
        turn=state.last_turn + 1,
        node_id=command.node_id,
        power_w=command.power_w,
    )
    eta = newcomer(state, waiting, stamp.at_ms)
    return e.ChargeQueued(
        waiting_id=waiting.waiting_id,
        cp_id=waiting.cp_id,
        connector=waiting.connector,
        driver_id=waiting.driver_id,
        energy_wh=waiting.requested_wh,
        depart_by_ms=waiting.depart_by_ms,
        reason=no.reason,
        place=eta.place,
        eta_ms=None if eta.at_ms is None else Millis(eta.at_ms),
        inputs_age_ms=eta.age_ms,
        basis=no.basis,
        against=no.against,
        node_id=command.node_id,
        power_w=command.power_w,
    )


def _refuse(no: e.ChargeRefused, reason: RefusalReason, against: Objection) -> e.ChargeRefused:
    return msgspec.structs.replace(no, reason=reason, capacity_w=None, reserved_w=None, basis=None, against=(against,))


def leave(state: State, command: LeaveQueue) -> list[e.Event]:
    """A driver waits no longer; an offer that it had is given back."""
    waiting = state.waiting.get(command.waiting_id)
    if waiting is None or waiting.driver_id != command.driver_id:
        obstacle = Obstacle.UNKNOWN if waiting is None else Obstacle.FOREIGN
        return [
            e.RequestRefused(
                request="leave_queue",
                subject=command.waiting_id,
                reason=RefusalReason.UNKNOWN_WAITING,
                against=(Objection(obstacle, f"place {command.waiting_id}"),),
            )
        ]
    if waiting.offer is not None:
        # What follows from the end of its session takes it out of the line (``after``).
        return stop_session(state.sessions[waiting.offer], StopCause.DRIVER_ENDED, next_command(state))
    return [left(waiting, LeftCause.LEFT)]


def left(waiting: Waiting, cause: LeftCause) -> e.QueueLeft:
    """It waits no longer."""
    return e.QueueLeft(
        waiting_id=waiting.waiting_id,
        cp_id=waiting.cp_id,
        connector=waiting.connector,
        driver_id=waiting.driver_id,
        cause=cause,
    )


def serve(state: State, stamp: Stamp) -> list[e.Event]:
    """Whoever's turn it is gets a connector; what is over is said."""
    if not state.waiting and not state.reservations:
        return []
    now_ms = stamp.at_ms
    happened: list[e.Event] = []
    gone: set[SessionId] = set()
    for waiting in state.waiting.values():
        cause = _hopeless(waiting, now_ms)
        if cause is not None:
            gone.add(waiting.waiting_id)
            happened.append(left(waiting, cause))
    for ended in over(state, now_ms):
        gone.add(ended.reservation_id)
        happened.append(ended)
    line = Line(state, now_ms, gone)
    command_id = next_command(state)
    for who, cp_id, connector in line.ready:
        if isinstance(who, Waiting):
            happened += _offer(state, who, (cp_id, connector), command_id, stamp)
        else:
            happened += opened(state, who, command_id, stamp)
        command_id = CommandId(command_id + 1)
    for reservation in line.claims.bookings.due:
        blocked = line.blocked.get(reservation.reservation_id)
        if blocked is not None and reservation.status is ReservationState.PLANNED:
            happened.append(delayed(reservation, blocked.reason))
    return happened


def _hopeless(waiting: Waiting, now_ms: int) -> LeftCause | None:
    if waiting.offer is not None:
        return None
    if waiting.depart_by_ms is not None and waiting.depart_by_ms <= now_ms:
        return LeftCause.DEPARTED
    return LeftCause.TOO_LONG if now_ms - waiting.since_ms >= MAX_WAIT_MS else None


def ends_ms(waiting: Waiting) -> int:
    """When waiting is given up at the latest, site time."""
    last_ms = waiting.since_ms + MAX_WAIT_MS
    return last_ms if waiting.depart_by_ms is None else min(last_ms, waiting.depart_by_ms)


def _offer(state: State, waiting: Waiting, place: Place, command_id: CommandId, stamp: Stamp) -> list[e.Event]:
    session_id = _offer_id(waiting)
    until_ms = Millis(stamp.at_ms + state.site.handover_ms)
    return [
        authorized(
            state,
            session_id=session_id,
            driver_id=waiting.driver_id,
            cp_id=place[0],
            connector=place[1],
            energy_wh=waiting.requested_wh,
            depart_by_ms=waiting.depart_by_ms,
            expires_ms=until_ms,
            command_id=command_id,
        ),
        e.ChargeOffered(waiting_id=waiting.waiting_id, session_id=session_id, until_ms=until_ms),
    ]


def _offer_id(waiting: Waiting) -> SessionId:
    # A second offer is another session: the first one may still be on its way to an end at the charge point.
    return waiting.waiting_id if not waiting.offers else SessionId(f"{waiting.waiting_id}.{waiting.offers + 1}")


# --- what follows from other events -----------------------------------------------------------------------------------


def after_start(state: State, event: e.SupplyStarted) -> list[e.Event]:
    """The offer was taken."""
    waiting = waiting_of(state, event.session_id)
    return [] if waiting is None else [left(waiting, LeftCause.SERVED)]


def after_expiry(state: State, event: e.AuthorizationExpired, stamp: Stamp) -> list[e.Event]:
    """The offer was not taken, given back, or taken back."""
    waiting = waiting_of(state, event.session_id)
    if waiting is None:
        return []
    if event.cause is StopCause.DRIVER_ENDED:
        return [left(waiting, LeftCause.LEFT)]
    missed = waiting.missed + (event.cause in _MISSED)
    if missed >= MAX_MISSED:
        return [left(waiting, _MISSED.get(event.cause, LeftCause.NO_SHOW))]
    behind = _next_one(state, waiting, stamp) if event.cause in _MISSED else None
    return [e.OfferEnded(waiting_id=waiting.waiting_id, cause=event.cause, missed=missed, behind=behind)]


def _next_one(state: State, waiting: Waiting, stamp: Stamp) -> SessionId | None:
    """The next one who waits at the same charge point."""
    later = (one for one in in_order(state, stamp.at_ms) if one.cp_id == waiting.cp_id and one.turn > waiting.turn)
    following = next(later, None)
    return None if following is None else following.waiting_id


def after_hold(state: State, event: e.HoldPlaced) -> list[e.Event]:
    """Nobody waits where an operator or the registry has ended charging. What ends by itself (a fault, the weather, a
    second program with the same credential) keeps the line: nobody knows how long that takes, and everybody is told so.
    """
    if event.hold not in _FOR_GOOD:
        return []
    return [left(one, LeftCause.HELD) for one in state.waiting.values() if one.cp_id == event.cp_id]


def of_driver(state: State, driver_id: str) -> list[e.Event]:
    """A driver whose credential was revoked waits for nothing; what was offered lapses by itself."""
    return [left(one, LeftCause.REVOKED) for one in state.waiting.values() if one.driver_id == driver_id]
