"""The older recommender's formula, to the digit, for clients that still ask for it. New ones use ``energy.recommend``.

E = (100 − battery)/100 × 60 kWh, t = E/(solar + grid) h, CO2 = E × carbon intensity kg, each rounded to two decimals;
score = 200 − price·E − 10·t − 2·CO2 − 5·queue. The highest score wins, the first of equal ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

BATTERY_KWH = 60.0
# Scores that differ by less than this differ by the rounding of floats, not by their figures.
SCORE_DIGITS = 9


class LegacyStation(msgspec.Struct, frozen=True, kw_only=True):
    """What that formula looks at: kW, kg CO2 per kWh, money per kWh, cars."""

    station_id: str
    solar_supply_kw: float
    grid_supply_kw: float
    carbon_intensity: float
    price_per_kwh: float
    queue_length: int


class LegacyRow(msgspec.Struct, frozen=True, kw_only=True):
    """One station's analysis. ``score`` and ``charging_time_hours`` are None for a station that cannot be used."""

    station_id: str
    score: float | None
    energy_needed_kwh: float
    charging_time_hours: float | None
    carbon_emission_kg: float
    explanation: str


class LegacyDecision(msgspec.Struct, frozen=True, kw_only=True):
    """The ``decision`` of the answer; ``recommended_station`` None: no station can be used."""

    recommended_station: str | None
    metrics: LegacyRow | None
    all_station_analysis: tuple[LegacyRow, ...]
    system_message: str


def legacy(battery_percent: float, stations: Sequence[LegacyStation]) -> LegacyDecision:
    """The decision for a vehicle at ``battery_percent``. Raises ValueError unless that is 0 to 100."""
    if not 0 <= battery_percent <= 100:
        raise ValueError(f"battery_percent is {battery_percent}; it is 0 to 100.")
    rows = tuple(_row((100 - battery_percent) / 100 * BATTERY_KWH, station) for station in stations)
    usable = [(round(row.score, SCORE_DIGITS), row) for row in rows if row.score is not None]
    if not usable:
        return LegacyDecision(
            recommended_station=None,
            metrics=None,
            all_station_analysis=tuple(_shown(row) for row in rows),
            system_message="No station can supply this vehicle now.",
        )
    # max() keeps the first of equal ones.
    best = _shown(max(usable, key=lambda pair: pair[0])[1])
    return LegacyDecision(
        recommended_station=best.station_id,
        metrics=best,
        all_station_analysis=tuple(_shown(row) for row in rows),
        system_message=f"{best.station_id} has the highest score, {best.score:.2f}, of {len(usable)} usable stations.",
    )


def _row(energy_kwh: float, station: LegacyStation) -> LegacyRow:
    """The analysis with its score unrounded, so that rounding for people makes no ties."""
    supply_kw = station.solar_supply_kw + station.grid_supply_kw
    figures = (supply_kw, station.carbon_intensity, station.price_per_kwh)
    energy = round(energy_kwh, 2)
    negative = min(station.solar_supply_kw, station.grid_supply_kw, station.carbon_intensity, station.queue_length) < 0
    if negative or not all(map(math.isfinite, figures)):
        return _unusable(station, energy, 0.0, "Its figures make no sense: negative, or no numbers.")
    carbon = round(energy_kwh * station.carbon_intensity, 2)
    if supply_kw == 0:
        return _unusable(station, energy, carbon, "It has neither solar nor grid supply.")
    hours = round(energy_kwh / supply_kw, 2)
    score = 200 - station.price_per_kwh * energy - 10 * hours - 2 * carbon - 5 * station.queue_length
    return LegacyRow(
        station_id=station.station_id,
        score=score,
        energy_needed_kwh=energy,
        charging_time_hours=hours,
        carbon_emission_kg=carbon,
        explanation=(
            f"{energy:.2f} kWh in {hours:.2f} h, {carbon:.2f} kg CO2, "
            f"{station.price_per_kwh * energy:.2f} to pay, {station.queue_length} waiting."
        ),
    )


def _unusable(station: LegacyStation, energy: float, carbon: float, why: str) -> LegacyRow:
    return LegacyRow(
        station_id=station.station_id,
        score=None,
        energy_needed_kwh=energy,
        charging_time_hours=None,
        carbon_emission_kg=carbon,
        explanation=why,
    )


def _shown(row: LegacyRow) -> LegacyRow:
    return row if row.score is None else msgspec.structs.replace(row, score=round(row.score, 2))
