"""What follows for those who wait and for reservations from what happens to sessions, charge points and drivers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from evcharge.domain import events as e
from evcharge.domain import reservations, waiting
from evcharge.domain.state import State
from evcharge.domain.words import Hold, Role, Stamp


def followed(state: State, events: Sequence[e.Event], stamp: Stamp) -> list[e.Event]:
    """The events that follow from ``events``, each end once; ``state`` is the one before all of them."""
    if not state.waiting and not state.reservations:
        return []
    found: list[e.Event] = []
    over: set[Any] = set()
    for event in events:
        for one in _after(state, event, stamp):
            about = getattr(one, "waiting_id", None) or getattr(one, "reservation_id", None)
            if about not in over:
                over.add(about)
                found.append(one)
    return found


def _after(state: State, event: e.Event, stamp: Stamp) -> list[e.Event]:
    match event:
        case e.SupplyStarted():
            return [*waiting.after_start(state, event), *reservations.after_start(state, event)]
        case e.AuthorizationExpired():
            return [*waiting.after_expiry(state, event, stamp), *reservations.after_expiry(state, event)]
        case e.HoldPlaced():
            revoked = reservations.of_charge_point(state, event.cp_id) if event.hold is Hold.REVOKED else []
            return [*waiting.after_hold(state, event), *revoked]
        case e.PeerRevoked() if event.role is Role.DRIVER:
            return [*waiting.of_driver(state, event.entity), *reservations.of_driver(state, event.entity)]
    return []
