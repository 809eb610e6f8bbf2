"""Real series for the energy bench: sessions, tariffs, carbon, solar; and what history lets one expect.

Everything is put on steps of 5 minutes. A session is there from the step of its arrival until the one before its
departure's, as acnportal has it, so that figures compare.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from statistics import fmean, variance
from typing import NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from evcharge.energy.lp import Floats
from evcharge.energy.model import STEP_MS, Expected, Series
from evcharge.sim.tariffs import Tariff
from evcharge.units import MS_PER_HOUR

STEPS_PER_HOUR = MS_PER_HOUR // STEP_MS
STEPS_PER_DAY = 24 * STEPS_PER_HOUR
# Days of which a mean is taken for the same time of day: each day of the week twice. On the marginal emissions of June
# to August 7 and 28 days erred more.
DAYS = 14
# Steps ahead at which it is learnt how much of a deviation is left: 5 minutes to half a day.
LEADS = np.array([1, 2, 3, 6, 12, 24, 36, 48, 72, 96, 120, 144])
# Groups of the sessions of an hour, from those that can wait least to those that can wait most.
PATIENCES = 3
# Longest stay, steps: a car that was forgotten for a week would be a battery of the site.
MAX_STAY = STEPS_PER_DAY
# Size of the array whose output the solar file has, kW.
SOLAR_FILE_KW = 220.0
# What is left of a panel's output after the inverter.
INVERTER = 0.96


class Visit(NamedTuple):
    """One session. Steps are counted from the epoch."""

    id: str
    connector: str
    arrival: int
    departure: int
    need_wh: int
    declared_departure: int
    """As the driver said; the real one where nobody said anything."""
    declared_wh: int


def step_of(at: datetime) -> int:
    """The step that an instant lies in."""
    return int(at.timestamp() * 1000) // STEP_MS


def read_visits(path: Path, first: date, last: date, zone: ZoneInfo) -> list[Visit]:
    """Sessions that arrive on the days ``first`` to ``last``, in order. Raises OSError, KeyError, ValueError."""
    visits = []
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            arrival = datetime.fromisoformat(row["arrival"])
            if not first <= arrival.astimezone(zone).date() <= last:
                continue
            start = step_of(arrival)
            end = max(start + 1, min(step_of(datetime.fromisoformat(row["departure"])), start + MAX_STAY))
            need_wh = round(float(row["delivered_kwh"]) * 1000)
            if need_wh <= 0:
                continue
            claimed = row["claimed"] == "True" and row["estimated_departure"]
            declared = step_of(datetime.fromisoformat(row["estimated_departure"])) if claimed else end
            wanted = round(float(row["requested_kwh"]) * 1000) if claimed else need_wh
            visits.append(
                Visit(row["session_id"], row["station_id"], start, end, need_wh, max(start + 1, declared), wanted)
            )
    return sorted(visits, key=lambda visit: (visit.arrival, visit.id))


def day_of(visit: Visit, zone: ZoneInfo) -> date:
    """The local day of its arrival."""
    return datetime.fromtimestamp(visit.arrival * STEP_MS / 1000, zone).date()


def price_series(tariff: Tariff, first: int, count: int, zone: ZoneInfo) -> tuple[float, ...]:
    """Price in each step from ``first`` on."""
    return tuple(
        tariff.price(datetime.fromtimestamp(step * STEP_MS / 1000, zone)) for step in range(first, first + count)
    )


def read_carbon(path: Path, first: int, count: int) -> tuple[float, ...]:
    """kg per kWh in each step; a gap has the last value before it. Raises OSError, KeyError, ValueError."""
    found: dict[int, float] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            found[step_of(datetime.fromisoformat(row["time"]))] = float(row["moer"])
    return _filled(found, first, count)


def read_solar(path: Path, kilowatts: float, first: int, count: int, zone: ZoneInfo) -> tuple[float, ...]:
    """W in each step of an array of ``kilowatts`` peak; the file has a year without its number, in standard time."""
    by_time: dict[tuple[int, int, int, int], float] = {}
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.reader(file)
        next(rows)
        for stamp, kw in rows:
            at = datetime.strptime(f"2019 {stamp}", "%Y %b %d, %I:%M %p")
            by_time[at.month, at.day, at.hour, at.minute] = float(kw)
    winter = datetime(2019, 1, 1, tzinfo=zone).utcoffset()
    assert winter is not None
    standard, scale = timezone(winter), kilowatts / SOLAR_FILE_KW * INVERTER * 1000
    values = []
    for step in range(first, first + count):
        at = datetime.fromtimestamp(step * STEP_MS / 1000, standard)
        values.append(max(0.0, by_time[at.month, at.day, at.hour, 30 * (at.minute // 30)] * scale))
    return tuple(values)


def carbon_past(path: Path, first: int) -> tuple[float, ...]:
    """The whole days before step ``first`` that the file has, ``DAYS`` at most. Raises as ``read_carbon``."""
    with path.open(newline="", encoding="utf-8") as file:
        begin = min(step_of(datetime.fromisoformat(row["time"])) for row in csv.DictReader(file))
    count = min(DAYS, (first - begin) // STEPS_PER_DAY) * STEPS_PER_DAY
    if count <= 0:
        raise ValueError("the series has no day before the first: nothing to forecast from")
    return read_carbon(path, first - count, count)


def _filled(found: dict[int, float], first: int, count: int) -> tuple[float, ...]:
    values, last = [], next((found[step] for step in range(first, first + count) if step in found), None)
    if last is None:
        raise ValueError("the series has no values for these days")
    for step in range(first, first + count):
        last = found.get(step, last)
        values.append(last)
    return tuple(values)


def persisted(actual: Sequence[float], first: int, now: int, ahead: int) -> Series:
    """What is known of a series at step ``now``: this step's value, then the last day's over and over.

    On the first day, what is before the series is its first value.
    """
    here = now - first
    day = [actual[max(0, here - STEPS_PER_DAY + k)] for k in range(1, STEPS_PER_DAY + 1)]
    values = [actual[here], *(day[k % STEPS_PER_DAY] for k in range(ahead - 1))]
    return Series(now * STEP_MS, STEP_MS, tuple(values))


def seasonal(actual: Sequence[float], past: int, index: int, ahead: int, step: int) -> Series:
    """The mean of the same time of the last days, and how far from it now and the last hour were, as far as that lasts.

    How much of it is left after some steps is a regression over those days. ``actual[past]`` is the first step of the
    replay, ``past`` some days of steps; ``step`` the number of the present one.
    """
    here = past + index
    days = min(DAYS, here // STEPS_PER_DAY)
    known = np.asarray(actual[here - days * STEPS_PER_DAY : here + 1])
    profile = known[:-1].reshape(days, STEPS_PER_DAY).mean(axis=0)
    off = known - np.resize(profile, len(known))
    sums = np.concatenate(([0.0], np.cumsum(off)))

    def seen(at: NDArray[np.int64]) -> Floats:
        """The deviation at a step, and its mean over the hour that ends with it."""
        hour = (sums[at + 1] - sums[at + 1 - STEPS_PER_HOUR]) / STEPS_PER_HOUR
        return np.stack([off[at], hour], axis=1)

    # Every quarter of an hour tells as much as every step.
    at = np.arange(STEPS_PER_HOUR, len(off) - LEADS[-1], 3)
    before, after = seen(at), off[at[:, None] + LEADS]
    # Without any deviation there is nothing to learn, and nothing to divide by.
    square = before.T @ before + 1e-9 * np.eye(2)
    left = seen(np.array([len(off) - 1])) @ np.linalg.solve(square, before.T @ after)
    lasting = np.interp(np.arange(ahead), [0, *LEADS, STEPS_PER_DAY], [off[-1], *left[0], 0.0])
    values = np.resize(profile, ahead) + lasting
    return Series(step * STEP_MS, STEP_MS, tuple(values.tolist()))


class Habits:
    """Arrivals per hour of a working day or a day off: number, energy, stay; and how much such days differ.

    Each hour's arrivals are ``PATIENCES`` groups: a mean of all would look more patient than most of them are.
    """

    def __init__(self, history: Iterable[Visit], first: date, last: date, zone: ZoneInfo, max_w: int) -> None:
        self._zone, self._max_w = zone, max_w
        days = [first + timedelta(days=k) for k in range((last - first).days + 1)]
        self._days = {off: max(1, sum((day.weekday() >= 5) == off for day in days)) for off in (False, True)}
        self._seen: dict[tuple[bool, int], list[Visit]] = {}
        counts = {off: {day: 0 for day in days if (day.weekday() >= 5) == off} for off in (False, True)}
        late = []
        for visit in history:
            at = datetime.fromtimestamp(visit.arrival * STEP_MS / 1000, zone)
            off = at.weekday() >= 5
            self._seen.setdefault((off, at.hour), []).append(visit)
            counts[off][at.date()] = counts[off].get(at.date(), 0) + 1
            late.append((visit.departure - visit.declared_departure) * STEP_MS)
        for seen in self._seen.values():
            seen.sort(key=lambda visit: (self._slack(visit), visit.id))
        self._steady = {off: _steadiness(list(counts[off].values())) for off in (False, True)}
        self.lateness_ms = tuple(sorted(late))

    def _slack(self, visit: Visit) -> float:
        """Steps that it can wait."""
        return visit.departure - visit.arrival - visit.need_wh * MS_PER_HOUR / STEP_MS / self._max_w

    def midnight(self, now: int) -> int:
        """The step at which the local day of step ``now`` began."""
        return local_midnight(datetime.fromtimestamp(now * STEP_MS / 1000, self._zone).date(), self._zone)

    def busier(self, now: int, came: int) -> float:
        """How many times as many as usual come today, after ``came`` until step ``now``.

        A day's rate is the usual one times a gamma variable of mean 1 whose shape is how alike the days of the history
        were; this is its mean given what has come (Gelman et al., Bayesian Data Analysis, ch. 2.6).
        """
        at = datetime.fromtimestamp(now * STEP_MS / 1000, self._zone)
        off = at.weekday() >= 5
        usual = float(sum(len(self._seen.get((off, hour), ())) for hour in range(at.hour)))
        usual += len(self._seen.get((off, at.hour), ())) * at.minute / 60
        shape = self._steady[off]
        return (shape + came) / (shape + usual / self._days[off])

    def expected(self, now: int, ahead: int, came: int | None = None) -> tuple[Expected, ...]:
        """Some for each hour of the next ``ahead`` steps in which somebody came in the past.

        ``came``: how many have come today; None: nobody counted, and today is as usual.
        """
        found = []
        start, tomorrow = now - now % STEPS_PER_HOUR, self.midnight(now) + STEPS_PER_DAY
        today = 1.0 if came is None else self.busier(now, came)
        for hour in range(start, now + ahead, STEPS_PER_HOUR):
            at = datetime.fromtimestamp(hour * STEP_MS / 1000, self._zone)
            off = at.weekday() >= 5
            seen = self._seen.get((off, at.hour), [])
            each = (today if hour < tomorrow else 1.0) / self._days[off]
            groups = min(PATIENCES, len(seen))
            # In the middle of the hour on average.
            arrival = hour + STEPS_PER_HOUR // 2 if hour >= now else hour
            for k in range(groups):
                group = seen[len(seen) * k // groups : len(seen) * (k + 1) // groups]
                stay = fmean(visit.departure - visit.arrival for visit in group)
                found.append(
                    Expected(
                        arrival_ms=arrival * STEP_MS,
                        departure_ms=int((arrival + stay) * STEP_MS),
                        need_wh=round(each * sum(visit.need_wh for visit in group)),
                        max_w=max(1, round(each * len(group) * self._max_w)),
                    )
                )
        return tuple(found)


def _steadiness(counts: Sequence[int]) -> float:
    """Shape of the gamma variable that makes days differ as these do; without bound where chance alone does."""
    if len(counts) < 2 or not any(counts):
        return 1e9
    mean = fmean(counts)
    return float(mean * mean / max(1e-9, variance(counts) - mean))


def local_midnight(day: date, zone: ZoneInfo) -> int:
    """The step at which a day begins."""
    return step_of(datetime(day.year, day.month, day.day, tzinfo=zone))
