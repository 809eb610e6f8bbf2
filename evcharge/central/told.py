"""A forecast that is told from outside and renewed now and then, and what was told of the time that has passed.

What has passed is the history from which it is learnt how the series goes on where nobody tells it any more.
"""

from __future__ import annotations

from typing import NamedTuple

from evcharge.energy.forecast import DAY_MS, DAYS
from evcharge.energy.model import STEP_MS, Series
from evcharge.energy.planner import FORESIGHT_MS, means

# Slots that are remembered: as many as are learnt from, and the present one.
KEPT = DAYS * DAY_MS // STEP_MS + 1


class Course(NamedTuple):
    """Slots of STEP_MS, the first at ``start_ms``, up to the last that was told; a gap has the value before it."""

    start_ms: int
    values: tuple[float, ...]


class Told:
    """Takes one series after the other."""

    def __init__(self) -> None:
        self._newest: Series | None = None
        self._past: dict[int, float] = {}

    def take(self, series: Series, now_ms: int) -> None:
        """It replaces what was told of its own time and of all that is to come."""
        present = now_ms // STEP_MS
        self._past = {slot: value for slot, value in self._slots(now_ms).items() if slot <= present}
        self._newest = series

    def course(self, now_ms: int) -> Course | None:
        """None: nothing was told, or nothing for so long that it says nothing any more."""
        slots = self._slots(now_ms)
        if not slots:
            return None
        first, values = min(slots), []
        last = slots[first]
        for slot in range(first, max(slots) + 1):
            last = slots.get(slot, last)
            values.append(last)
        return Course(first * STEP_MS, tuple(values))

    def _slots(self, now_ms: int) -> dict[int, float]:
        present = now_ms // STEP_MS
        slots = {slot: value for slot, value in self._past.items() if slot > present - KEPT}
        series = self._newest
        if series is None:
            return slots
        begin = series.start_ms // STEP_MS
        end = -(-(series.start_ms + series.step_ms * len(series.values)) // STEP_MS)
        # Before it begins its first value holds; further than a plan looks nobody asks.
        begin, end = max(min(begin, present), present - KEPT + 1), min(end, present + FORESIGHT_MS // STEP_MS + 1)
        if begin < end:
            told = means(series, [slot * STEP_MS for slot in range(begin, end + 1)])
            slots |= dict(zip(range(begin, end), told.tolist(), strict=True))
        return slots
