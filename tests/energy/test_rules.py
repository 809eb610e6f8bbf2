"""The energy rules: every boundary of the table, and what must hold for any readings at any time."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evcharge.energy.rules import (
    CEILING_W,
    ChargingMode,
    Fault,
    Reading,
    Readings,
    Rule,
    RuleSettings,
    RuleState,
    follow,
    optimization,
    table,
)

NOW = 1_000_000_000
PAUSE, SLOW, NORMAL, FAST = ChargingMode.PAUSE, ChargingMode.SLOW, ChargingMode.NORMAL, ChargingMode.FAST


def readings(
    solar_w: float | None, battery: float | None, grid: float | None, *, now_ms: int = NOW, age_ms: int = 0
) -> Readings:
    """Readings of one age; None: the source never answered."""

    def one(value: float | None) -> Reading | None:
        return None if value is None else Reading(value, now_ms - age_ms)

    return Readings(solar_w=one(solar_w), battery_percent=one(battery), grid_percent=one(grid))


@pytest.mark.parametrize(
    ("solar_kw", "battery", "grid", "mode", "power_kw"),
    [
        (80, 90, 85, FAST, 22),
        (80, 90, 85.0001, PAUSE, 0),
        (80, 90, 86, PAUSE, 0),
        (60, 71, 50, NORMAL, 11),
        (60.0001, 71, 50, FAST, 22),
        (61, 70, 50, NORMAL, 11),
        (61, 70.0001, 50, FAST, 22),
        (61, 0, 50, NORMAL, 11),
        (30, 100, 50, SLOW, 5),
        (30.0001, 0, 50, NORMAL, 11),
        (0, 100, 0, SLOW, 5),
        (0, 0, 100, PAUSE, 0),
    ],
)
def test_every_boundary_is_strict(
    solar_kw: float, battery: float, grid: float, mode: ChargingMode, power_kw: float
) -> None:
    _, ruling = follow(None, readings(solar_kw * 1000, battery, grid), NOW)
    answer = optimization(ruling)
    assert (answer.charging_mode, answer.charging_power_kw) == (mode, power_kw)


def test_the_answer_as_clients_get_it() -> None:
    _, ruling = follow(None, readings(61_500, 72, 40, age_ms=3_000), NOW)
    assert msgspec.json.decode(msgspec.json.encode(optimization(ruling))) == {
        "solar_output_kW": 61.5,
        "battery_level_percent": 72.0,
        "grid_load_percent": 40.0,
        "charging_mode": "FAST_CHARGING",
        "charging_power_kW": 22.0,
        "rule": "solar_high_battery_high",
        "reason": "61.5 kW of sun and the battery at 72 %",
        "input_age_ms": {"solar": 3_000, "battery": 3_000, "grid": 3_000},
        "input_fault": {},
    }


def test_what_is_not_known_is_null_and_named() -> None:
    _, ruling = follow(None, Readings(solar_w=None, battery_percent=None, grid_percent=Reading(20, NOW)), NOW)
    answer = optimization(ruling)
    assert answer.solar_output_kw is None
    assert answer.battery_level_percent is None
    assert answer.charging_mode is SLOW
    assert answer.rule is Rule.SOLAR_UNKNOWN
    assert answer.input_fault == {"solar": Fault.MISSING, "battery": Fault.MISSING}
    assert answer.input_age_ms == {"solar": None, "battery": None, "grid": 0}
    assert answer.reason == "the solar power is not known (missing)"


FAULTS = [
    (None, Fault.MISSING),
    (Reading(None, NOW), Fault.MISSING),
    (Reading(50, NOW - 10_001), Fault.STALE),
    (Reading(50, NOW + 2_001), Fault.AHEAD),
    (Reading(-0.001, NOW), Fault.ABSURD),
    (Reading(200.1, NOW), Fault.ABSURD),
    (Reading(math.nan, NOW), Fault.ABSURD),
    (Reading(math.inf, NOW), Fault.ABSURD),
]


@pytest.mark.parametrize(("grid", "fault"), FAULTS)
def test_a_grid_that_is_not_known_pauses(grid: Reading | None, fault: Fault) -> None:
    good = readings(90_000, 90, None)
    _, ruling = follow(None, msgspec.structs.replace(good, grid_percent=grid), NOW)
    assert (ruling.mode, ruling.ceiling_w, ruling.rule) == (PAUSE, 0, Rule.GRID_UNKNOWN)
    assert ruling.inputs[2].fault is fault
    assert ruling.inputs[2].value is None


def test_a_reading_is_good_up_to_its_last_millisecond() -> None:
    for at_ms in (NOW - 10_000, NOW + 2_000):
        good = msgspec.structs.replace(readings(90_000, 90, None), grid_percent=Reading(50, at_ms))
        assert follow(None, good, NOW)[1].mode is FAST
    stale = msgspec.structs.replace(readings(None, 90, 50), solar_w=Reading(90_000, NOW - 60_001))
    assert follow(None, stale, NOW)[1].rule is Rule.SOLAR_UNKNOWN


@given(solar=st.floats(0, 1e8), battery=st.floats(0, 100), grid=st.floats(0, 200), hidden=st.sets(st.integers(0, 2)))
def test_not_knowing_never_gives_more_than_knowing(solar: float, battery: float, grid: float, hidden: set[int]) -> None:
    known = (solar, battery, grid)
    seen = [None if i in hidden else value for i, value in enumerate(known)]
    assert CEILING_W[table(*seen)[0]] <= CEILING_W[table(*known)[0]]


@given(solar=st.floats(0, 1e8), battery=st.floats(0, 100), grid=st.floats(0, 85), hidden=st.sampled_from([0, 1, 2]))
def test_not_knowing_gives_as_much_as_is_safe(solar: float, battery: float, grid: float, hidden: int) -> None:
    """Some value of the unknown reading gives just that: nobody is slowed more than needed."""
    seen = [solar, battery, grid]
    spans: list[list[float]] = [[0, 30_001, 60_001], [0, 71], [0, 86]]
    possible = []
    for value in spans[hidden]:
        seen[hidden] = value
        possible.append(CEILING_W[table(*seen)[0]])
    unknown: list[float | None] = [solar, battery, grid]
    unknown[hidden] = None
    assert CEILING_W[table(*unknown)[0]] == min(possible)


# --- over time ------------------------------------------------------------------------------------


def after(state: RuleState | None, later_ms: int, grid: float | None, solar_w: float = 90_000) -> RuleState:
    now_ms = (NOW if state is None else state.at_ms) + later_ms
    return follow(state, readings(solar_w, 90, grid, now_ms=now_ms), now_ms)[0]


def test_a_pause_ends_below_80_and_not_at_80() -> None:
    state = after(None, 0, 85.5)
    assert (state.mode, state.ceiling_w) == (PAUSE, 0)
    state = after(state, 3_600_000, 85)
    assert state.mode is PAUSE
    state = after(state, 3_600_000, 80)
    assert state.mode is PAUSE
    # Not knowing neither ends the pause nor makes a new one.
    state = after(after(state, 1_000, None), 1_000, 82)
    assert state.mode is PAUSE
    state = after(state, 1_000, 79.9)
    assert state.mode is FAST


def test_a_gap_in_the_readings_is_no_overload() -> None:
    state = after(after(after(None, 0, 82), 60_000, None), 60_000, 82)
    assert state.mode is FAST


def test_the_reason_of_a_pause_that_goes_on() -> None:
    state = after(None, 0, 90)
    now_ms = NOW + 1_000
    _, ruling = follow(state, readings(90_000, 90, 83, now_ms=now_ms), now_ms)
    assert ruling.rule is Rule.GRID_RECOVERING
    assert optimization(ruling).reason == "the grid is at 83 % after an overload: the pause ends below 80 %"


def test_a_raise_waits_for_the_dwell_and_is_ramped() -> None:
    state = after(None, 0, 50, solar_w=0)
    assert state.ceiling_w == 5_000
    state = after(state, 59_999, 50)
    assert (state.mode, state.ceiling_w) == (SLOW, 5_000)
    state = after(state, 1, 50)
    assert (state.mode, state.ceiling_w) == (FAST, 5_000)
    state = after(state, 10_000, 50)
    assert state.ceiling_w == 10_000
    state = after(state, 24_000, 50)
    assert state.ceiling_w == 22_000


def test_a_raise_on_its_way_says_so() -> None:
    state = after(None, 0, 50, solar_w=0)
    now_ms = NOW + 1_000
    _, ruling = follow(state, readings(90_000, 90, 50, now_ms=now_ms), now_ms)
    assert (ruling.ceiling_w, ruling.wanted_w) == (5_000, 22_000)
    assert optimization(ruling).reason.endswith("; on the way up to 22 kW")


def test_a_clock_that_steps_back_neither_raises_nor_locks() -> None:
    state = after(None, 0, 50, solar_w=0)
    back = after(state, -86_400_000, 50)
    assert (back.mode, back.ceiling_w) == (SLOW, 5_000)
    assert after(back, 60_000, 50).mode is FAST


STEPS = st.lists(
    st.tuples(
        st.integers(-5_000, 90_000),
        st.one_of(st.none(), st.sampled_from([0.0, 30_001.0, 60_001.0, -1.0, math.nan])),
        st.one_of(st.none(), st.sampled_from([0.0, 70.0, 71.0, 101.0])),
        st.one_of(st.none(), st.sampled_from([0.0, 79.9, 80.0, 85.0, 85.1, 150.0, math.inf])),
    ),
    max_size=30,
)


@given(steps=STEPS)
def test_never_above_the_table_never_charging_on_a_high_grid_never_a_fast_raise(
    steps: list[tuple[int, float | None, float | None, float | None]],
) -> None:
    settings = RuleSettings()
    state: RuleState | None = None
    now_ms = NOW
    for later_ms, solar, battery, grid in steps:
        now_ms += later_ms
        before, (state, ruling) = state, follow(state, readings(solar, battery, grid, now_ms=now_ms), now_ms, settings)
        seen = [one.value for one in ruling.inputs]
        assert ruling.ceiling_w <= CEILING_W[ruling.mode] <= ruling.wanted_w <= CEILING_W[table(*seen)[0]]
        if seen[2] is None or seen[2] > 85:
            assert ruling.ceiling_w == 0
        if before is not None:
            most_w = before.ceiling_w + settings.ramp_w_per_s * max(0, later_ms) / 1000
            assert ruling.ceiling_w <= most_w
            if CEILING_W[state.mode] > CEILING_W[before.mode]:
                assert now_ms - before.since_ms >= settings.dwell_ms


@given(cloud=st.lists(st.booleans(), min_size=1, max_size=300))
def test_flickering_sun_raises_at_most_once_a_dwell(cloud: list[bool]) -> None:
    state, raises = after(None, 0, 50, solar_w=0), 0
    for covered in cloud:
        before, state = state, after(state, 1_000, 50, solar_w=0 if covered else 90_000)
        raises += CEILING_W[state.mode] > CEILING_W[before.mode]
    assert raises <= len(cloud) / 60
