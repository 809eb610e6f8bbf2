"""Readings: newest, how old, and what a silent meter counts as."""

from __future__ import annotations

import pytest

from evcharge.central.ruling import GRACE_S, ruled
from evcharge.central.sensors import BASE, BATTERY, GRID, SOLAR, STALE_S, STEP_MS, TEMPERATURE, Sensors
from evcharge.energy.rules import RuleSettings, follow
from evcharge.ids import NodeId
from tests.support.clock import ManualClock

NORTH = NodeId("north")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def test_a_meter_that_fell_silent_shows_nothing(clock: ManualClock) -> None:
    sensors = Sensors(clock)
    for value in (3_000.0, 9_000.5, 2_000.2):
        assert sensors.heard(BASE, NORTH, value, None)
    assert sensors.measured_w() == {NORTH: 2_001}, "rounded up"
    clock.advance(STALE_S)
    assert sensors.measured_w() == {NORTH: 2_001}
    clock.advance(0.1)
    assert sensors.measured_w() == {}
    assert sensors.base_ages_ms() == {NORTH: 10_100}
    assert sensors.heard(BASE, NORTH, 1_000.0, None)
    assert sensors.measured_w() == {NORTH: 1_000}
    sensors.forget(NORTH)
    assert (sensors.measured_w(), sensors.base_ages_ms(), sensors.newest(BASE, NORTH)) == ({}, {}, None)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (BASE, -0.1),
        (BASE, 1.1e9),
        (SOLAR, float("inf")),
        (GRID, 1_001.0),
        (BATTERY, 100.1),
        (BATTERY, float("nan")),
        (TEMPERATURE, -60.1),
        (TEMPERATURE, 70.1),
    ],
)
def test_what_cannot_be_true_changes_nothing(clock: ManualClock, name: str, value: float) -> None:
    sensors = Sensors(clock)
    node_id = NORTH if name == BASE else None
    assert sensors.heard(name, node_id, 50.0, None)
    assert not sensors.heard(name, node_id, value, None)
    assert sensors.newest(name, node_id) == 50.0


def test_the_rules_see_what_the_sensor_said_and_when(clock: ManualClock) -> None:
    sensors = Sensors(clock)
    now_ms = clock.site_ms()
    sensors.heard(GRID, None, 40.0, now_ms - 3_000)
    sensors.heard(SOLAR, None, 35_000.0, None)
    _, ruling = follow(None, sensors.readings(), now_ms, RuleSettings())
    found = ruled(ruling)
    assert (found.ceiling_w, found.rule) == (11_000, "solar_medium")
    assert [(each.name, each.milli, each.age_ms) for each in found.inputs] == [
        ("solar_w", 35_000_000, 0),
        ("battery_percent", None, None),
        ("grid_percent", 40_000, 3_000),
    ]
    assert GRACE_S > STALE_S, "sensors get more time to come back than their readings live"


def test_the_history_is_of_whole_quarters(clock: ManualClock) -> None:
    sensors = Sensors(clock)
    assert sensors.history(SOLAR, None, clock.site_ms()) == []
    begin_ms = clock.site_ms() - clock.site_ms() % STEP_MS
    clock.advance(STEP_MS / 1000)
    for place, value in enumerate((1_000.0, 3_000.0, 8_000.0)):
        sensors.heard(SOLAR, None, value, begin_ms + place * STEP_MS // 2)
    assert sensors.history(SOLAR, None, begin_ms + STEP_MS)[-1] == 2_000.0
    assert sensors.history(SOLAR, None, begin_ms + 2 * STEP_MS)[-1] == 8_000.0
    sensors.heard(SOLAR, None, 1.0, None)
    assert sensors.ages() == {"solar_w": 0}


def test_a_reading_that_is_told_late_is_as_old_as_it_says(clock: ManualClock) -> None:
    sensors = Sensors(clock)
    sensors.heard(BASE, NORTH, 1_000.0, clock.site_ms() - 3_600_000)
    assert sensors.measured_w() == {}
    assert sensors.base_ages_ms() == {NORTH: 3_600_000}
    sensors.heard(BASE, NORTH, 9_000.0, clock.site_ms())
    sensors.heard(BASE, NORTH, 1_000.0, clock.site_ms() - 3_600_000)
    assert sensors.measured_w() == {NORTH: 9_000}, "what was held up on its way replaces nothing newer"
    assert sensors.base_ages_ms() == {NORTH: 0}
    clock.advance(STALE_S + 0.1)
    sensors.heard(BASE, NORTH, 1_000.0, clock.site_ms() - 3_600_000)
    assert sensors.measured_w() == {}
    assert sensors.newest(BASE, NORTH) == 1_000, "a clock that was set back is not passed over for ever"


def test_a_clock_that_is_far_ahead_does_not_end_the_history(clock: ManualClock) -> None:
    sensors = Sensors(clock)
    for at_ms in (None, 2**53 - 1, None):
        assert sensors.heard(SOLAR, None, 5_000.0, at_ms)
        clock.advance(STEP_MS / 1000)
    assert sensors.history(SOLAR, None, clock.site_ms())[-2:] == [5_000.0, 5_000.0]
    assert sensors.newest(SOLAR, None) == 5_000.0
