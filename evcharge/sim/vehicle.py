"""A vehicle as its telemetry shows it: battery, consumption, place and range, exact at any instant.

State changes only when something is ordered (drive, charge, park); a question is answered from the last order, so
asking changes nothing. Up to ``taper_from`` the battery accepts ``max_w``, above that linearly less until
``floor_share`` of it at full; the power of a charge therefore falls exponentially there, which has a closed form.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import msgspec

_MS_PER_H = 3_600_000
_EARTH_KM = 6_371.0
# Accepted power at full, as a share of the largest: the 1/20 of the charge points' own model.
FLOOR_SHARE = 0.05


class Place(NamedTuple):
    """Degrees."""

    latitude: float
    longitude: float


def distance_km(one: Place, other: Place) -> float:
    """Great circle (haversine) between two places."""
    a, b = math.radians(one.latitude), math.radians(other.latitude)
    half_east = math.radians(other.longitude - one.longitude) / 2
    chord = math.sin((b - a) / 2) ** 2 + math.cos(a) * math.cos(b) * math.sin(half_east) ** 2
    return 2 * _EARTH_KM * math.asin(min(1.0, math.sqrt(chord)))


class VehicleSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A model of car; a middle-class one unless told otherwise."""

    capacity_wh: int = 60_000
    max_w: int = 11_000
    """What it takes at most: its on-board charger."""
    wh_per_km: float = 180.0
    taper_from: float = 0.8
    stop_at: float = 1.0
    """Charge limit that the owner has set, 0 to 1."""

    def __post_init__(self) -> None:
        if self.capacity_wh <= 0 or self.max_w <= 0 or not 0 < self.wh_per_km < math.inf:
            raise ValueError("a vehicle has capacity, power and consumption above 0.")
        if not (0 <= self.taper_from <= 1 and 0 <= self.stop_at <= 1):
            raise ValueError("taper_from and stop_at are 0 to 1.")


class Telemetry(NamedTuple):
    """What a vehicle reports."""

    battery_percent: float
    range_km: float
    consumption_wh_per_km: float
    place: Place
    charging_w: float
    driving: bool


class _Drive(NamedTuple):
    start: Place
    end: Place
    km: float
    kmh: float


class Vehicle:
    """One vehicle; orders come in the order of time."""

    def __init__(self, spec: VehicleSpec, *, percent: float, place: Place, at_ms: int) -> None:
        """Raises ValueError when ``percent`` is not 0 to 100."""
        if not 0 <= percent <= 100:
            raise ValueError(f"percent is {percent}; it is 0 to 100.")
        self.spec = spec
        self._at_ms = at_ms
        self._energy_wh = spec.capacity_wh * percent / 100
        self._place = place
        self._offered_w = 0.0
        self._wh_per_km = spec.wh_per_km
        self._drive: _Drive | None = None

    def drive(self, at_ms: int, to: Place, *, km: float, kmh: float, wh_per_km: float | None = None) -> None:
        """Unplug and go; an empty battery ends the way early. Consumption stays as given until the next drive."""
        if km < 0 or kmh <= 0 or (wh_per_km is not None and wh_per_km <= 0):
            raise ValueError("a way has a length from 0 up, a speed and a consumption above 0.")
        self._settle(at_ms)
        self._offered_w = 0.0
        self._wh_per_km = wh_per_km or self._wh_per_km
        self._drive = _Drive(self._place, to, km, kmh)

    def offer(self, at_ms: int, power_w: float) -> None:
        """Plug in, or change what is offered; a vehicle under way stops where it is. 0: plugged and paused."""
        if not 0 <= power_w < math.inf:
            raise ValueError("an offered power is 0 or more.")
        self._settle(at_ms)
        self._drive = None
        self._offered_w = power_w

    def read(self, at_ms: int) -> Telemetry:
        """The vehicle at an instant since the last order. Raises ValueError for an earlier one."""
        energy_wh, place, power_w, driving = self._state(at_ms)
        percent = min(100.0, max(0.0, energy_wh / self.spec.capacity_wh * 100))
        return Telemetry(percent, energy_wh / self._wh_per_km, self._wh_per_km, place, power_w, driving)

    def arrival_ms(self) -> int | None:
        """When the present way ends, there or with an empty battery; None: not under way."""
        if self._drive is None:
            return None
        return self._at_ms + math.ceil(self._reach_km(self._drive) / self._drive.kmh * _MS_PER_H)

    def _settle(self, at_ms: int) -> None:
        energy_wh, place, _, driving = self._state(at_ms)
        self._at_ms, self._energy_wh, self._place = at_ms, energy_wh, place
        if not driving:
            self._drive = None

    def _reach_km(self, drive: _Drive) -> float:
        return min(drive.km, self._energy_wh / self._wh_per_km)

    def _state(self, at_ms: int) -> tuple[float, Place, float, bool]:
        """(energy, place, charging power, under way) at an instant."""
        if at_ms < self._at_ms:
            raise ValueError(f"{at_ms} is before the last order, {self._at_ms}.")
        hours = (at_ms - self._at_ms) / _MS_PER_H
        if self._drive is None:
            energy_wh, power_w = charge(self.spec, self._energy_wh, self._offered_w, hours)
            return energy_wh, self._place, power_w, False
        drive, reach_km = self._drive, self._reach_km(self._drive)
        gone_km = min(reach_km, drive.kmh * hours)
        done = gone_km / drive.km if drive.km else 1.0
        place = Place(*(a + (b - a) * done for a, b in zip(drive.start, drive.end, strict=True)))
        return max(0.0, self._energy_wh - gone_km * self._wh_per_km), place, 0.0, gone_km < reach_km


def charge(spec: VehicleSpec, energy_wh: float, offered_w: float, hours: float) -> tuple[float, float]:
    """(energy, power) after ``hours`` under an offer that does not change."""
    stop_wh = spec.capacity_wh * spec.stop_at
    if offered_w <= 0 or energy_wh >= stop_wh:
        return energy_wh, 0.0
    taper_wh = spec.capacity_wh * spec.taper_from
    span_wh = spec.capacity_wh - taper_wh
    floor_w = spec.max_w * FLOOR_SHARE
    # Per hour: by how many watts less is accepted with each watt-hour more.
    fall = (spec.max_w - floor_w) / span_wh if span_wh > 0 else math.inf
    steady_w = min(offered_w, spec.max_w)
    # Up to here the offer binds, above it the battery.
    bend_wh = min(taper_wh + (spec.max_w - steady_w) / fall, stop_wh)
    if energy_wh < bend_wh:
        needed_h = (bend_wh - energy_wh) / steady_w
        if hours < needed_h:
            return energy_wh + steady_w * hours, steady_w
        energy_wh, hours = bend_wh, hours - needed_h
    if energy_wh >= stop_wh:
        return stop_wh, 0.0
    start_w = spec.max_w - fall * (energy_wh - taper_wh)
    power_w = start_w * math.exp(-fall * hours)
    energy_wh += (start_w - power_w) / fall
    return (stop_wh, 0.0) if energy_wh >= stop_wh else (energy_wh, power_w)
