"""The station simulator: determinism, continuity, bounds, a queue that adds up, and what recommenders are fed."""

from __future__ import annotations

import math
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evcharge.energy.recommend import Occupancy, Vehicle, recommend
from evcharge.sim.grid import LoadSpec
from evcharge.sim.series import Between, Series, Unit
from evcharge.sim.solar import SolarSite
from evcharge.sim.station import COMING, LONGEST_STAY_MS, PRICES, Station, StationSpec, UnknownFigure
from evcharge.sim.vehicle import Place

HOUR = 3_600_000
DAY = 24 * HOUR
# A Monday, 0:00 UTC.
MONDAY = 18_267 * DAY
HERE = Place(34.05, -118.24)
ROOF = SolarSite(latitude=34.05, longitude=-118.24, peak_w=60_000)
instants = st.integers(MONDAY, MONDAY + 400 * DAY)
seeds = st.integers(0, 9)


def spec(**fields: object) -> StationSpec:
    given_fields: dict[str, object] = {"station_id": "north", "place": HERE, "solar": ROOF, "per_hour": 8.0, **fields}
    return StationSpec(**given_fields)  # type: ignore[arg-type]  # a table of keywords


@given(times=st.lists(instants, max_size=6), seed=seeds)
def test_the_order_and_number_of_questions_do_not_matter(times: list[int], seed: int) -> None:
    one, other = Station(seed, spec()), Station(seed, spec())
    asked = {at_ms: one.read(at_ms) for at_ms in times}
    assert {at_ms: other.read(at_ms) for at_ms in reversed(times)} == asked


@given(at_ms=instants, seed=seeds)
def test_nothing_leaves_its_bounds(at_ms: int, seed: int) -> None:
    station = Station(seed, spec(load=LoadSpec(peak_share=1.2, noise_share=0.3)))
    told = station.read(at_ms)
    assert told.carbon_kg_per_kwh >= 0
    assert 0 <= told.grid_w <= station.spec.grid_w
    assert 0 <= told.solar_w <= ROOF.peak_w
    assert 0 <= told.busy <= station.spec.connectors
    assert told.queue == 0 or told.busy == station.spec.connectors
    assert told.price_per_kwh in {0.29, 0.38, 0.48}


@given(at_ms=instants, seed=seeds)
def test_figures_move_without_jumps_and_cars_one_by_one(at_ms: int, seed: int) -> None:
    station = Station(seed, spec())
    now, next_ = station.read(at_ms), station.read(at_ms + 1_000)
    assert abs(next_.carbon_kg_per_kwh - now.carbon_kg_per_kwh) < 0.001
    assert abs(next_.grid_w - now.grid_w) < 0.01 * station.spec.grid_w
    assert abs(next_.solar_w - now.solar_w) < 0.02 * ROOF.peak_w
    change_ms = station.next_change_ms(at_ms)
    assert change_ms is not None
    assert change_ms > at_ms
    before, after = station.read(change_ms - 1), station.read(change_ms)
    assert now[1:3] == before[1:3]
    # Two in one millisecond would be a coincidence of one in a million.
    assert abs((after.queue + after.busy) - (before.queue + before.busy)) <= 1


@given(at_ms=instants, seed=seeds, connectors=st.integers(1, 12))
def test_more_connectors_serve_the_same_cars(at_ms: int, seed: int, connectors: int) -> None:
    few, many = Station(seed, spec(connectors=connectors)), Station(seed, spec(connectors=50))
    here, there = few.read(at_ms), many.read(at_ms)
    assert here.busy + here.queue == there.busy + there.queue
    assert here.busy == min(connectors, there.busy)


