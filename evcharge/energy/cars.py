"""Sessions as columns, one entry each: what the allocator reckons with. Absurd numbers are made harmless here.

Whatever a session says, nothing that follows fails or passes a limit: a rating that lies is cut, a quantity that is no
number counts as the worse of what it may be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evcharge.energy.model import STEP_MS, Session
from evcharge.units import MS_PER_HOUR

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.intp]

# For numbers that a float cannot hold.
HUGE = 1e300
# No connector gives more, W: IEC's and SAE's megawatt systems end below 4 MW. A rating above it would drown the others
# in rounding.
MOST_W = 1e7
# No vehicle takes more in a stay, Wh.
MOST_WH = 1e8
# No conductor of a charge point has more, V and A.
MOST_V = 1e5
MOST_A = 1e4
# No share is so many times another's.
MOST_WEIGHT = 1e6
# Steps: who leaves in a year, or should have left a year ago, is not told from who is further from now.
MOST_LAXITY = 1e5


class Cars:
    """Columns, in the order of ``sessions``: watts, watt-hours, ms; nan for an instant that nobody knows. Not to be
    written to."""

    def __init__(self, sessions: Sequence[Session]) -> None:
        self.count = len(sessions)
        self.connectors = [each.connector for each in sessions]
        volts = _column([each.volts for each in sessions])
        phases = _column([each.phases for each in sessions])
        # What has no current, or whose current cannot be laid to phases, cannot be told what to do.
        sound = (volts > 0) & (volts <= MOST_V) & (phases >= 1) & (phases <= 3)
        step_w = np.where(sound, volts * phases, 1.0)
        self.step_w = self._each(step_w)
        """Watts of one ampere."""
        self.max_w = self._each(np.where(sound, _within(_column([each.max_w for each in sessions]), 0.0, MOST_W), 0.0))
        # Below one ampere nothing flows: a smallest current of none is one.
        self.min_w = self._each(_within(_column([each.min_a for each in sessions]), 1.0, MOST_A) * step_w)
        """Watts below which it does not charge."""
        self.remaining_wh = self._each(_remaining_wh(sessions))
        last_w = _column([each.last_w for each in sessions])
        # Who holds a power that cannot be may hold all that it takes.
        self.last_w = np.where(last_w <= MOST_W, np.maximum(last_w, 0.0), self.max_w)
        self.weight = self._each(_within(_column([each.weight for each in sessions]), 1.0, MOST_WEIGHT))
        self.arrival_ms = self._each(_column([each.arrival_ms for each in sessions]))
        self.departure_ms = self._each(_column([each.departure_ms for each in sessions]))
        self.last_ms = self._each(_column([each.last_ms for each in sessions]))
        self.turned_ms = self._each(_column([each.turned_ms for each in sessions]))
        self.new = np.array([each.new for each in sessions], dtype=np.bool_)
        self.ramp_w = self._each(np.minimum(np.maximum(_column([each.ramp_w for each in sessions]), 0.0), MOST_W))
        """nan: any."""

    def _each(self, column: Floats) -> Floats:
        return column if len(column) == self.count else np.broadcast_to(column, self.count)

    def with_needs(self, sessions: Sequence[Session]) -> Cars:
        """The same, with the needs and the departures of these."""
        eased = copy(self)
        eased.remaining_wh = self._each(_remaining_wh(sessions))
        eased.departure_ms = self._each(_column([each.departure_ms for each in sessions]))
        return eased

    def laxity(self, now_ms: int) -> Floats:
        """Steps that each can still wait and be full at departure; nan when nobody knows when it leaves."""
        needed_ms = self.remaining_wh * MS_PER_HOUR / np.maximum(self.max_w, 1.0)
        steps = (self.departure_ms - now_ms - needed_ms) / STEP_MS
        steps = np.minimum(np.maximum(steps, -MOST_LAXITY), MOST_LAXITY)
        return np.where((self.max_w > 0) | np.isnan(steps), steps, 0.0)

    def usable_w(self, look_ms: int) -> Floats:
        """The most that each can take until the next look, ``look_ms`` from now, without regard to whole amperes."""
        return np.minimum(self.max_w, self.remaining_wh * MS_PER_HOUR / max(1, look_ms))

    def tops_w(self, ceilings_w: Floats | None, look_ms: int) -> Floats:
        """The same in whole amperes: nothing, or the smallest current and up.

        A need is rounded up: a vehicle that is nearly full gets the smallest current, or it would never be full.
        """
        allowed = self.max_w if ceilings_w is None else np.minimum(self.max_w, ceilings_w)
        most = np.floor_divide(allowed, self.step_w) * self.step_w
        needed = np.maximum(self.min_w, np.ceil(self.usable_w(look_ms) / self.step_w) * self.step_w)
        return np.where((most >= self.min_w) & (self.remaining_wh > 0), np.minimum(most, needed), 0.0)

    def highs_w(self, ceilings_w: Floats | None, look_ms: int) -> Floats:
        """The most for each: what it can take, under its ceiling where a rule gave one."""
        usable = self.usable_w(look_ms)
        return usable if ceilings_w is None else np.minimum(usable, ceilings_w)


def ceilings_of(sessions: Sequence[Session], ceilings_w: Mapping[str, float]) -> Floats | None:
    """Ceilings by session id as a column, infinite where there is none; None when no session has one."""
    if not ceilings_w:
        return None
    found = np.array([ceilings_w.get(each.id, np.inf) for each in sessions], dtype=np.float64)
    return np.where(found > 0, found, 0.0)


def middle(laxities: Floats) -> Floats | None:
    """With the middle of those that are known for those that are not; None when none is known."""
    unknown = np.isnan(laxities)
    if not unknown.any():
        return laxities
    known = np.sort(laxities[~unknown])
    if not len(known):
        return None
    half = len(known) // 2
    return np.where(unknown, known[half] if len(known) % 2 else (known[half - 1] + known[half]) / 2, laxities)


def _remaining_wh(sessions: Sequence[Session]) -> Floats:
    delivered = _within(_column([each.delivered_wh for each in sessions]), 0.0, MOST_WH)
    need = _within(_column([each.need_wh for each in sessions]), 0.0, MOST_WH)
    return np.maximum(need - delivered, 0.0)


def _column(values: list[Any]) -> Floats:
    """nan for None; a single entry where all are the same, as most sites have one voltage, one kind of cable."""
    if values and values.count(values[0]) == len(values):
        values = values[:1]
    try:
        return np.array(values, dtype=np.int64).astype(np.float64)
    except (TypeError, ValueError, OverflowError):
        pass  # not all are whole numbers
    try:
        return np.array(values, dtype=np.float64)
    except OverflowError:
        return np.array([None if each is None else max(-HUGE, min(HUGE, each)) for each in values], dtype=np.float64)


def _within(column: Floats, least: float, most: float) -> Floats:
    """Cut to bounds; the least for what is no number."""
    return np.fmax(np.minimum(column, most), least)
