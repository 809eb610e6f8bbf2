"""What power costs the site over time: a price for every hour of the week, as tariffs are written.

Pure: local time comes in as a function (``arrivals.Offset``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from evcharge.energy.arrivals import Offset
from evcharge.energy.model import Series

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY_MS = 86_400_000
_MINUTE_MS = 60_000
# 1970-01-01 was a Thursday; day 0 is a Monday.
_FIRST_DAY = 3


class Period(NamedTuple):
    """A price on some days, from a minute of the day to before another; past midnight where ``until`` is the lesser."""

    days: frozenset[int]
    """0 is Monday; the day on which the period begins."""
    begin_min: int
    until_min: int
    price: float


class TimeOfUse(NamedTuple):
    """Money per kWh: ``base``, unless a period holds. Of several that hold, the first."""

    base: float
    periods: tuple[Period, ...] = ()

    def at(self, at_ms: int, offset: Offset) -> float:
        """The price at an instant."""
        local_ms = at_ms + offset(at_ms)
        day = (local_ms // _DAY_MS + _FIRST_DAY) % 7
        minute = local_ms % _DAY_MS // _MINUTE_MS
        return next((period.price for period in self.periods if _holds(period, day, minute)), self.base)

    def series(self, start_ms: int, step_ms: int, count: int, offset: Offset) -> Series:
        """The prices of ``count`` steps, each by the price at its beginning."""
        return Series(start_ms, step_ms, tuple(self.at(start_ms + k * step_ms, offset) for k in range(count)))


def _holds(period: Period, day: int, minute: int) -> bool:
    if period.begin_min < period.until_min:
        return day in period.days and period.begin_min <= minute < period.until_min
    # Over midnight: the evening of a day, and the morning after it.
    return (day in period.days and minute >= period.begin_min) or (
        (day - 1) % 7 in period.days and minute < period.until_min
    )


def minute_of(text: str) -> int:
    """``07:30`` → 450; ``24:00`` is the end of the day. Raises ValueError."""
    hours, colon, minutes = text.partition(":")
    if colon and hours.isdigit() and minutes.isdigit() and len(minutes) == 2:
        minute = int(hours) * 60 + int(minutes)
        if int(minutes) < 60 and minute <= 24 * 60:
            return minute
    raise ValueError(f"a time of day is written 07:30, not {text}")


def days_of(names: Sequence[str]) -> frozenset[int]:
    """Names of days as numbers; none means every day. Raises ValueError."""
    unknown = next((name for name in names if name not in DAYS), None)
    if unknown is not None:
        raise ValueError(f"a day is one of {', '.join(DAYS)}, not {unknown}")
    return frozenset(map(DAYS.index, names)) if names else frozenset(range(7))