def test_as_many_come_and_stay_as_was_said() -> None:
    """Little's law: cars that are there = arrivals an hour × mean stay."""
    station = Station(3, spec(connectors=1_000, per_hour=6.0, stay_ms=HOUR // 2))
    counts = [station.read(MONDAY + step * HOUR // 2).busy for step in range(2 * 24 * 120)]
    mean_stay_h = 0.5 * math.exp(0.6**2 / 2)
    coming = fmean(COMING)
    assert fmean(counts) == pytest.approx(6.0 * coming * mean_stay_h, rel=0.06)


def test_a_day_has_its_shape() -> None:
    """Full in the afternoon and empty at night, clean at noon, sun by day, dear in the evening."""
    days = [Station(seed, spec(connectors=50, load=LoadSpec(peak_share=0.5))) for seed in range(40)]
    # Noon of this place is 20 h UTC; its local time in the spec is UTC.
    nights = [station.read(MONDAY + 4 * HOUR) for station in days]
    noons = [station.read(MONDAY + 12 * HOUR) for station in days]
    evenings = [station.read(MONDAY + 18 * HOUR) for station in days]
    assert fmean(told.busy for told in nights) < 1 < 5 < fmean(told.busy for told in evenings)
    assert (
        fmean(told.carbon_kg_per_kwh for told in noons) < 0.3 < 0.4 < fmean(told.carbon_kg_per_kwh for told in evenings)
    )
    assert {told.price_per_kwh for told in evenings} == {0.48}
    assert {told.price_per_kwh for told in nights} == {0.29}
    assert max(told.solar_w for told in nights) == 0 < max(told.solar_w for told in evenings)
    assert fmean(told.grid_w for told in evenings) < fmean(told.grid_w for told in nights)


def test_real_series_take_the_place_of_simulated_ones_and_gaps_stay_gaps() -> None:
    times = [MONDAY, MONDAY + HOUR]
    carbon = Series(times, [0.2, 0.4], Unit.KG_PER_KWH, Between.LINEAR, longest_ms=HOUR)
    price = Series(times, [-0.01, 9.0], Unit.PRICE_PER_KWH, Between.STEP, longest_ms=HOUR)
    sun = Series(times, [500.0, 1000.0], Unit.WATT_PER_M2, Between.STEP, longest_ms=HOUR)
    station = Station(1, spec(), carbon=carbon, price=price, sun=sun)
    told = station.read(MONDAY + HOUR // 2)
    assert (told.carbon_kg_per_kwh, told.price_per_kwh) == (pytest.approx(0.3), -0.01)
    assert told.solar_w == int(60_000 * 0.5 * ROOF.performance)
    with pytest.raises(UnknownFigure, match="the carbon at north is not known"):
        station.read(MONDAY - 1)
    with pytest.raises(UnknownFigure, match="the price at north is not known"):
        Station(1, spec(), price=price).read(MONDAY - 1)


@given(at_ms=instants, seed=seeds)
def test_a_recommender_is_fed_what_the_station_says(at_ms: int, seed: int) -> None:
    station = Station(seed, spec(connectors=3))
    told, option = station.read(at_ms), station.ahead(at_ms, HERE)
    assert (option.distance_km, option.drive_s, option.waiting) == (0, 0, told.queue)
    assert sum(one.occupancy is Occupancy.BUSY for one in option.connectors) == told.busy
    for one in option.connectors:
        assert (one.remaining_s is None) == (one.occupancy is Occupancy.FREE)
        assert one.remaining_s is None or 0 < one.remaining_s <= LONGEST_STAY_MS / 1000
    first = option.periods[0]
    assert (first.price_per_kwh, first.co2_kg_per_kwh) == (told.price_per_kwh, told.carbon_kg_per_kwh)
    sharing = min(3, told.busy + told.queue + 1)
    assert first.power_w == min(22_000, (told.grid_w + told.solar_w) / sharing)
    assert all(0 <= period.solar_share <= 1 for period in option.periods)
    before = station.as_before(at_ms)
    assert (before.grid_supply_kw, before.solar_supply_kw) == (told.grid_w / 1000, told.solar_w / 1000)
    assert (before.carbon_intensity, before.price_per_kwh) == (told.carbon_kg_per_kwh, told.price_per_kwh)
    assert before.queue_length == told.queue


def test_the_nearer_of_two_equals_is_recommended() -> None:
    vehicle = Vehicle(need_wh=20_000, range_km=100, max_w=11_000, plugs=frozenset({""}))
    far = Place(HERE.latitude + 0.2, HERE.longitude)
    stations = [Station(1, spec(station_id=name, place=at, per_hour=0.0)) for name, at in (("a", far), ("b", HERE))]
    advised = recommend(vehicle, [station.ahead(MONDAY, HERE) for station in stations])
    assert [option.station_id for option in advised.top] == ["b", "a"]


def test_a_station_where_nobody_comes_announces_nothing() -> None:
    assert Station(1, spec(per_hour=0.0)).next_change_ms(MONDAY) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"connectors": 0},
        {"connector_w": 0},
        {"grid_w": -1},
        {"per_hour": -1.0},
        {"per_hour": math.inf},
        {"stay_ms": 0},
        {"stay_ms": LONGEST_STAY_MS + 1},
        {"carbon_kg_per_kwh": -0.1},
    ],
)
def test_a_station_that_cannot_be_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"or more|at least"):
        spec(**fields)


def test_the_prices_cover_the_day() -> None:
    assert [PRICES.at(hour * HOUR, lambda _: 0) for hour in (0, 5, 6, 15, 16, 20, 21, 22)] == [
        *(0.29, 0.29, 0.38, 0.38, 0.48, 0.48, 0.38, 0.29)
    ]
