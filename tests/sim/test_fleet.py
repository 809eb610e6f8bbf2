"""Commuters: days that depend on nothing but their key, batteries that follow from ways and offers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evcharge.sim.fleet import Commuter, CommuterSpec, ways
from evcharge.sim.vehicle import Place, VehicleSpec

HOUR = 3_600_000
DAY = 24 * HOUR
# A Monday.
MONDAY = 18_267
HOME, WORK = Place(34.20, -118.17), Place(34.05, -118.25)
SPEC = CommuterSpec(home=HOME, work=WORK, utc_offset_ms=-8 * HOUR)


@given(seed=st.integers(0, 99), day=st.integers(0, 30_000))
def test_a_working_day_has_a_way_there_and_one_back_on_that_day(seed: int, day: int) -> None:
    plan = ways(seed, "car", day, SPEC)
    assert plan == ways(seed, "car", day, SPEC)
    midnight_ms = day * DAY + 8 * HOUR
    if (day - MONDAY) % 7 < 5:
        assert [way.to_work for way in plan] == [True, False]
    if plan:
        assert midnight_ms + 5 * HOUR <= plan[0].at_ms <= midnight_ms + 11 * HOUR
        assert max(plan[0].at_ms + HOUR, midnight_ms + 12 * HOUR) <= plan[1].at_ms <= midnight_ms + 22 * HOUR


def test_weekends_are_quiet() -> None:
    days = [MONDAY + week * 7 + 5 + day for week in range(200) for day in range(2)]
    busy = sum(bool(ways(1, "car", day, SPEC)) for day in days)
    assert busy / len(days) == pytest.approx(SPEC.weekend_share, abs=0.07)


@given(questions=st.lists(st.integers(0, 5 * DAY), max_size=20), seed=st.integers(0, 20))
def test_asking_changes_nothing(questions: list[int], seed: int) -> None:
    start = MONDAY * DAY
    asked, silent = Commuter(seed, "a", SPEC, at_ms=start), Commuter(seed, "a", SPEC, at_ms=start)
    for at_ms in sorted(questions):
        asked.read(start + at_ms)
    assert asked.read(start + 5 * DAY) == silent.read(start + 5 * DAY)


def test_a_way_that_is_longer_than_the_day_goes_back_from_where_it_is() -> None:
    """600 km of road at 40 km/h: it turns round before it arrives, and is home late at night."""
    far = CommuterSpec(home=HOME, work=Place(38.35, -118.17), vehicle=VehicleSpec(capacity_wh=900_000))
    car = Commuter(1, "a", far, at_ms=MONDAY * DAY)
    leaves, turns = ways(1, "a", MONDAY, far)
    farthest = car.read(turns.at_ms - 1).place.latitude
    assert HOME.latitude + 1 < farthest < 38.35
    hour_later = car.read(turns.at_ms + HOUR)
    # An hour is 40 km of road, 31 of them on the meridian.
    assert hour_later.driving
    assert hour_later.place.latitude == pytest.approx(farthest - 40 / 1.3 / 111.19, abs=0.001)
    assert car.read(2 * turns.at_ms - leaves.at_ms + 1_000).charging_w > 0


@given(seed=st.integers(0, 50), offered_w=st.integers(0, 22_000))
def test_a_week_with_offers_keeps_its_battery_in_bounds_and_comes_home(seed: int, offered_w: int) -> None:
    car = Commuter(seed, "a", SPEC, at_ms=MONDAY * DAY + 8 * HOUR)
    for quarter in range(7 * 96):
        now_ms = MONDAY * DAY + 8 * HOUR + quarter * HOUR // 4
        told = car.read(now_ms)
        assert 0 <= told.battery_percent <= 100
        assert told.range_km * told.consumption_wh_per_km == pytest.approx(told.battery_percent * 600, abs=1e-6)
        assert not (told.driving and told.charging_w)
        if told.place == pytest.approx(WORK) and not told.driving:
            assert car.offer(now_ms, offered_w)
        if quarter % 96 == 12:
            # Three in the morning: at home, plugged in, charging or full.
            assert told.place == pytest.approx(HOME)
            assert told.charging_w > 0 or told.battery_percent == 100
    assert car.next_change_ms() > now_ms


def test_a_vehicle_under_way_takes_no_offer() -> None:
    car = Commuter(3, "a", SPEC, at_ms=MONDAY * DAY + 8 * HOUR)
    leaves_ms = car.next_change_ms()
    assert car.offer(leaves_ms - 1, 0)
    assert car.read(leaves_ms + 60_000).driving
    assert not car.offer(leaves_ms + 60_000, 5_000)
    assert car.next_change_ms() < leaves_ms + 2 * HOUR


def test_without_an_outlet_it_strands_and_an_offer_helps() -> None:
    small = VehicleSpec(capacity_wh=8_000)
    spec = CommuterSpec(home=HOME, work=WORK, vehicle=small, home_w=0)
    car = Commuter(3, "a", spec, at_ms=MONDAY * DAY)
    stranded_ms = MONDAY * DAY + 6 * DAY
    told = car.read(stranded_ms)
    assert (told.battery_percent, told.range_km, told.driving) == (pytest.approx(0, abs=1e-9), pytest.approx(0), False)
    assert car.offer(stranded_ms, 4_000)
    assert car.read(stranded_ms + HOUR).battery_percent > 40
