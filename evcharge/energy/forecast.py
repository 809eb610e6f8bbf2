"""Baseline forecasts that measure themselves: what was last, or what was a season ago, whichever erred less of late.

A history is a sequence of slots of equal length, oldest first, with None where nothing is known. The error of a model
at a lead is its mean absolute error over the last slots for which *every* candidate had an answer at that lead, as it
would have been given then: no model sees what came later, and none is judged on easier slots than another. Pure: the
errors follow from the history, so a replay finds the same ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

# Fewer judged slots than this say nothing: persistence is taken until then.
LEAST_JUDGED = 12
# Slots over which errors are measured, unless told otherwise: a week of quarter hours.
WINDOW = 672


class Model(StrEnum):
    """Who made a forecast."""

    PERSISTENCE = "persistence"
    """It stays as it is."""
    SEASONAL = "seasonal"
    """It will be as it was one season before (or as many as it takes to have been seen)."""


class Step(NamedTuple):
    """The forecast of one slot."""

    value: float | None
    """None: nothing is known, which is not 0."""
    model: Model | None
    mae: float | None
    """Mean absolute error of that model at this lead of late; None: not measured yet."""
    judged: int
    """Over how many slots."""


class Score(NamedTuple):
    """Rolling error of both models at one lead, over the same slots."""

    persistence: float | None
    seasonal: float | None
    judged: int


class History:
    """Readings gathered into slots: the mean of what fell into each. Keeps the last ``keep`` slots."""

    def __init__(self, step_ms: int, keep: int) -> None:
        """Raises ValueError unless both are 1 or more."""
        if step_ms < 1 or keep < 1:
            raise ValueError("a history has slots of 1 ms or more, and 1 or more of them.")
        self.step_ms = step_ms
        self.keep = keep
        self.refused = 0
        """Readings that were no numbers, or too old for any slot that is kept."""
        self._slots: dict[int, tuple[float, int]] = {}
        self._newest: int | None = None
        self._last_ms: int | None = None

    def observe(self, at_ms: int, value: float) -> None:
        """A reading; its order among others does not matter."""
        slot = at_ms // self.step_ms
        if not math.isfinite(value) or (self._newest is not None and slot <= self._newest - self.keep):
            self.refused += 1
            return
        total, count = self._slots.get(slot, (0.0, 0))
        self._slots[slot] = (total + value, count + 1)
        self._last_ms = at_ms if self._last_ms is None else max(self._last_ms, at_ms)
        if self._newest is None or slot > self._newest:
            self._newest = slot
            for old in [one for one in self._slots if one <= slot - self.keep]:
                del self._slots[old]

    def values(self, now_ms: int) -> list[float | None]:
        """The ``keep`` slots that ended by ``now_ms``, oldest first; the running one is not whole and stays out."""
        end = now_ms // self.step_ms
        means = {slot: total / count for slot, (total, count) in self._slots.items()}
        return [means.get(slot) for slot in range(end - self.keep, end)]

    def age_ms(self, now_ms: int) -> int | None:
        """Age of the newest reading; None: there never was one."""
        return None if self._last_ms is None else max(0, now_ms - self._last_ms)


def forecast(values: Sequence[float | None], steps: int, season: int, *, window: int = WINDOW) -> list[Step]:
    """The next ``steps`` slots after ``values``, each by the model that erred less at its lead of late.

    ``season`` is its length in slots: 96 is a day of quarter hours. Equal errors go to persistence. Raises ValueError
    unless ``season`` and ``window`` are 1 or more.
    """
    if season < 1 or window < 1:
        raise ValueError("season and window are 1 or more slots.")
    filled = _filled(values)
    return [_step(values, filled, lead, season, window) for lead in range(1, steps + 1)]


def score(values: Sequence[float | None], lead: int, season: int, *, window: int = WINDOW) -> Score:
    """Errors that both models would have made at ``lead`` slots ahead, over the last ``window`` slots that tell."""
    return _score(values, _filled(values), lead, season, window)


def _step(values: Sequence[float | None], filled: Sequence[float | None], lead: int, season: int, window: int) -> Step:
    end = len(values)
    last, before = (filled[-1] if filled else None), _season_before(values, end - 1 + lead, lead, season)
    errors = _score(values, filled, lead, season, window)
    better = errors.persistence is not None and errors.seasonal is not None and errors.seasonal < errors.persistence
    if before is not None and (last is None or (better and errors.judged >= LEAST_JUDGED)):
        return Step(before, Model.SEASONAL, errors.seasonal, errors.judged)
    if last is not None:
        return Step(last, Model.PERSISTENCE, errors.persistence, errors.judged)
    return Step(None, None, None, 0)


def _score(
    values: Sequence[float | None], filled: Sequence[float | None], lead: int, season: int, window: int
) -> Score:
    lasting = seasonal = 0.0
    judged = 0
    for slot in range(len(values) - 1, lead - 1, -1):
        truth, then = values[slot], filled[slot - lead]
        if truth is None or then is None:
            continue
        before = _season_before(values, slot, lead, season)
        if before is None:
            continue
        lasting += abs(truth - then)
        seasonal += abs(truth - before)
        judged += 1
        if judged == window:
            break
    if not judged:
        return Score(None, None, 0)
    return Score(lasting / judged, seasonal / judged, judged)


def _season_before(values: Sequence[float | None], slot: int, lead: int, season: int) -> float | None:
    """The value whole seasons before ``slot``, the latest one known ``lead`` slots before it."""
    back = -(-lead // season) * season
    # If that one is a gap, the season before it stands in.
    for place in (slot - back, slot - back - season):
        if 0 <= place < len(values) and (value := values[place]) is not None:
            return value
    return None


def _filled(values: Sequence[float | None]) -> list[float | None]:
    """Each slot with the last known value up to it."""
    filled: list[float | None] = []
    last: float | None = None
    for value in values:
        last = last if value is None else value
        filled.append(last)
    return filled
