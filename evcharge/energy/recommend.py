"""Which station suits a vehicle best, by cost, time, carbon and queue, weighed as the driver wants.

Who cannot be served is left out first, with the reason. The others are compared by the augmented weighted Chebyshev
norm, score = max_k w_k f_k + 0.05 Σ w_k f_k, lowest first (Steuer & Choo, Mathematical Programming 26, 1983): the
winner is never dominated, and with fitting weights an undominated station wins even where no weighted sum would choose
it. f is 0 at the best figure and 1 at the 95th percentile; floors keep trifles from deciding. Pure: no clock, no luck.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

import msgspec

from evcharge.energy.queueing import erlang_c_wait, wait_in_queue

# Share of the range that has to be left on arrival: range estimates are off by about this much in the cold.
RESERVE = 0.1
# How long an accepted choice keeps connector and power.
RESERVATION_S = 900
# Longest stay that is worked out; no fitting power by then means no power.
HORIZON_S = 24 * 3_600
# How many stations the driver is shown.
TOP = 3
# Weight of the sum beside the maximum: enough to rule out dominated stations, too little to trade one for the other.
AUGMENT = 0.05
# Digits of a score that mean something: sums of a few floats differ in the sixteenth.
SCORE_DIGITS = 9
# Differences below these do not decide: 0.02 money and 0.02 kg per kWh, 3 minutes of charging, 2 minutes of waiting.
COST_FLOOR_PER_KWH = 0.02
CARBON_FLOOR_KG_PER_KWH = 0.02
TIME_FLOOR_S = 180.0
QUEUE_FLOOR_S = 120.0
# Money per km of way: 0.18 kWh of a middle-class car at 0.30.
WAY_COST_PER_KM = 0.05


class Occupancy(StrEnum):
    """What is known of a connector."""

    FREE = "free"
    BUSY = "busy"
    OUT = "out"
    """Faulted, held or lost."""
    UNKNOWN = "unknown"
    """In service; whether it is taken is not known."""


class Connector(msgspec.Struct, frozen=True, kw_only=True):
    """A connector; powers in watts. ``remaining_s`` is how long its session is expected to stay, if that is known."""

    connector_id: str
    plug: str
    max_w: int
    min_w: int = 0
    occupancy: Occupancy
    remaining_s: float | None = None


class Period(msgspec.Struct, frozen=True):
    """What holds at a station for one period from now on; the last period of a station holds for good."""

    price_per_kwh: float
    co2_kg_per_kwh: float
    power_w: float
    """Forecast of what one more vehicle gets there."""
    solar_share: float = 0.0
    """Share of it that is the station's own sun, 0 to 1."""


class Station(msgspec.Struct, frozen=True, kw_only=True):
    """A station as it is now and is expected to be."""

    station_id: str
    distance_km: float
    drive_s: float
    connectors: tuple[Connector, ...]
    periods: tuple[Period, ...]
    period_s: float = 900.0
    fee: float = 0.0
    """Money per charge, whatever its energy."""
    waiting: int = 0
    """Cars that wait for a connector before this one."""
    mean_stay_s: float | None = None
    arrivals_per_h: float | None = None
    """Only looked at where occupancy is not known."""


class Vehicle(msgspec.Struct, frozen=True, kw_only=True):
    """Who wants to charge: watts, watt-hours, kilometres."""

    need_wh: int
    range_km: float
    max_w: int
    plugs: frozenset[str]
    way_cost_per_km: float = WAY_COST_PER_KM


class Weights(msgspec.Struct, frozen=True, kw_only=True):
    """What the driver cares about. Any scale: ``normalised`` makes the sum 1."""

    cost: float = 0.35
    time: float = 0.30
    carbon: float = 0.20
    queue: float = 0.15

    def normalised(self) -> Figures:
        """The weights with sum 1. Raises ValueError when one is negative or no number, or all are 0."""
        given = Figures(self.cost, self.time, self.carbon, self.queue)
        total = sum(given)
        if not math.isfinite(total) or min(given) < 0 or total <= 0:
            raise ValueError("weights are numbers from 0 up, and at least one of them is above 0.")
        return Figures(*(weight / total for weight in given))


class Figures(NamedTuple):
    """One number for each criterion; what kind of number says the field's docstring."""

    cost: float
    time: float
    carbon: float
    queue: float


class Refusal(StrEnum):
    """Why a station is left out."""

    BAD_DATA = "bad_data"
    """A negative or absurd figure: it is not guessed what was meant."""
    OUT_OF_REACH = "out_of_reach"
    NO_FITTING_CONNECTOR = "no_fitting_connector"
    OUT_OF_SERVICE = "out_of_service"
    """There are fitting connectors, but none in service."""
    WAIT_UNKNOWN = "wait_unknown"
    """All are taken, and nothing tells for how long; or more arrive than it can serve."""
    NO_POWER = "no_power"
    """The need cannot be met there within a day."""


class Excluded(msgspec.Struct, frozen=True):
    station_id: str
    reason: Refusal


