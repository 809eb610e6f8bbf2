"""A measured series as a function of time: gaps stay gaps, nothing is invented beyond the ends."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import pairwise


class Unit(StrEnum):
    """What a value is."""

    WATT = "W"
    KG_PER_KWH = "kg/kWh"
    PRICE_PER_KWH = "per kWh"
    """Money of the series' currency."""
    WATT_PER_M2 = "W/m²"
    CELSIUS = "°C"
    SHARE = "share"
    """0 to 1."""


class Between(StrEnum):
    """What holds between two samples."""

    LINEAR = "linear"
    """Samples are points of a line."""
    STEP = "step"
    """A sample holds until the next one, as a price or an hourly mean does."""


class Series:
    """Samples in their order. ``at`` answers for any instant, with None where nothing is known."""

    def __init__(
        self,
        times_ms: Sequence[int],
        values: Sequence[float | None],
        unit: Unit,
        between: Between,
        *,
        longest_ms: int,
    ) -> None:
        """``longest_ms`` is the longest time between samples that is bridged, and how long the last one holds (STEP).

        A None among ``values`` is a gap: it is bridged if its neighbours are close enough, and never if a step would
        have to hold across it. Raises ValueError for times out of order, values that are no numbers, or no samples.
        """
        if len(times_ms) != len(values):
            raise ValueError(f"{len(times_ms)} times and {len(values)} values.")
        if any(a >= b for a, b in pairwise(times_ms)):
            raise ValueError("times have to rise.")
        if any(value is not None and not math.isfinite(value) for value in values):
            raise ValueError("a value is no finite number.")
        self.unit = unit
        self.between = between
        self.longest_ms = longest_ms
        # A step ends at a gap; a line runs across it.
        kept = [
            (at_ms, value)
            for at_ms, value in zip(times_ms, values, strict=True)
            if value is not None or between is Between.STEP
        ]
        if all(value is None for _, value in kept):
            raise ValueError("there are no samples.")
        self._times_ms = [at_ms for at_ms, _ in kept]
        self._values = [value for _, value in kept]

    @property
    def start_ms(self) -> int:
        return self._times_ms[0]

    @property
    def end_ms(self) -> int:
        """The instant of the last sample."""
        return self._times_ms[-1]

    def __len__(self) -> int:
        return len(self._times_ms)

    def at(self, at_ms: int) -> float | None:
        """The value at an instant; None outside the series and in gaps."""
        index = bisect_right(self._times_ms, at_ms) - 1
        if index < 0:
            return None
        since_ms, value = at_ms - self._times_ms[index], self._values[index]
        if value is None or since_ms == 0:
            return value
        if index + 1 == len(self._times_ms):
            return value if self.between is Between.STEP and since_ms < self.longest_ms else None
        step_ms = self._times_ms[index + 1] - self._times_ms[index]
        if self.between is Between.STEP:
            return value if since_ms < self.longest_ms else None
        following = self._values[index + 1]
        if step_ms > self.longest_ms or following is None:
            return None
        return value + (following - value) * since_ms / step_ms


class Yearly:
    """A series of one year without a year, repeated in every year; the same date and time of standard time count.

    February 29 repeats the 28th where the series has none.
    """

    def __init__(self, series: Series, year: int, utc_offset_ms: int) -> None:
        """``series`` lies in ``year`` of standard time at ``utc_offset_ms``, its instants UTC."""
        self.series = series
        self.unit = series.unit
        self._year = year
        self._offset_ms = utc_offset_ms

    def at(self, at_ms: int) -> float | None:
        """The value at the same instant of the series' year."""
        local = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at_ms + self._offset_ms)
        try:
            moved = local.replace(year=self._year)
        except ValueError:
            moved = local.replace(year=self._year, day=28)
        moved_ms = (moved - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1) - self._offset_ms
        # The year's last point holds until the year begins anew.
        past_ms = moved_ms - self.series.end_ms
        return self.series.at(self.series.end_ms if 0 < past_ms < self.series.longest_ms else moved_ms)
