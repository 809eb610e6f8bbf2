"""Real series for the energy bench: sessions, tariffs, carbon, solar; and what history lets one expect.

Everything is put on steps of 5 minutes. A session is there from the step of its arrival until the one before its
departure's, as acnportal has it, so that figures compare.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from statistics import fmean
from typing import NamedTuple
from zoneinfo import ZoneInfo

from evcharge.central.sensors import SLOTS
from evcharge.central.sensors import STEP_MS as QUARTER_MS
from evcharge.energy.arrivals import Habits, Offset, Past
from evcharge.energy.forecast import DAYS, onward
from evcharge.energy.model import STEP_MS, Series
from evcharge.sim.tariffs import Tariff
from evcharge.units import MS_PER_HOUR

STEPS_PER_HOUR = MS_PER_HOUR // STEP_MS
STEPS_PER_DAY = 24 * STEPS_PER_HOUR
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
    """What Central expects of a series that it knows up to step ``index`` of the replay.

    ``actual[past]`` is the first step of the replay; ``step`` the number of the present one.
    """
    here = past + index
    known = actual[max(0, here - DAYS * STEPS_PER_DAY) : here + 1]
    start_ms = (step + 1 - len(known)) * STEP_MS
    return onward(start_ms, known, STEP_MS, step * STEP_MS, (step + ahead) * STEP_MS)


def sunny(actual: Sequence[float], first: int, now: int, ahead: int) -> Series:
    """What Central expects of the sun, W: from means of quarters and the newest value, as its sensors keep them."""
    here, quarter = now - first, QUARTER_MS // STEP_MS
    # Days begin on a quarter everywhere.
    begin = max(0, here // quarter - SLOTS)
    known = [fmean(actual[k * quarter : (k + 1) * quarter]) for k in range(begin, here // quarter)]
    start_ms = (first + begin * quarter) * STEP_MS
    series = onward(start_ms, [*known, actual[here]], QUARTER_MS, now * STEP_MS, (now + ahead) * STEP_MS)
    return Series(series.start_ms, series.step_ms, tuple(max(0.0, value) for value in series.values))


def habits_of(history: Iterable[Visit], first: date, last: date, zone: ZoneInfo, max_w: int) -> Habits:
    """What the sessions of the days ``first`` to ``last`` let one expect."""
    past = [
        Past(visit.arrival * STEP_MS, (visit.departure - visit.arrival) * STEP_MS, visit.need_wh, max_w)
        for visit in history
    ]
    since, until = local_midnight(first, zone), local_midnight(last + timedelta(days=1), zone)
    return Habits(past, since * STEP_MS, until * STEP_MS, offset_of(zone))


def lateness_of(history: Iterable[Visit]) -> tuple[int, ...]:
    """Departures minus declared departures, sorted, ms."""
    return tuple(sorted((visit.departure - visit.declared_departure) * STEP_MS for visit in history))


def offset_of(zone: ZoneInfo) -> Offset:
    """How far a zone is ahead of UTC."""

    def offset(at_ms: int) -> int:
        ahead = datetime.fromtimestamp(at_ms / 1000, zone).utcoffset()
        assert ahead is not None
        return int(ahead.total_seconds() * 1000)

    return offset


def local_midnight(day: date, zone: ZoneInfo) -> int:
    """The step at which a day begins."""
    return step_of(datetime(day.year, day.month, day.day, tzinfo=zone))
