"""What may be shown of those who wait and of reservations: copies taken at one moment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import islice

import msgspec

from evcharge.domain import events as e
from evcharge.domain.line import Blocked, Eta
from evcharge.domain.looks import look_shown
from evcharge.domain.state import Reservation, State, Waiting
from evcharge.ids import ChargePointId, ConnectorNo, DriverId, SessionId


class WaitingView(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One who waits, at one moment."""

    waiting_id: SessionId
    state: str
    """WAITING, OFFERED or LEFT."""
    cp_id: ChargePointId
    connector: ConnectorNo
    driver_id: DriverId
    place: int = 0
    eta_ms: int | None = None
    inputs_age_ms: int | None = None
    since_ms: int | None = None
    session_id: SessionId | None = None
    offered_until_ms: int | None = None
    reason: str | None = None


class ReservationView(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A reservation at one moment."""

    reservation_id: SessionId
    state: str
    """PLANNED, OPEN, LATE or ENDED."""
    cp_id: ChargePointId
    connector: ConnectorNo
    driver_id: DriverId
    from_ms: int
    until_ms: int
    requested_wh: int | None = None
    session_id: SessionId | None = None
    reason: str | None = None


def all_waiting(state: State, now_ms: int) -> list[WaitingView]:
    """Everybody who waits, in the fair order; those who have an offer come first."""
    return _page(state, _in_order(state, now_ms), now_ms)


def _in_order(state: State, now_ms: int) -> list[SessionId]:
    offered = [one.waiting_id for one in state.waiting.values() if one.offer is not None]
    return [*offered, *look_shown(state, now_ms).places]


def _page(state: State, ids: Iterable[SessionId], now_ms: int) -> list[WaitingView]:
    views = (view_waiting(state, each, now_ms) for each in ids)
    return [view for view in views if view is not None]


def waiting_of_driver(state: State, driver_id: DriverId, now_ms: int) -> list[WaitingView]:
    """Where one driver waits, in the same order."""
    own = [one for one in state.waiting.values() if one.driver_id == driver_id]
    ids = [one.waiting_id for one in own if one.offer is not None]
    idle = [one.waiting_id for one in own if one.offer is None]
    if len(idle) > 1:
        rank = {each: place for place, each in enumerate(look_shown(state, now_ms).places)}
        idle.sort(key=lambda each: rank[each])
    return _page(state, [*ids, *idle], now_ms)


def view_waiting(state: State, waiting_id: SessionId, now_ms: int) -> WaitingView | None:
    """One who waits."""
    one = state.waiting.get(waiting_id)
    if one is None:
        return None
    if one.offer is not None:
        return _offered(state, one)
    # Only those without an offer are looked at: of several offers that end at once, the others may not know it yet.
    return _waits(*look_shown(state, now_ms).places[waiting_id])


def view_queued(state: State, event: e.ChargeQueued) -> WaitingView:
    """One who has just come into the line."""
    one = state.waiting[event.waiting_id]
    return _waits(one, Blocked(event.reason), Eta(event.place, event.eta_ms, event.inputs_age_ms))


def view_left(event: e.QueueLeft) -> WaitingView:
    """One who waits no longer."""
    return WaitingView(
        waiting_id=event.waiting_id,
        state="LEFT",
        cp_id=event.cp_id,
        connector=event.connector,
        driver_id=event.driver_id,
        reason=event.cause.value,
    )


def _waits(one: Waiting, blocked: Blocked | None, eta: Eta) -> WaitingView:
    return WaitingView(
        waiting_id=one.waiting_id,
        state="WAITING",
        cp_id=one.cp_id,
        connector=one.connector,
        driver_id=one.driver_id,
        place=eta.place,
        eta_ms=eta.at_ms,
        inputs_age_ms=eta.age_ms,
        since_ms=one.since_ms,
        reason=None if blocked is None else blocked.reason.value,
    )


def _offered(state: State, one: Waiting) -> WaitingView:
    session = None if one.offer is None else state.sessions.get(one.offer)
    if session is None:
        # A record is missing that said what became of the offer: the next start says it (``repairs``).
        return _waits(one, None, Eta(0, None, None))
    return WaitingView(
        waiting_id=one.waiting_id,
        state="OFFERED",
        cp_id=session.cp_id,
        connector=session.connector,
        driver_id=one.driver_id,
        since_ms=one.since_ms,
        session_id=one.offer,
        offered_until_ms=session.expires_ms,
    )


def waiting_counts(state: State) -> Counter[ChargePointId]:
    """How many wait at each charge point and have no offer."""
    return Counter(one.cp_id for one in state.waiting.values() if one.offer is None)


def view_reservation(one: Reservation, reason: str | None = None) -> ReservationView:
    """A copy for its driver or the operator."""
    opened = one.status.value == "OPEN"
    return ReservationView(
        reservation_id=one.reservation_id,
        state=one.status.value,
        cp_id=one.cp_id,
        connector=one.connector,
        driver_id=one.driver_id,
        from_ms=one.from_ms,
        until_ms=one.until_ms,
        requested_wh=one.requested_wh,
        session_id=one.reservation_id if opened else None,
        reason=reason,
    )


def view_reservation_ended(event: e.ReservationEnded) -> ReservationView:
    """One that is no longer there."""
    return ReservationView(
        reservation_id=event.reservation_id,
        state="ENDED",
        cp_id=event.cp_id,
        connector=event.connector,
        driver_id=event.driver_id,
        from_ms=event.from_ms,
        until_ms=event.until_ms,
        reason=event.cause.value,
    )


def page_of_waiting(state: State, after: str, count: int, now_ms: int) -> list[WaitingView]:
    """All who wait in the fair order, beginning behind the one called ``after``."""
    ids = _in_order(state, now_ms)
    first = ids.index(SessionId(after)) + 1 if after in ids else len(ids) if after else 0
    return _page(state, ids[first : first + count], now_ms)


def page_of_reservations(state: State, driver_id: DriverId | None, after: str, count: int) -> list[ReservationView]:
    """Reservations of one driver, or of all, in the order of their ids, beginning behind ``after``."""
    wanted = (
        one
        for _, one in sorted(state.reservations.items())
        if one.reservation_id > after and driver_id in (None, one.driver_id)
    )
    return [view_reservation(one) for one in islice(wanted, count)]
