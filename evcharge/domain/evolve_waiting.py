"""How those who wait and reservations come, get their turn and go."""

from __future__ import annotations

from evcharge.domain import events as e
from evcharge.domain.applying import apply
from evcharge.domain.state import (
    Driver,
    Reservation,
    State,
    Waiting,
)
from evcharge.domain.words import ReservationState, Stamp
from evcharge.units import Millis


@apply.register
def _charge_queued(event: e.ChargeQueued, state: State, stamp: Stamp) -> None:
    state.last_turn += 1
    state.drivers.setdefault(event.driver_id, Driver())
    state.waiting[event.waiting_id] = Waiting(
        waiting_id=event.waiting_id,
        driver_id=event.driver_id,
        cp_id=event.cp_id,
        connector=event.connector,
        requested_wh=event.energy_wh,
        depart_by_ms=event.depart_by_ms,
        since_ms=Millis(stamp.at_ms),
        turn=state.last_turn,
        node_id=event.node_id,
        power_w=event.power_w,
    )


@apply.register
def _charge_offered(event: e.ChargeOffered, state: State, _stamp: Stamp) -> None:
    waiting = state.waiting[event.waiting_id]
    waiting.offer = event.session_id
    waiting.offers += 1


@apply.register
def _offer_ended(event: e.OfferEnded, state: State, _stamp: Stamp) -> None:
    waiting = state.waiting[event.waiting_id]
    waiting.offer, waiting.missed = None, event.missed
    if event.behind is not None:
        other = state.waiting[event.behind]
        waiting.turn, other.turn = other.turn, waiting.turn


@apply.register
def _queue_left(event: e.QueueLeft, state: State, _stamp: Stamp) -> None:
    del state.waiting[event.waiting_id]


@apply.register
def _reservation_made(event: e.ReservationMade, state: State, _stamp: Stamp) -> None:
    state.drivers.setdefault(event.driver_id, Driver())
    state.reservations[event.reservation_id] = Reservation(
        reservation_id=event.reservation_id,
        driver_id=event.driver_id,
        cp_id=event.cp_id,
        connector=event.connector,
        from_ms=event.from_ms,
        until_ms=event.until_ms,
        requested_wh=event.energy_wh,
        min_w=event.min_w,
    )


@apply.register
def _reservation_opened(event: e.ReservationOpened, state: State, _stamp: Stamp) -> None:
    state.reservations[event.reservation_id].status = ReservationState.OPEN


@apply.register
def _reservation_delayed(event: e.ReservationDelayed, state: State, _stamp: Stamp) -> None:
    state.reservations[event.reservation_id].status = ReservationState.LATE


@apply.register
def _reservation_ended(event: e.ReservationEnded, state: State, _stamp: Stamp) -> None:
    del state.reservations[event.reservation_id]
