"""Tariffs as utilities publish them: prices per kWh by season, day of the week and hour, and a demand charge.

The files are acnportal's: JSON with a ``schedule`` of rows, hours and prices side by side, local time.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_right
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from evcharge.energy.tariff import Period, TimeOfUse
from evcharge.sim.replay import ReplayError

_WEEKDAYS = frozenset(range(5))
_MASKS = {"WEEKDAYS": _WEEKDAYS, "WEEKENDS": frozenset({5, 6}), "ALL": frozenset(range(7))}


class Season(NamedTuple):
    """One row of a tariff: weekdays 0 to 6 from Monday, hours at which a price begins."""

    first: tuple[int, int]
    last: tuple[int, int]
    weekdays: frozenset[int]
    hours: tuple[float, ...]
    prices: tuple[float, ...]
    demand_charge: float
    """Money per kW of the month's peak."""


class Tariff(NamedTuple):
    """Prices per kWh by local time."""

    seasons: tuple[Season, ...]

    def season(self, day: date) -> Season:
        """The row for a day: the first that names it. Raises ValueError when none does."""
        now = (day.month, day.day)
        for season in self.seasons:
            inside = (
                season.first <= now <= season.last
                if season.first <= season.last
                else now >= season.first or now <= season.last
            )
            if inside and day.weekday() in season.weekdays:
                return season
        raise ValueError(f"the tariff has no prices for {day}")

    def price(self, at: datetime) -> float:
        """Money per kWh at a local time."""
        season = self.season(at.date())
        hour = at.hour + at.minute / 60
        return season.prices[bisect_right(season.hours, hour) - 1]

    def time_of_use(self, day: date) -> TimeOfUse:
        """The prices of the week from ``day`` on, as a site file has them: they hold for one season."""
        periods = []
        for ahead in range(7):
            season = self.season(day + timedelta(days=ahead))
            weekday = frozenset({(day + timedelta(days=ahead)).weekday()})
            edges = [*(round(hour * 60) for hour in season.hours), 24 * 60]
            for (begin, until), price in zip(pairwise(edges), season.prices, strict=True):
                periods.append(Period(weekday, begin, until, price))
        return TimeOfUse(periods[0].price, tuple(periods))


class PriceOverTime:
    """A tariff as a function of time."""

    def __init__(self, tariff: Tariff, zone: ZoneInfo) -> None:
        self._tariff, self._zone = tariff, zone

    def at(self, at_ms: int) -> float:
        """Money per kWh at UTC milliseconds. Raises ValueError where the tariff has no price."""
        return self._tariff.price(datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(self._zone))


def read_tariff(path: Path) -> Tariff:
    """A tariff of acnportal's form. Raises ReplayError."""
    try:
        rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["schedule"]
        # A mask of all days beside one of weekends means the rest: the narrower row comes first.
        seasons = [_season(row) for row in sorted(rows, key=lambda row: len(_MASKS[row["dow_mask"]]))]
    except OSError as error:
        raise ReplayError(f"cannot read {path}: {error.strerror}.") from error
    except KeyError as error:
        raise ReplayError(f"{path}: no tariff: {error} is missing or not known.") from error
    except (TypeError, ValueError) as error:
        raise ReplayError(f"{path}: no tariff: {error}.") from error
    if not seasons:
        raise ReplayError(f"{path}: no tariff: the schedule is empty.")
    return Tariff(tuple(seasons))


def _season(row: dict[str, Any]) -> Season:
    """Raises KeyError, TypeError, ValueError."""
    hours, prices = tuple(map(float, row["times"])), tuple(map(float, row["tariffs"]))
    if len(hours) != len(prices) or not hours or hours[0] != 0:
        raise ValueError("each time has a price, and the first time is 0")
    if any(a >= b for a, b in pairwise(hours)) or hours[-1] >= 24:
        raise ValueError("times rise and are below 24")
    charge = float(row["demand_charge"])
    if not all(map(math.isfinite, (*hours, *prices, charge))):
        raise ValueError("a price is a number")
    return Season(
        _day(row["effective_start"]),
        _day(row["effective_end"]),
        _MASKS[row["dow_mask"]],
        hours,
        prices,
        charge,
    )


def _day(text: str) -> tuple[int, int]:
    month, _, day = text.partition("-")
    return int(month), int(day)