class Option(msgspec.Struct, frozen=True, kw_only=True):
    """One station that can serve, with everything that a driver or a log wants to know."""

    station_id: str
    connector_id: str | None
    """The free one to reserve, or the one that gets free first; None: only rates are known."""
    cost: float
    """Money: energy, fee and way."""
    time_s: float
    """Drive and charge, without the wait."""
    carbon_kg: float
    queue_s: float
    power_w: int
    """Mean power while charging, rounded down."""
    score: float
    """0 is best in everything."""
    contributions: Figures
    """w_k f_k of each criterion: the largest decides."""
    pareto: bool
    """No station is at least as good in everything and better in something."""


class Recommendation(msgspec.Struct, frozen=True, kw_only=True):
    """The best first; ``top`` is empty when no station can serve, and ``excluded`` then says why for each."""

    top: tuple[Option, ...]
    front: tuple[str, ...]
    """Ids of all undominated stations, sorted."""
    excluded: tuple[Excluded, ...]


class _Choice(NamedTuple):
    station_id: str
    connector_id: str | None
    power_w: int
    raw: Figures


def recommend(
    vehicle: Vehicle, stations: Sequence[Station], weights: Weights | None = None, *, most: int = TOP
) -> Recommendation:
    """The best ``most`` stations for a vehicle, ties in order of id: the order of ``stations`` does not matter.

    Raises ValueError when the vehicle or the weights make no sense.
    """
    if vehicle.need_wh <= 0 or vehicle.max_w <= 0 or not 0 <= vehicle.range_km < math.inf:
        raise ValueError("a vehicle has a need and a power above 0 and a range from 0 up.")
    if not 0 <= vehicle.way_cost_per_km < math.inf:
        raise ValueError("way_cost_per_km is a number from 0 up.")
    share = (weights or Weights()).normalised()
    choices: list[_Choice] = []
    excluded: list[Excluded] = []
    for station in sorted(stations, key=lambda one: one.station_id):
        met = _assess(vehicle, station)
        if isinstance(met, Refusal):
            excluded.append(Excluded(station.station_id, met))
        else:
            choices.append(met)
    norm = _normaliser(vehicle, [choice.raw for choice in choices])
    options = []
    for choice in choices:
        weighed = Figures(*(w * f for w, f in zip(share, norm(choice.raw), strict=True)))
        options.append(
            Option(
                station_id=choice.station_id,
                connector_id=choice.connector_id,
                cost=choice.raw.cost,
                time_s=choice.raw.time,
                carbon_kg=choice.raw.carbon,
                queue_s=choice.raw.queue,
                power_w=choice.power_w,
                score=max(weighed) + AUGMENT * sum(weighed),
                contributions=weighed,
                pareto=not any(_dominates(other.raw, choice.raw) for other in choices),
            )
        )
    # Scores that differ by the rounding of sums alone are one: then whoever has to wait less comes first.
    options.sort(
        key=lambda option: (round(option.score, SCORE_DIGITS), option.queue_s, option.time_s, option.station_id)
    )
    front = tuple(sorted(option.station_id for option in options if option.pareto))
    return Recommendation(top=tuple(options[:most]), front=front, excluded=tuple(excluded))


def _assess(vehicle: Vehicle, station: Station) -> _Choice | Refusal:
    """What this station would mean for the vehicle, or why it is out of the question."""
    if not _sane(station):
        return Refusal.BAD_DATA
    if station.distance_km > vehicle.range_km * (1 - RESERVE):
        return Refusal.OUT_OF_REACH
    fitting = [one for one in station.connectors if one.plug in vehicle.plugs]
    if not fitting:
        return Refusal.NO_FITTING_CONNECTOR
    working = [one for one in fitting if one.occupancy is not Occupancy.OUT]
    if not working:
        return Refusal.OUT_OF_SERVICE
    place = _place(station, working)
    if place is None:
        return Refusal.WAIT_UNKNOWN
    connector, connector_id, queue_s = place
    charged = _charge(vehicle, station, connector, station.drive_s + queue_s)
    if charged is None:
        return Refusal.NO_POWER
    energy_cost, charge_s, carbon_kg = charged
    cost = energy_cost + station.fee + station.distance_km * vehicle.way_cost_per_km
    # To the milliwatt first: 7 kW that became 6,999.999… on the way are 7 kW.
    power_w = int(round(vehicle.need_wh * 3_600 / charge_s, 3))
    raw = Figures(cost, station.drive_s + charge_s, carbon_kg, queue_s)
    return _Choice(station.station_id, connector_id, power_w, raw)


