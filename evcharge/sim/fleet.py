"""Commuters: vehicles that drive to work and home on their own, day after day, and charge where somebody offers it.

A day's ways depend on seed, name and day alone. What is asked, and how often, changes nothing; only offers do.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from evcharge.sim.noise import Noise, dice
from evcharge.sim.vehicle import Place, Telemetry, Vehicle, VehicleSpec, distance_km

_HOUR_MS = 3_600_000
_DAY_MS = 24 * _HOUR_MS
# Roads are this much longer than the great circle (a usual detour index of towns).
ROAD_FACTOR = 1.3
# Mean speed of a way to work, km/h.
COMMUTE_KMH = 40.0
# Consumption moves by this share (one standard deviation) over weeks, as temperature does.
CONSUMPTION_SPREAD = 0.08
_SEASON_MS = 14 * _DAY_MS
# 1970-01-01 was a Thursday; Monday is 0.
_FIRST_WEEKDAY = 3


class Way(NamedTuple):
    """One way of a day."""

    at_ms: int
    to_work: bool


class CommuterSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Who lives where, works where, and charges how at home."""

    home: Place
    work: Place
    vehicle: VehicleSpec = msgspec.field(default_factory=VehicleSpec)
    home_w: int = 3_700
    """16 A at 230 V in the garage; 0: no outlet."""
    utc_offset_ms: int = 0
    """Of local time, which says when mornings are."""
    weekend_share: float = 0.25
    """Share of weekend days with a way there and back."""


def ways(seed: int, name: str, day: int, spec: CommuterSpec) -> tuple[Way, ...]:
    """The ways of local day number ``day`` (0: 1970-01-01), in their order; the last one begins on the same day."""
    luck = dice(seed, f"{name}/day/{day}")
    leaves, stays, weekend = luck.gauss(7.75, 0.5), luck.gauss(8.75, 0.75), luck.random()
    if (day + _FIRST_WEEKDAY) % 7 >= 5 and weekend >= spec.weekend_share:
        return ()
    out_h = min(max(leaves, 5.0), 11.0)
    back_h = min(max(out_h + max(stays, 4.0), 12.0), 22.0)
    midnight_ms = day * _DAY_MS - spec.utc_offset_ms
    return (Way(midnight_ms + int(out_h * _HOUR_MS), True), Way(midnight_ms + int(back_h * _HOUR_MS), False))


class Commuter:
    """One vehicle with its habits; time only goes forward. With an empty battery it stays where it is until offered."""

    def __init__(self, seed: int, name: str, spec: CommuterSpec, *, at_ms: int) -> None:
        """At home at ``at_ms``, with a charge drawn from 40 to 80 %."""
        self.spec = spec
        self.name = name
        self._seed = seed
        self._wear = Noise(seed, f"{name}/consumption", _SEASON_MS)
        percent = dice(seed, f"{name}/start").uniform(40, 80)
        self._vehicle = Vehicle(spec.vehicle, percent=percent, place=spec.home, at_ms=at_ms)
        self._day = (at_ms + spec.utc_offset_ms) // _DAY_MS
        self._next = [way for way in ways(seed, name, self._day, spec) if way.at_ms >= at_ms]
        # When the present way ends at home, where the vehicle plugs itself in.
        self._home_ms: int | None = None
        self._vehicle.offer(at_ms, spec.home_w)

    def read(self, at_ms: int) -> Telemetry:
        """Its telemetry. Raises ValueError for an instant before one that was acted upon."""
        self._run(at_ms)
        return self._vehicle.read(at_ms)

    def offer(self, at_ms: int, power_w: int) -> bool:
        """Offer power from now on where it stands; False: it is under way and takes none."""
        self._run(at_ms)
        if self._vehicle.read(at_ms).driving:
            return False
        self._vehicle.offer(at_ms, power_w)
        return True

    def next_change_ms(self) -> int:
        """When it next leaves or arrives by itself; ask after ``read``."""
        while not self._next:
            self._fill()
        arrival_ms = self._vehicle.arrival_ms()
        return self._next[0].at_ms if arrival_ms is None else min(arrival_ms, self._next[0].at_ms)

    def _run(self, at_ms: int) -> None:
        """Do what its habits say up to an instant, each thing at its own."""
        while True:
            while not self._next:
                self._fill()
            way = self._next[0]
            if self._home_ms is not None and self._home_ms <= min(at_ms, way.at_ms):
                self._vehicle.offer(self._home_ms, self.spec.home_w)
                self._home_ms = None
            elif way.at_ms <= at_ms:
                self._leave(self._next.pop(0))
            else:
                return

    def _leave(self, way: Way) -> None:
        worn = self.spec.vehicle.wh_per_km * max(0.5, 1 + CONSUMPTION_SPREAD * self._wear.at(way.at_ms))
        end = self.spec.work if way.to_work else self.spec.home
        here = self._vehicle.read(way.at_ms).place
        km = distance_km(here, end) * ROAD_FACTOR
        self._vehicle.drive(way.at_ms, end, km=km, kmh=COMMUTE_KMH, wh_per_km=worn)
        arrival_ms = self._vehicle.arrival_ms()
        assert arrival_ms is not None
        stranded = self._vehicle.read(arrival_ms).place != end
        self._home_ms = None if way.to_work or stranded else arrival_ms

    def _fill(self) -> None:
        self._day += 1
        self._next = list(ways(self._seed, self.name, self._day, self.spec))
