"""The vehicle: charging against small steps, ways against arithmetic, and asking that changes nothing."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evcharge.sim.vehicle import FLOOR_SHARE, Place, Vehicle, VehicleSpec, charge, distance_km

HOUR = 3_600_000
HOME, WORK = Place(34.20, -118.17), Place(34.05, -118.25)
SPEC = VehicleSpec(capacity_wh=50_000, max_w=10_000, wh_per_km=200.0)


def car(percent: float = 50, spec: VehicleSpec = SPEC) -> Vehicle:
    return Vehicle(spec, percent=percent, place=HOME, at_ms=0)


def test_below_the_taper_energy_is_power_times_time() -> None:
    vehicle = car()
    vehicle.offer(0, 7_000)
    told = vehicle.read(HOUR)
    assert (told.battery_percent, told.charging_w, told.driving) == (64.0, 7_000, False)
    assert told.range_km == pytest.approx(160)
    vehicle.offer(HOUR, 0)
    assert vehicle.read(9 * HOUR).battery_percent == pytest.approx(64.0)


def test_it_takes_no_more_than_its_charger_can() -> None:
    vehicle = car()
    vehicle.offer(0, 22_000)
    assert vehicle.read(HOUR).charging_w == 10_000


def by_small_steps(spec: VehicleSpec, energy_wh: float, offered_w: float, hours: float) -> float:
    """Euler with 20,000 steps: slow, and too simple to be wrong."""
    step_h = hours / 20_000
    for _ in range(20_000):
        soc = energy_wh / spec.capacity_wh
        accepts_w = float(spec.max_w)
        if soc > spec.taper_from:
            fall = (soc - spec.taper_from) / (1 - spec.taper_from)
            accepts_w *= 1 - (1 - FLOOR_SHARE) * fall
        energy_wh = min(spec.capacity_wh * spec.stop_at, energy_wh + min(offered_w, accepts_w) * step_h)
    return energy_wh


@pytest.mark.parametrize("offered_w", [300, 499, 3_000, 9_999, 50_000])
@pytest.mark.parametrize("percent", [70, 80, 93])
@pytest.mark.parametrize("stop_at", [0.9, 1.0])
def test_the_taper_as_small_steps_find_it(offered_w: float, percent: float, stop_at: float) -> None:
    spec = VehicleSpec(capacity_wh=50_000, max_w=10_000, stop_at=stop_at)
    for hours in (0.3, 2.0, 12.0):
        start_wh = 500.0 * percent
        expected = start_wh if percent / 100 >= stop_at else by_small_steps(spec, start_wh, offered_w, hours)
        assert charge(spec, start_wh, offered_w, hours)[0] == pytest.approx(expected, abs=15)


@given(
    first=st.integers(0, 10 * HOUR),
    more=st.integers(0, 10 * HOUR),
    offered_w=st.integers(0, 20_000),
    percent=st.floats(0, 100),
    taper_from=st.sampled_from([0.0, 0.5, 0.8, 1.0]),
    stop_at=st.sampled_from([0.6, 0.9, 1.0]),
)
def test_cutting_an_interval_changes_nothing_and_charge_never_falls(
    first: int, more: int, offered_w: int, percent: float, taper_from: float, stop_at: float
) -> None:
    spec = VehicleSpec(capacity_wh=50_000, max_w=10_000, taper_from=taper_from, stop_at=stop_at)
    whole, cut = car(percent, spec), car(percent, spec)
    whole.offer(0, offered_w)
    cut.offer(0, offered_w)
    start = whole.read(0)
    half = cut.read(first)
    cut.offer(first, offered_w)
    end, again = whole.read(first + more), cut.read(first + more)
    assert again.battery_percent == pytest.approx(end.battery_percent, abs=1e-6)
    assert start.battery_percent <= half.battery_percent + 1e-9
    assert half.battery_percent <= end.battery_percent + 1e-9
    assert end.battery_percent <= max(percent, 100 * stop_at) + 1e-9
    assert 0 <= end.charging_w <= min(offered_w, 10_000)
    # The mean power lies between what flows at the end and what flowed at the beginning.
    gained_wh = (end.battery_percent - half.battery_percent) * 500
    assert end.charging_w * more / HOUR - 1e-3 <= gained_wh <= half.charging_w * more / HOUR + 1e-3


def test_full_takes_nothing() -> None:
    vehicle = car(100)
    vehicle.offer(0, 7_000)
    assert vehicle.read(HOUR)[0] == 100
    assert vehicle.read(HOUR).charging_w == 0


def test_a_way_uses_what_it_uses() -> None:
    vehicle = car()
    vehicle.drive(0, WORK, km=40, kmh=40, wh_per_km=150)
    half = vehicle.read(HOUR // 2)
    assert (half.battery_percent, half.driving, half.consumption_wh_per_km) == (pytest.approx(44), True, 150)
    assert half.place == pytest.approx(Place(34.125, -118.21))
    assert vehicle.arrival_ms() == HOUR
    end = vehicle.read(5 * HOUR)
    assert (end.place, end.driving, end.battery_percent) == (pytest.approx(WORK), False, pytest.approx(38))
    assert end.range_km == pytest.approx(0.38 * 50_000 / 150)
    vehicle.offer(5 * HOUR, 7_000)
    assert vehicle.arrival_ms() is None
    assert vehicle.read(6 * HOUR).battery_percent == pytest.approx(52)


def test_an_empty_battery_ends_the_way_early() -> None:
    vehicle = car(4)
    vehicle.drive(0, WORK, km=40, kmh=40)
    assert vehicle.arrival_ms() == HOUR // 4
    told = vehicle.read(HOUR)
    assert (told.battery_percent, told.range_km, told.driving) == (0, 0, False)
    assert told.place == pytest.approx(Place(34.20 - 0.15 / 4, -118.17 - 0.08 / 4))


@given(questions=st.lists(st.integers(0, 3 * HOUR), max_size=10))
def test_asking_changes_nothing(questions: list[int]) -> None:
    asked, silent = car(), car()
    for vehicle in (asked, silent):
        vehicle.drive(0, WORK, km=33, kmh=40)
    for at_ms in questions:
        asked.read(at_ms)
    for vehicle in (asked, silent):
        vehicle.offer(3 * HOUR, 9_000)
    for at_ms in questions:
        asked.read(3 * HOUR + at_ms)
    assert asked.read(7 * HOUR) == silent.read(7 * HOUR)


def test_time_runs_forward_and_nonsense_is_refused() -> None:
    vehicle = car()
    vehicle.offer(10, 0)
    with pytest.raises(ValueError, match="before"):
        vehicle.read(9)
    with pytest.raises(ValueError, match="offered"):
        vehicle.offer(10, -1)
    with pytest.raises(ValueError, match="offered"):
        vehicle.offer(10, math.nan)
    with pytest.raises(ValueError, match="way"):
        vehicle.drive(10, WORK, km=-1, kmh=40)
    with pytest.raises(ValueError, match="percent"):
        car(101)
    with pytest.raises(ValueError, match="capacity"):
        VehicleSpec(capacity_wh=0)
    with pytest.raises(ValueError, match="stop_at"):
        VehicleSpec(stop_at=1.1)


def test_distances() -> None:
    # One degree of a meridian.
    assert distance_km(Place(10, 20), Place(11, 20)) == pytest.approx(111.19, abs=0.01)
    assert distance_km(Place(0, 179.5), Place(0, -179.5)) == pytest.approx(111.19, abs=0.01)
    assert distance_km(HOME, HOME) == 0
