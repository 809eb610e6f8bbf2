"""What surrounds a site: bounds, determinism, and a battery that follows roof and building."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evcharge.sim.around import START_PERCENT, STEP_MS, Around
from evcharge.sim.solar import SolarSite
from evcharge.sim.storage import StorageSpec

HOUR = 3_600_000
# A Monday in June, 0:00 in Los Angeles.
START = 1_559_545_200_000
ROOF = SolarSite(latitude=34.2, longitude=-118.17, peak_w=60_000, cloudiness=-2.0)
BATTERY = StorageSpec(capacity_wh=40_000, charge_w=20_000, discharge_w=20_000)


def around(seed: int = 1, base_w: int = 20_000, roof: SolarSite = ROOF) -> Around:
    return Around(seed, at_ms=START, base_w=base_w, roof=roof, battery=BATTERY, utc_offset_ms=-7 * HOUR)


@given(steps=st.lists(st.integers(0, 2 * HOUR), max_size=8), seed=st.integers(0, 9))
def test_readings_are_believable_and_do_not_depend_on_who_asks(steps: list[int], seed: int) -> None:
    often, once = around(seed), around(seed)
    at_ms = START
    for step in steps:
        at_ms += step
        told = often.read(at_ms)
        assert 0 <= told.base_w <= 20_000
        assert 0 <= told.solar_w <= ROOF.peak_w
        assert 10 <= told.battery_percent <= 100
        assert 0 <= told.grid_percent < 200
    assert once.read(at_ms) == often.read(at_ms)


def test_the_battery_fills_by_day_and_helps_at_night() -> None:
    site = around()
    percents = {hour: site.read(START + hour * HOUR).battery_percent for hour in range(25)}
    assert percents[0] == START_PERCENT
    assert percents[6] == pytest.approx(10)
    assert percents[16] > 95
    assert percents[24] < percents[16]


@given(seed=st.integers(0, 9), hour=st.integers(0, 30))
def test_it_moves_without_jumps(seed: int, hour: int) -> None:
    site = around(seed)
    a, b = site.read(START + hour * HOUR), site.read(START + hour * HOUR + 1_000)
    assert abs(a.base_w - b.base_w) < 500
    assert abs(a.solar_w - b.solar_w) < 1_200
    # 20 kW for a second of 40 kWh, and the step in which an order changes.
    assert abs(a.battery_percent - b.battery_percent) < 0.02


def test_time_only_goes_forward() -> None:
    site = around()
    site.read(START + HOUR)
    with pytest.raises(ValueError, match="before the last order"):
        site.read(START + HOUR - STEP_MS - 1)
    with pytest.raises(ValueError, match="base_w"):
        around(base_w=-1)
