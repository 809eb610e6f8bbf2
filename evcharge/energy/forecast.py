"""Forecasts from what was: two baselines that measure themselves, and one that learns how long a deviation lasts.

The baselines are what was last, and what was a season ago; of the two the one that erred less of late is taken.

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

import numpy as np
from numpy.typing import NDArray

from evcharge.energy.model import Series

Floats = NDArray[np.float64]

# Fewer judged slots than this say nothing: persistence is taken until then.
LEAST_JUDGED = 12
# Slots over which errors are measured, unless told otherwise: a week of quarter hours.
WINDOW = 672
DAY_MS = 86_400_000
# Days of which a mean is taken for the same time of day: each day of the week twice. On the marginal emissions of
# June to August 2019 in California 7 and 28 days erred more.
DAYS = 14
# How far ahead it is learnt what is left of a deviation, minutes: up to half a day. Between two of them it is between.
LEADS_MIN = (5, 10, 15, 30, 60, 120, 180, 240, 360, 480, 600, 720)
# A deviation is what it is now, and what it was on average over the last hour. Every quarter of an hour tells as much
# as every step.
HOUR_MS = 3_600_000
QUARTER_MS = 900_000


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
    past = _Slots(values, steps, season)
    return [_step(past, lead, window) for lead in range(1, steps + 1)]


def score(values: Sequence[float | None], lead: int, season: int, *, window: int = WINDOW) -> Score:
    """Errors that both models would have made at ``lead`` slots ahead, over the last ``window`` slots that tell."""
    return _score(_Slots(values, lead, season), lead, window)


def learnt(values: Sequence[float | None], steps: int, step_ms: int) -> list[float]:
    """The next ``steps`` slots after ``values``: the mean of the same time of the last days, and what is left by then
    of how far from it the last slot and the last hour were.

    How much that is is a regression over those days; after a day nothing is left. A gap has the value before it. With
    less than a day the last value stays. Raises ValueError when there is no value, or no whole number of steps in an
    hour.
    """
    if step_ms < 1 or HOUR_MS % step_ms:
        raise ValueError("an hour is a whole number of steps.")
    filled = [value for value in _filled(values) if value is not None]
    if not filled:
        raise ValueError("nothing is known.")
    day, hour = DAY_MS // step_ms, HOUR_MS // step_ms
    days = min(DAYS, (len(filled) - 1) // day)
    if days < 1:
        return [filled[-1]] * steps
    known = np.asarray(filled[-days * day - 1 :])
    profile = known[:-1].reshape(days, day).mean(axis=0)
    off = known - np.resize(profile, len(known))
    sums = np.concatenate(([0.0], np.cumsum(off)))

    def seen(at: NDArray[np.int64]) -> Floats:
        """The deviation at a slot, and its mean over the hour that ends with it."""
        return np.stack([off[at], (sums[at + 1] - sums[at + 1 - hour]) / hour], axis=1)

    leads = np.unique([max(1, round(minutes * 60_000 / step_ms)) for minutes in LEADS_MIN])
    at = np.arange(hour, len(off) - leads[-1], max(1, QUARTER_MS // step_ms))
    before, after = seen(at), off[at[:, None] + leads]
    # Without any deviation there is nothing to learn, and nothing to divide by.
    square = before.T @ before + 1e-9 * np.eye(2)
    left = seen(np.array([len(off) - 1])) @ np.linalg.solve(square, before.T @ after)
    ahead = np.arange(1, steps + 1)
    lasting = np.interp(ahead, [0, *leads, day], [off[-1], *left[0], 0.0])
    return [float(value) for value in np.resize(profile, steps + 1)[1:] + lasting]


def onward(start_ms: int, values: Sequence[float | None], step_ms: int, now_ms: int, until_ms: int) -> Series:
    """From the slot of ``now_ms`` until ``until_ms``: what is known, and after it what is learnt from all of it.

    ``values`` are slots from ``start_ms`` on, in the past and perhaps beyond now. Raises ValueError as ``learnt``.
    """
    here = (now_ms - start_ms) // step_ms
    missing = max(0, -(-(until_ms - start_ms) // step_ms) - len(values))
    known = [value for value in _filled(values) if value is not None]
    # Before the first that is known is the first.
    known = [*known[:1] * (len(values) - len(known)), *known]
    return Series(start_ms + here * step_ms, step_ms, tuple([*known, *learnt(values, missing, step_ms)][here:]))


class _Slots:
    """Values as arrays, NaN where nothing is known."""

    def __init__(self, values: Sequence[float | None], steps: int, season: int) -> None:
        self.values = np.array([math.nan if value is None else value for value in values], dtype=np.float64)
        self.filled = np.array([math.nan if value is None else value for value in _filled(values)], dtype=np.float64)
        self._steps, self._season = steps, season
        self._before: dict[int, Floats] = {}

    def before(self, lead: int) -> Floats:
        """For each slot, ``steps`` beyond the last too, the value whole seasons before, the latest one that is known
        ``lead`` slots before it.
        """
        back = -(-lead // self._season) * self._season
        if back not in self._before:
            found = self._shifted(back)
            # If that one is a gap, the season before it stands in.
            self._before[back] = np.where(np.isnan(found), self._shifted(back + self._season), found)
        return self._before[back]

    def _shifted(self, back: int) -> Floats:
        count = len(self.values)
        shifted = np.full(count + self._steps, math.nan)
        shifted[back : back + count] = self.values[: max(0, count + self._steps - back)]
        return shifted


def _step(past: _Slots, lead: int, window: int) -> Step:
    last = float(past.filled[-1]) if len(past.filled) else math.nan
    before = float(past.before(lead)[len(past.values) - 1 + lead])
    errors = _score(past, lead, window)
    better = errors.persistence is not None and errors.seasonal is not None and errors.seasonal < errors.persistence
    if before == before and (last != last or (better and errors.judged >= LEAST_JUDGED)):
        return Step(before, Model.SEASONAL, errors.seasonal, errors.judged)
    if last == last:
        return Step(last, Model.PERSISTENCE, errors.persistence, errors.judged)
    return Step(None, None, None, 0)


def _score(past: _Slots, lead: int, window: int) -> Score:
    count = len(past.values)
    if count <= lead:
        return Score(None, None, 0)
    truth = past.values[lead:]
    lasting = np.abs(truth - past.filled[: count - lead])
    seasonal = np.abs(truth - past.before(lead)[lead:count])
    judged = np.flatnonzero(~np.isnan(lasting + seasonal))[-window:]
    if not len(judged):
        return Score(None, None, 0)
    return Score(float(lasting[judged].mean()), float(seasonal[judged].mean()), len(judged))


def _filled(values: Sequence[float | None]) -> list[float | None]:
    """Each slot with the last known value up to it."""
    filled: list[float | None] = []
    last: float | None = None
    for value in values:
        last = last if value is None else value
        filled.append(last)
    return filled
