"""Who will come and how long they stay, from sessions that are over. Pure: local time comes in as a function.

Habits are rates for each hour of a working day and of a day off, and how much such days differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from statistics import fmean, variance
from typing import NamedTuple

from evcharge.energy.model import Expected
from evcharge.units import MS_PER_HOUR

DAY_MS = 24 * MS_PER_HOUR
# 1970-01-01 was a Thursday; day 0 of a week is Monday.
_FIRST_DAY = 3
# The days off are Saturday and Sunday.
_FIRST_DAY_OFF = 5
# Days of history that tell what comes: as many as a long month has, for habits change with the season.
HISTORY_DAYS = 31
# Groups of the sessions of an hour, from those that can wait least to those that can wait most.
PATIENCES = 3
# Of ten days like today nine bring at least what is expected with caution: this many standard deviations below.
CAUTION = 1.2816
# How far above the mean more may come than are expected, standard deviations; and how likely one of those is on
# average: the mean of P(more than z) from 0 to 2 of the normal distribution.
MARGIN = 2.0
BEYOND = 0.195

Offset = Callable[[int], int]
"""UTC milliseconds → how far local time is ahead of UTC, in ms. Daylight saving is its business."""


class Past(NamedTuple):
    """A session of the history."""

    arrival_ms: int
    stay_ms: int
    energy_wh: int
    max_w: int
    ended: bool = True
    """False: still plugged in after ``stay_ms``, with neither its energy nor its stay known."""


class _Hour(NamedTuple):
    """One hour of a working day or of a day off, over all such days."""

    over: list[Past]
    """Who is gone again, those first who could wait least."""
    came: int
    """They, and who is still there."""


def midnight(at_ms: int, offset: Offset) -> int:
    """When the local day of an instant began."""
    local_ms = (at_ms + offset(at_ms)) // DAY_MS * DAY_MS
    # The offset of that midnight, not of now: on two days of a year they differ.
    return local_ms - offset(local_ms - offset(at_ms))


def _day(at_ms: int, offset: Offset) -> int:
    return (at_ms + offset(at_ms)) // DAY_MS


def _off(day: int) -> bool:
    return (day + _FIRST_DAY) % 7 >= _FIRST_DAY_OFF


class Habits:
    """Arrivals per hour of a working day or a day off: number, energy, stay; and how much such days differ.

    Each hour's arrivals are ``PATIENCES`` groups: a mean of all would look more patient than most of them are.
    """

    def __init__(self, sessions: Iterable[Past], since_ms: int, until_ms: int, offset: Offset) -> None:
        """Learnt from what came on the whole local days of [since_ms, until_ms); others are left out."""
        self._offset = offset
        first, end = -(-(since_ms + offset(since_ms)) // DAY_MS), _day(until_ms, offset)
        self.days = max(0, end - first)
        """How many there were."""
        counts = {off: {day: 0 for day in range(first, end) if _off(day) == off} for off in (False, True)}
        seen: dict[tuple[bool, int], list[Past]] = {}
        for session in sessions:
            local_ms = session.arrival_ms + offset(session.arrival_ms)
            day = local_ms // DAY_MS
            if first <= day < end and session.stay_ms > 0 and session.energy_wh >= 0 and session.max_w > 0:
                seen.setdefault((_off(day), local_ms % DAY_MS // MS_PER_HOUR), []).append(session)
                counts[_off(day)][day] += 1
        self._hours = {
            key: _Hour(sorted((one for one in those if one.ended), key=_by_slack), len(those))
            for key, those in seen.items()
        }
        self._days = {off: max(1, len(those)) for off, those in counts.items()}
        self._steady = {off: _steadiness(list(those.values())) for off, those in counts.items()}

    def busier(self, now_ms: int, came: int, *, cautious: bool = False) -> float:
        """How many times as many as usual come today, after ``came`` since midnight; or on nine of ten such days.

        A day's rate is the usual one times a gamma variable of mean 1 whose shape is how alike the days of the history
        were; this is its mean given what has come (Gelman et al., Bayesian Data Analysis, ch. 2.6).
        """
        local_ms = now_ms + self._offset(now_ms)
        off = _off(local_ms // DAY_MS)
        hour, passed_ms = divmod(local_ms % DAY_MS, MS_PER_HOUR)
        usual = float(sum(self._came(off, each) for each in range(hour)))
        usual += self._came(off, hour) * passed_ms / MS_PER_HOUR
        shape = self._steady[off]
        mean = (shape + came) / (shape + usual / self._days[off])
        if not cautious:
            return mean
        # The gamma variable's lowest decile: Wilson & Hilferty, PNAS 17, 1931.
        ninth = 1 / (9 * (shape + came))
        return float(mean * max(0.0, 1 - ninth - CAUTION * ninth**0.5) ** 3)

    def expected(self, now_ms: int, until_ms: int, factor: float = 1.0) -> tuple[Expected, ...]:
        """Some for each hour until ``until_ms``, the running one too, in which somebody came in the past.

        ``factor``: how many times as many as usual come today.
        """
        found: list[Expected] = []
        today = _day(now_ms, self._offset)
        for day, arrival_ms, hour in self._ahead(now_ms, until_ms):
            each = (factor if day == today else 1.0) * self._rate(_off(day), hour)
            found += _groups(hour.over, each, arrival_ms)
        return tuple(found)

    def unexpected(self, now_ms: int, until_ms: int, factor: float, came: int) -> tuple[Expected, ...]:
        """Who may come today beside the expected ones: so many more that all of them are MARGIN standard deviations
        above their mean, as hasty as the hastiest group.
        """
        more = MARGIN * self._spread(now_ms, factor, came)
        today = _day(now_ms, self._offset)
        found = []
        for day, arrival_ms, hour in self._ahead(now_ms, until_ms):
            if day == today:
                hasty = hour.over[: -(-len(hour.over) // PATIENCES)]
                each = more * factor * self._rate(_off(day), hour)
                found.append(_one(hour.over, each, arrival_ms, hasty, BEYOND))
        return tuple(found)

    def foreseen(self, now_ms: int, until_ms: int, came: int, *, peak_costs: bool) -> tuple[Expected, ...]:
        """What a plan reckons with after ``came`` today: those who are expected, and room for who is not.

        Where a peak costs money, only those who come on nine of ten such days: a peak that was for nothing cannot be
        taken back, and one that has to rise later costs little more.
        """
        factor = self.busier(now_ms, came, cautious=peak_costs)
        expected = self.expected(now_ms, until_ms, factor)
        return expected if peak_costs else expected + self.unexpected(now_ms, until_ms, factor, came)

    def _ahead(self, now_ms: int, until_ms: int) -> Iterator[tuple[int, int, _Hour]]:
        """Day, middle and history of each local hour that has one; the running one from its beginning."""
        hour_ms = now_ms - (now_ms + self._offset(now_ms)) % MS_PER_HOUR
        while hour_ms < until_ms:
            day, passed_ms = divmod(hour_ms + self._offset(hour_ms), DAY_MS)
            hour = self._hours.get((_off(day), passed_ms // MS_PER_HOUR))
            if hour is not None and hour.over:
                yield day, hour_ms + MS_PER_HOUR // 2 if hour_ms >= now_ms else hour_ms, hour
            hour_ms += MS_PER_HOUR

    def _rate(self, off: bool, hour: _Hour) -> float:
        """How often a day brings one of those who are over; who is still there counts as one more like them."""
        return hour.came / len(hour.over) / self._days[off]

    def _spread(self, now_ms: int, factor: float, came: int) -> float:
        """Standard deviation of the energy that still comes today, as a share of its mean: a compound Poisson variable
        whose rate is the day's.
        """
        end_ms = midnight(now_ms, self._offset) + DAY_MS
        mean = square = 0.0
        for day, arrival_ms, hour in self._ahead(now_ms, end_ms):
            each = factor * self._rate(_off(day), hour) * min(1.0, 1 - (now_ms - arrival_ms) / MS_PER_HOUR)
            mean += each * sum(one.energy_wh for one in hour.over)
            square += each * sum(one.energy_wh**2 for one in hour.over)
        if mean <= 0:
            return 0.0
        steady = self._steady[_off(_day(now_ms, self._offset))]
        return float((square / mean**2 + 1 / (steady + came)) ** 0.5)

    def _came(self, off: bool, hour: int) -> int:
        found = self._hours.get((off, hour))
        return 0 if found is None else found.came


def _by_slack(session: Past) -> tuple[float, Past]:
    """How long it can wait, ms; then anything that does not go by the order in which they were told."""
    return session.stay_ms - session.energy_wh * MS_PER_HOUR / session.max_w, session


def _groups(over: Sequence[Past], each: float, arrival_ms: int) -> list[Expected]:
    """``each`` is how many of one of them are expected."""
    count = min(PATIENCES, len(over))
    cuts = [len(over) * k // count for k in range(count + 1)]
    return [_one(over[a:b], each, arrival_ms, over[a:b]) for a, b in pairwise(cuts)]


def _one(who: Sequence[Past], each: float, arrival_ms: int, like: Sequence[Past], likely: float = 1.0) -> Expected:
    """Need and power of some, the stay of others."""
    return Expected(
        arrival_ms=arrival_ms,
        departure_ms=arrival_ms + int(fmean(one.stay_ms for one in like)),
        need_wh=round(each * sum(one.energy_wh for one in who)),
        max_w=max(1, round(each * sum(one.max_w for one in who))),
        likely=likely,
    )


def _steadiness(counts: Sequence[int]) -> float:
    """Shape of the gamma variable that makes days differ as these do; without bound where chance alone does."""
    if len(counts) < 2 or not any(counts):
        return 1e9
    mean = fmean(counts)
    return float(mean * mean / max(1e-9, variance(counts) - mean))
