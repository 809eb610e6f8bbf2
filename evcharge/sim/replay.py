"""Real series from CSV files, in the project's units, as functions of time.

Each reader knows one shape of file: its unit, its clock, whether a row is a point or a mean, and whether it is stamped
at the beginning or at the end of what it means. A file with one bad row is refused, with file and line.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

from evcharge.sim.series import Between, Series, Unit, Yearly

_MINUTE_MS = 60_000
_HOUR_MS = 60 * _MINUTE_MS
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# A year without leap day in which years without a number are laid out.
_PLAIN_YEAR = 2019
# Los Angeles in standard time, by which models of buildings and of the sun are stamped.
PACIFIC_STANDARD_MS = -8 * _HOUR_MS
# What is bridged: one missing sample of each.
_LONGEST = 2


class ReplayError(ValueError):
    """The file cannot be replayed; the sentence names file and line and says what is wrong."""


class _Sample(NamedTuple):
    line: int
    at_ms: int
    value: float | None


def carbon(path: Path) -> Series:
    """Marginal emissions: ``time`` (ISO 8601 with offset), ``moer`` in kg CO2 per kWh, a point every 5 minutes."""
    samples = _samples(path, "time", "moer", lambda text, _: _instant_ms(text))
    return _series(path, samples, Unit.KG_PER_KWH, Between.LINEAR, 5 * _MINUTE_MS, least=0.0)


def uk_carbon(path: Path, column: str = "intensity.actual") -> Series:
    """Half-hour means of the British grid: ``from``, then g CO2 per kWh; an empty cell is a gap."""
    samples = _samples(path, "from", column, lambda text, _: _instant_ms(text), scale=0.001)
    return _series(path, samples, Unit.KG_PER_KWH, Between.STEP, 30 * _MINUTE_MS, least=0.0)


def prices(path: Path, column: str = "lz_houston_usd_per_mwh", zone: str = "America/Chicago") -> Series:
    """Hourly prices in USD/MWh by wall clock: ``hour_start_us_central``, ``repeated_hour`` (Y: the second 1 o'clock).

    Negative prices are prices. Raises ReplayError as well for a local hour that does not exist.
    """
    place = ZoneInfo(zone)

    def instant(text: str, row: dict[str, str]) -> int:
        local = datetime.fromisoformat(text).replace(tzinfo=place, fold=row.get("repeated_hour") == "Y")
        if local.astimezone(UTC).astimezone(place).replace(tzinfo=None) != local.replace(tzinfo=None):
            raise ValueError(f"{text} does not exist in {zone}")
        return _ms(local)

    samples = _samples(path, "hour_start_us_central", column, instant, scale=0.001)
    return _series(path, samples, Unit.PRICE_PER_KWH, Between.STEP, _HOUR_MS)


def solar_year(path: Path, utc_offset_ms: int = PACIFIC_STANDARD_MS) -> Yearly:
    """Array power: ``Time stamp`` ("Jan 1, 12:30 am", no year, standard time), kW, a point every 30 minutes."""

    def instant(text: str, _: dict[str, str]) -> int:
        # Parsed with a year: without one, February 29 and the default year of strptime get into each other's way.
        local = datetime.strptime(f"{_PLAIN_YEAR} {text}", "%Y %b %d, %I:%M %p").replace(tzinfo=UTC)
        return _ms(local) - utc_offset_ms

    samples = _samples(path, "Time stamp", "Array DC power | (kW)", instant, scale=1000)
    series = _series(path, samples, Unit.WATT, Between.LINEAR, 30 * _MINUTE_MS, least=0.0)
    return Yearly(series, _PLAIN_YEAR, utc_offset_ms)


def building_year(
    path: Path, column: str = "Electricity:Facility [kW](Hourly)", utc_offset_ms: int = PACIFIC_STANDARD_MS
) -> Yearly:
    """Hourly means of a building: ``Date/Time`` (" 01/01  24:00:00": the hour that *ends* then), kW, standard time."""

    def instant(text: str, _: dict[str, str]) -> int:
        date, hour = (*text.split(), "")[:2]
        day = datetime.strptime(f"{_PLAIN_YEAR}/{date}", "%Y/%m/%d").replace(tzinfo=UTC)
        ends = hour.strip().removesuffix(":00:00")
        if not ends.isdecimal() or not 1 <= int(ends) <= 24:
            raise ValueError(f"{text!r} has no hour from 01:00:00 to 24:00:00")
        return _ms(day) + (int(ends) - 1) * _HOUR_MS - utc_offset_ms

    samples = _samples(path, "Date/Time", column, instant, scale=1000)
    series = _series(path, samples, Unit.WATT, Between.STEP, _HOUR_MS, least=0.0)
    return Yearly(series, _PLAIN_YEAR, utc_offset_ms)


class Weather(NamedTuple):
    """A typical year of a place; hourly means."""

    sun: Yearly
    """On a horizontal square metre, W."""
    warmth: Yearly
    """Of the air, °C."""
    cover: Yearly
    """Share of the sky that is covered, 0 to 1."""


def weather_year(path: Path, utc_offset_ms: int = PACIFIC_STANDARD_MS) -> Weather:
    """A typical meteorological year: ``month_day`` ("01-31") and ``hour_ending`` (1 to 24) of standard time, and sun
    (``ghi_wh_m2``), temperature (``dry_bulb_c``) and cover (``total_sky_cover_tenths``).
    """

    def instant(text: str, row: dict[str, str]) -> int:
        day = datetime.strptime(f"{_PLAIN_YEAR}-{text}", "%Y-%m-%d").replace(tzinfo=UTC)
        ends = (row.get("hour_ending") or "").strip()
        if not ends.isdecimal() or not 1 <= int(ends) <= 24:
            raise ValueError(f"hour_ending is {ends!r}; it is 1 to 24")
        return _ms(day) + (int(ends) - 1) * _HOUR_MS - utc_offset_ms

    def year(column: str, unit: Unit, *, scale: float = 1.0, least: float, most: float) -> Yearly:
        samples = _samples(path, "month_day", column, instant, scale=scale)
        series = _series(path, samples, unit, Between.STEP, _HOUR_MS, least=least, most=most)
        return Yearly(series, _PLAIN_YEAR, utc_offset_ms)

    return Weather(
        # More than the sun sends to the edge of the atmosphere, and temperatures that no place has, are a slipped unit.
        sun=year("ghi_wh_m2", Unit.WATT_PER_M2, least=0.0, most=1_400.0),
        warmth=year("dry_bulb_c", Unit.CELSIUS, least=-90.0, most=60.0),
        cover=year("total_sky_cover_tenths", Unit.SHARE, scale=0.1, least=0.0, most=1.0),
    )


def _samples(
    path: Path,
    time_column: str,
    value_column: str,
    instant: Callable[[str, dict[str, str]], int],
    *,
    scale: float = 1.0,
) -> list[_Sample]:
    """The rows of two columns, UTC milliseconds and scaled values."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines, strict=True)
            missing = {time_column, value_column} - set(reader.fieldnames or ())
            if missing:
                raise ReplayError(f"{path}:1: the column {min(missing)} is missing.")
            return [
                _sample(f"{path}:{reader.line_num}", reader.line_num, row, time_column, value_column, instant, scale)
                for row in _whole(path, reader, (time_column, value_column))
            ]
    except OSError as error:
        raise ReplayError(f"cannot read {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ReplayError(f"{path} is not UTF-8 text (byte {error.start}).") from error
    except csv.Error as error:
        raise ReplayError(f"{path} is not CSV: {error}.") from error


def _whole(path: Path, reader: csv.DictReader[str], columns: tuple[str, str]) -> Iterator[dict[str, str]]:
    """Rows that reach as far as both columns; what is missing behind them was never there in some files."""
    for row in reader:
        if None in row or any(row[column] is None for column in columns):
            raise ReplayError(f"{path}:{reader.line_num}: the row has not the columns of the header.")
        yield row


def _sample(
    where: str,
    line: int,
    row: dict[str, str],
    time_column: str,
    value_column: str,
    instant: Callable[[str, dict[str, str]], int],
    scale: float,
) -> _Sample:
    text = row[value_column].strip()
    try:
        at_ms = instant(row[time_column], row)
        value = float(text) * scale if text else None
    except ValueError as error:
        raise ReplayError(f"{where}: {error}.") from error
    if value is not None and not math.isfinite(value):
        raise ReplayError(f"{where}: {text} is no finite number.")
    return _Sample(line, at_ms, value)


def _series(
    path: Path,
    samples: list[_Sample],
    unit: Unit,
    between: Between,
    step_ms: int,
    *,
    least: float = -math.inf,
    most: float = math.inf,
) -> Series:
    if all(sample.value is None for sample in samples):
        raise ReplayError(f"{path} has no values, only a header.")
    for one, following in pairwise(samples):
        if one.at_ms >= following.at_ms:
            raise ReplayError(f"{path}:{following.line}: its time is not after that of the row before.")
    for sample in samples:
        if sample.value is not None and sample.value < least:
            raise ReplayError(f"{path}:{sample.line}: {sample.value:g} {unit} is below {least:g}.")
        if sample.value is not None and sample.value > most:
            raise ReplayError(f"{path}:{sample.line}: {sample.value:g} {unit} is above {most:g}.")
    return Series(
        [sample.at_ms for sample in samples],
        [sample.value for sample in samples],
        unit,
        between,
        # A mean holds for its own time and no longer, a line may miss one point.
        longest_ms=step_ms if between is Between.STEP else _LONGEST * step_ms,
    )


def _instant_ms(text: str) -> int:
    instant = datetime.fromisoformat(text)
    if instant.utcoffset() is None:
        raise ValueError(f"{text} has no offset")
    return _ms(instant)


def _ms(instant: datetime) -> int:
    return (instant - _EPOCH) // timedelta(milliseconds=1)