def _place(station: Station, working: Sequence[Connector]) -> tuple[Connector, str | None, float] | None:
    """The connector that the vehicle would get, its id if that is known, and the seconds until then."""
    free = [one for one in working if one.occupancy is Occupancy.FREE]
    # A free connector is nobody's only if nobody waits for it: each car ahead takes one.
    if len(free) > station.waiting:
        best = min(free, key=lambda one: (-one.max_w, one.connector_id))
        return best, best.connector_id, 0.0
    # What a vehicle gets there at least; which connector comes free is not known with others ahead.
    weakest = min(working, key=lambda one: (one.max_w, one.connector_id))
    known = [(_remaining_s(station, one), one) for one in working]
    times = [remaining_s for remaining_s, _ in known if remaining_s is not None]
    if len(times) == len(known):
        queue_s = wait_in_queue(times, station.waiting, station.mean_stay_s)
        if queue_s is None:
            return None
        first = [one for remaining_s, one in known if remaining_s == queue_s]
        return (first[0], first[0].connector_id, queue_s) if len(first) == 1 else (weakest, None, queue_s)
    if station.arrivals_per_h is None or station.mean_stay_s is None:
        return None
    expected_s = erlang_c_wait(station.arrivals_per_h, station.mean_stay_s, len(working))
    return None if expected_s is None else (weakest, None, expected_s)


def _remaining_s(station: Station, connector: Connector) -> float | None:
    match connector.occupancy:
        case Occupancy.FREE:
            return 0.0
        case Occupancy.BUSY if connector.remaining_s is not None:
            return connector.remaining_s
        case Occupancy.BUSY:
            # Of a stay that is known by its mean alone, that mean is also what is left (it has no memory).
            return station.mean_stay_s
        case _:
            return None


def _charge(
    vehicle: Vehicle, station: Station, connector: Connector, start_s: float
) -> tuple[float, float, float] | None:
    """(money, seconds, kg) of the need, charged from ``start_s`` on; None when a day does not suffice."""
    left_wh, now_s, cost, carbon_kg = float(vehicle.need_wh), start_s, 0.0, 0.0
    end_s = start_s + HORIZON_S
    last = len(station.periods) - 1
    # Over indices, not over instants: adding up instants of a period like 0.1 s may never reach the next one.
    for index in range(min(int(start_s // station.period_s), last), last + 1):
        period = station.periods[index]
        until_s = end_s if index == last else min(end_s, (index + 1) * station.period_s)
        power_w = min(vehicle.max_w, connector.max_w, period.power_w)
        # Less than the connector's minimum cannot be offered to a vehicle: it waits.
        if power_w > 0 and power_w >= connector.min_w:
            done_s = now_s + left_wh * 3_600 / power_w
            taken_wh = left_wh if done_s <= until_s else max(0.0, power_w * (until_s - now_s) / 3_600)
            cost += period.price_per_kwh * taken_wh / 1000
            carbon_kg += period.co2_kg_per_kwh * (1 - period.solar_share) * taken_wh / 1000
            if done_s <= until_s:
                return cost, done_s - start_s, carbon_kg
            left_wh -= taken_wh
        now_s = max(now_s, until_s)
    return None


def _sane(station: Station) -> bool:
    """Whether the figures can be what they say. A negative price can: it happens on wholesale markets."""
    rates = [station.mean_stay_s, station.arrivals_per_h, *(one.remaining_s for one in station.connectors)]
    amounts = [station.distance_km, station.drive_s, float(station.waiting)]
    amounts += [rate for rate in rates if rate is not None]
    amounts += [float(figure) for one in station.connectors for figure in (one.max_w, one.min_w)]
    amounts += [figure for one in station.periods for figure in (one.co2_kg_per_kwh, one.power_w, one.solar_share)]
    money = [station.fee, *(one.price_per_kwh for one in station.periods)]
    return (
        bool(station.periods)
        and 0 < station.period_s < math.inf
        and all(math.isfinite(figure) and figure >= 0 for figure in amounts)
        and all(map(math.isfinite, money))
        and all(one.solar_share <= 1 for one in station.periods)
    )


class _Scale(NamedTuple):
    """f = (raw − best) / span for each criterion."""

    best: Figures
    span: Figures

    def __call__(self, raw: Figures) -> Figures:
        return Figures(*((value - low) / span for value, low, span in zip(raw, self.best, self.span, strict=True)))


def _normaliser(vehicle: Vehicle, raws: Sequence[Figures]) -> _Scale:
    kwh = vehicle.need_wh / 1000
    floors = Figures(COST_FLOOR_PER_KWH * kwh, TIME_FLOOR_S, CARBON_FLOOR_KG_PER_KWH * kwh, QUEUE_FLOOR_S)
    if not raws:
        return _Scale(Figures(0, 0, 0, 0), floors)
    columns = [sorted(column) for column in zip(*raws, strict=True)]
    best = Figures(*(column[0] for column in columns))
    spans = (max(_p95(column) - column[0], floor) for column, floor in zip(columns, floors, strict=True))
    return _Scale(best, Figures(*spans))


def _p95(ordered: Sequence[float]) -> float:
    """The 95th percentile, linear between neighbours (Hyndman & Fan's type 7, as numpy's default)."""
    place = 0.95 * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def _dominates(one: Figures, other: Figures) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))
