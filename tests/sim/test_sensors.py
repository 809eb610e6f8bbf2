"""The simulated sensors: what each is called, and that the same instant has the same values."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from evcharge.sim.sensors import SimulatedSensors, SimulatedSite

NAMES = ("base_w", "solar_w", "battery_percent", "grid_percent")
# 10 June 2026, 00:00 in the zone of the default site.
MIDNIGHT_MS = 1_781_046_000_000
MINUTE_MS = 60_000
DAY_MS = 1_440 * MINUTE_MS


def all_of(sensors: SimulatedSensors, at_ms: int) -> list[float | None]:
    return [sensors(name, at_ms) for name in NAMES]


def test_what_is_not_simulated_is_none() -> None:
    assert SimulatedSensors(SimulatedSite())("temperature_c", MIDNIGHT_MS) is None
    assert SimulatedSensors(SimulatedSite())("at_ms", MIDNIGHT_MS) is None


def test_sun_at_noon_and_none_at_night() -> None:
    sensors = SimulatedSensors(SimulatedSite())
    assert sensors("solar_w", MIDNIGHT_MS) == 0.0
    noon = sensors("solar_w", MIDNIGHT_MS + 720 * MINUTE_MS)
    assert noon is not None
    assert 5_000 < noon <= 60_000


@given(st.lists(st.integers(0, 200), min_size=1, max_size=4), st.integers(0, 3))
def test_who_starts_later_in_the_day_sees_the_same(minutes: list[int], seed: int) -> None:
    early, last = SimulatedSensors(SimulatedSite(seed=seed)), max(minutes)
    for minute in sorted(minutes):
        said = all_of(early, MIDNIGHT_MS + minute * MINUTE_MS)
    assert said == all_of(SimulatedSensors(SimulatedSite(seed=seed)), MIDNIGHT_MS + last * MINUTE_MS)


@given(st.lists(st.integers(-3 * DAY_MS, 40 * DAY_MS), min_size=1, max_size=2))
def test_a_clock_that_jumps_gives_values_that_can_be(instants: list[int]) -> None:
    sensors = SimulatedSensors(SimulatedSite())
    for at_ms in instants:
        base_w, solar_w, battery, grid = all_of(sensors, MIDNIGHT_MS + at_ms)
        assert base_w is not None and solar_w is not None and battery is not None and grid is not None
        assert 0 <= base_w <= 30_000
        assert 0 <= solar_w <= 60_000
        assert 10 <= battery <= 100
        assert grid >= 0


def test_a_clock_that_was_set_back_sees_what_was_last() -> None:
    sensors = SimulatedSensors(SimulatedSite())
    now = all_of(sensors, MIDNIGHT_MS + 720 * MINUTE_MS)
    assert all_of(sensors, MIDNIGHT_MS + 700 * MINUTE_MS) == now
