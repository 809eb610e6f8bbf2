"""A charging station as others see it: carbon, queue, price, grid supply and solar supply by time of day.

Each figure is a function of seed, name and instant. Who comes is drawn for each quarter of an hour; everybody stays as
long as was meant from the beginning, waiting or charging. So the queue follows from the arrivals of the longest stay
and nothing before, in whatever order it is asked for.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple, Protocol

import msgspec

from evcharge.energy import recommend as en
from evcharge.energy.legacy import LegacyStation
from evcharge.energy.tariff import Period, TimeOfUse
from evcharge.sim.fleet import COMMUTE_KMH, ROAD_FACTOR
from evcharge.sim.grid import GridLoad, LoadSpec
from evcharge.sim.noise import Noise, dice
from evcharge.sim.solar import Solar, SolarSite
from evcharge.sim.vehicle import Place, distance_km

_HOUR_MS = 3_600_000
# Arrivals are drawn for each quarter of an hour.
SLOT_MS = _HOUR_MS // 4
# Nobody stays longer, and the queue remembers no longer: the working day of a car that is charged at work.
LONGEST_STAY_MS = 8 * _HOUR_MS
# Spread of stays around their median, of the logarithm: public charging has many short stays and a few long ones.
STAY_SPREAD = 0.6
# Who comes when, hour by hour, 1 at the busiest: hardly anybody at night, errands at noon, the way home at 17 h.
COMING = (
    0.03, 0.02, 0.02, 0.02, 0.04, 0.10, 0.25, 0.50, 0.65, 0.65, 0.70, 0.80,
    0.85, 0.80, 0.75, 0.80, 0.90, 1.00, 0.95, 0.75, 0.50, 0.30, 0.15, 0.07,
)  # fmt: skip
# Carbon of the grid, hour by hour, 1 in the mean of a day: least at noon when the sun feeds it, most in the evening
# when gas takes over.
CARBON = (
    1.05, 1.04, 1.03, 1.03, 1.05, 1.08, 1.08, 1.00, 0.88, 0.80, 0.77, 0.75,
    0.75, 0.76, 0.80, 0.88, 1.00, 1.15, 1.25, 1.27, 1.24, 1.18, 1.10, 1.06,
)  # fmt: skip
# One standard deviation of carbon around that shape, and how long it lasts: which plants run changes over hours.
CARBON_NOISE = 0.08
CARBON_MS = 3 * _HOUR_MS
# Cheap at night, dear when everybody comes home: the form of most tariffs by time of day.
_DAILY = frozenset(range(7))
PRICES = TimeOfUse(0.38, (Period(_DAILY, 16 * 60, 21 * 60, 0.48), Period(_DAILY, 22 * 60, 6 * 60, 0.29)))
# A recommendation looks a day ahead in quarters.
AHEAD = 96


class Known(Protocol):
    """A figure over time from somewhere else: a replayed series, a tariff."""

    def at(self, at_ms: int) -> float | None: ...


class UnknownFigure(ValueError):
    """The series that a station was given has nothing for an instant; the sentence says which."""


class StationSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A station's size and custom."""

    station_id: str
    place: Place
    connectors: int = 4
    connector_w: int = 22_000
    grid_w: int = 100_000
    """What its connection carries, for charging and everything else."""
    load: LoadSpec = msgspec.field(default_factory=lambda: LoadSpec(peak_share=0.4, noise_share=0.03))
    """What else draws there: a shop, an office."""
    solar: SolarSite | None = None
    per_hour: float = 3.0
    """Cars that come in the busiest hour."""
    stay_ms: int = _HOUR_MS
    """Median of a stay."""
    prices: TimeOfUse = PRICES
    carbon_kg_per_kwh: float = 0.35
    """Mean of a day: between the grids of France and Poland."""
    utc_offset_ms: int = 0

    def __post_init__(self) -> None:
        if self.connectors < 1 or self.connector_w < 1 or self.grid_w < 0:
            raise ValueError("a station has a connector at least, its power above 0 and a connection from 0 up.")
        if not (0 <= self.per_hour < math.inf and 0 < self.stay_ms <= LONGEST_STAY_MS):
            raise ValueError("per_hour is 0 or more, stay_ms above 0 and at most 8 hours.")
        if not 0 <= self.carbon_kg_per_kwh < math.inf:
            raise ValueError("carbon_kg_per_kwh is 0 or more.")


