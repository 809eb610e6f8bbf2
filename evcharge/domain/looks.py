"""One look at the line, for all who ask until something happens: a thousand who wait make one cost a hundredth of a
second and more, and any of them may ask.
"""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

from evcharge.domain.line import Blocked, Eta, Forecast, Line
from evcharge.domain.routing import spots_of
from evcharge.domain.state import State, Waiting
from evcharge.ids import SessionId

# How old a look may be that is only shown, ms, though nothing happened since: times on a telephone move by more.
SHOWN_MS = 1_000


class Place(NamedTuple):
    """One who waits, in a look."""

    who: Waiting
    blocked: Blocked | None
    eta: Eta


class Look:
    """The line at one moment; places and times are worked out when somebody asks for them."""

    def __init__(self, state: State, at_ms: int) -> None:
        self.at_ms = at_ms
        self.line = Line(state, at_ms)
        self.forecast = Forecast(state, self.line, at_ms)

    @cached_property
    def places(self) -> dict[SessionId, Place]:
        """Everybody without an offer, in order."""
        return {one.waiting_id: Place(one, blocked, eta) for one, blocked, eta in self.forecast.etas()}

    def pass_all(self) -> None:
        """Everybody comes before whoever is asked about next."""
        _ = self.places


def look_now(state: State, now_ms: int) -> Look:
    """The line as it is at ``now_ms``, for decisions."""
    return _look(state, now_ms, 1)


def look_shown(state: State, now_ms: int) -> Look:
    """The line as it is or was less than ``SHOWN_MS`` ago, with nothing happened since."""
    return _look(state, now_ms, SHOWN_MS)


def newcomer(state: State, one: Waiting, now_ms: int) -> Eta:
    """When it would be the turn of one more, behind all others. That look serves nobody else."""
    look = look_now(state, now_ms)
    spots_of(state).look = None
    look.pass_all()
    return look.forecast.of(one, look.line.place_last(one))


def _look(state: State, now_ms: int, younger_than_ms: int) -> Look:
    spots = spots_of(state)
    look: Look | None = spots.look
    if look is None or not 0 <= now_ms - look.at_ms < younger_than_ms:
        look = spots.look = Look(state, now_ms)
    return look