class StationReading(NamedTuple):
    """What a station says of itself."""

    carbon_kg_per_kwh: float
    """Of what comes from the grid."""
    queue: int
    """Cars that wait for a connector."""
    busy: int
    """Connectors that are taken."""
    price_per_kwh: float
    grid_w: int
    """What the connection has left for charging."""
    solar_w: int


class _Guest(NamedTuple):
    arrives_ms: int
    leaves_ms: int


class Station:
    """One station. ``carbon``, ``price`` and ``sun`` from real series take the place of the simulated ones."""

    def __init__(
        self,
        seed: int,
        spec: StationSpec,
        *,
        carbon: Known | None = None,
        price: Known | None = None,
        sun: Known | None = None,
    ) -> None:
        self.spec = spec
        self._seed = seed
        self._load = GridLoad(seed, f"{spec.station_id}/building", spec.load)
        self._solar = None if spec.solar is None else Solar(seed, spec.station_id, spec.solar, sun=sun)
        self._noise = Noise(seed, f"{spec.station_id}/carbon", CARBON_MS)
        self._carbon, self._price = carbon, price

    def read(self, at_ms: int) -> StationReading:
        """The station at an instant. Raises UnknownFigure."""
        here = len(self._guests(at_ms))
        busy = min(here, self.spec.connectors)
        carbon, price = self._carbon_at(at_ms), self._price_at(at_ms)
        return StationReading(carbon, here - busy, busy, price, self._grid_w(at_ms), self._solar_w(at_ms))

    def next_change_ms(self, at_ms: int) -> int | None:
        """When somebody next comes or leaves after an instant; None: nobody does for as long as a stay lasts.

        Prices change at their hours, everything else all the time.
        """
        slots = range((at_ms - LONGEST_STAY_MS) // SLOT_MS, (at_ms + LONGEST_STAY_MS) // SLOT_MS + 1)
        times = (time for slot in slots for guest in self._arrivals(slot) for time in guest)
        return min((time for time in times if time > at_ms), default=None)

    def ahead(self, at_ms: int, vehicle: Place) -> en.Station:
        """As the recommender compares it, for a vehicle that stands somewhere.

        The periods ahead come from the simulation itself: forecasts that are always right, except that nobody else
        comes. Raises UnknownFigure.
        """
        spec = self.spec
        way_km = distance_km(vehicle, spec.place) * ROAD_FACTOR
        guests = self._guests(at_ms)
        charging = guests[: spec.connectors]
        # In order of departure: connectors have no names that matter.
        left_s = sorted((guest.leaves_ms - at_ms) / 1000 for guest in charging)
        connectors = [
            en.Connector(
                connector_id=f"{number:02}",
                plug="",
                max_w=spec.connector_w,
                occupancy=en.Occupancy.BUSY if number <= len(left_s) else en.Occupancy.FREE,
                remaining_s=left_s[number - 1] if number <= len(left_s) else None,
            )
            for number in range(1, spec.connectors + 1)
        ]
        sharing = min(len(guests) + 1, spec.connectors)
        return en.Station(
            station_id=spec.station_id,
            distance_km=way_km,
            drive_s=way_km / COMMUTE_KMH * 3_600,
            connectors=tuple(connectors),
            periods=tuple(self._period(at_ms + step * SLOT_MS, sharing) for step in range(AHEAD)),
            period_s=SLOT_MS / 1000,
            waiting=len(guests) - len(charging),
            mean_stay_s=spec.stay_ms * math.exp(STAY_SPREAD**2 / 2) / 1000,
        )

    def as_before(self, at_ms: int) -> LegacyStation:
        """The same for the older formula. Raises UnknownFigure."""
        told = self.read(at_ms)
        return LegacyStation(
            station_id=self.spec.station_id,
            solar_supply_kw=told.solar_w / 1000,
            grid_supply_kw=told.grid_w / 1000,
            carbon_intensity=told.carbon_kg_per_kwh,
            price_per_kwh=told.price_per_kwh,
            queue_length=told.queue,
        )

    def _period(self, at_ms: int, sharing: int) -> en.Period:
        solar_w = self._solar_w(at_ms)
        power_w = min(self.spec.connector_w, (self._grid_w(at_ms) + solar_w) / sharing)
        # The sun is shared like everything else.
        share = min(1.0, solar_w / sharing / power_w) if power_w > 0 else 0.0
        return en.Period(self._price_at(at_ms), self._carbon_at(at_ms), power_w, share)

    def _grid_w(self, at_ms: int) -> int:
        return max(0, int(self.spec.grid_w * (1 - self._load.percent(at_ms) / 100)))

    def _solar_w(self, at_ms: int) -> int:
        return 0 if self._solar is None else self._solar.power_w(at_ms)

    def _carbon_at(self, at_ms: int) -> float:
        if self._carbon is not None:
            return _known(self._carbon, at_ms, f"carbon at {self.spec.station_id}")
        expected = self.spec.carbon_kg_per_kwh * _of_day(CARBON, at_ms + self.spec.utc_offset_ms)
        return max(0.0, expected * (1 + CARBON_NOISE * self._noise.at(at_ms)))

    def _price_at(self, at_ms: int) -> float:
        if self._price is not None:
            return _known(self._price, at_ms, f"price at {self.spec.station_id}")
        return self.spec.prices.at(at_ms, lambda _: self.spec.utc_offset_ms)

    def _guests(self, at_ms: int) -> list[_Guest]:
        """Who is there, by arrival: the first have the connectors, as whoever came earlier only ever leaves."""
        slots = range((at_ms - LONGEST_STAY_MS) // SLOT_MS, at_ms // SLOT_MS + 1)
        found = [guest for slot in slots for guest in self._arrivals(slot)]
        return sorted(guest for guest in found if guest.arrives_ms <= at_ms < guest.leaves_ms)

    def _arrivals(self, slot: int) -> tuple[_Guest, ...]:
        spec = self.spec
        rate = spec.per_hour / 4 * _of_day(COMING, slot * SLOT_MS + SLOT_MS // 2 + spec.utc_offset_ms)
        return _arrivals(self._seed, spec.station_id, slot, rate, spec.stay_ms)


# A few stations over two days; only time is saved by it.
@lru_cache(maxsize=4_096)
def _arrivals(seed: int, name: str, slot: int, rate: float, stay_ms: int) -> tuple[_Guest, ...]:
    """Who comes in a quarter: a Poisson process, its gaps drawn one after the other."""
    luck = dice(seed, f"{name}/guests/{slot}")
    found = []
    share = luck.expovariate(rate) if rate > 0 else 1.0
    while share < 1:
        arrives_ms = slot * SLOT_MS + int(share * SLOT_MS)
        lasts_ms = min(LONGEST_STAY_MS, max(1, int(stay_ms * luck.lognormvariate(0.0, STAY_SPREAD))))
        found.append(_Guest(arrives_ms, arrives_ms + lasts_ms))
        share += luck.expovariate(rate)
    return tuple(found)


def _of_day(shape: tuple[float, ...], local_ms: int) -> float:
    """A shape of 24 hours at an instant of local time; straight lines between the hours."""
    hour, past_ms = divmod(local_ms, _HOUR_MS)
    return shape[hour % 24] + (shape[(hour + 1) % 24] - shape[hour % 24]) * past_ms / _HOUR_MS


def _known(series: Known, at_ms: int, what: str) -> float:
    value = series.at(at_ms)
    if value is None:
        raise UnknownFigure(f"the {what} is not known at {at_ms} ms.")
    return value
