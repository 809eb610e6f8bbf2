"""Physics: exact energy whatever the ticks are, exact ends, a power that never leaves its bounds."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evcharge.cp.model import Connector, Finished, rating_w
from evcharge.cp.vehicle import MJ_PER_WH, TAPER_STEPS, Vehicle, VehicleSpec

HOUR_MS = 3_600_000


def connector(vehicle: Vehicle | None = None, **changes: int) -> tuple[Connector, list[tuple[int, int, int]]]:
    trace: list[tuple[int, int, int]] = []
    made = Connector(1, 1_380, 7_360, at_ms=0, sink=lambda *change: trace.append(change), **changes)
    if vehicle is not None:
        made.plug(vehicle)
    return made, trace


def roomy(max_w: int = 7_360) -> Vehicle:
    return Vehicle(100_000, 0, max_w)


def test_an_hour_at_a_constant_limit_is_the_limit_in_watt_hours() -> None:
    made, _ = connector(roomy())
    made.close(6_200, None)
    assert made.advance(HOUR_MS) is None
    assert made.register_wh == 6_200
    assert made.register_mj == 6_200 * MJ_PER_WH


def test_the_sub_watt_hour_remainder_is_kept() -> None:
    made, _ = connector(roomy())
    made.close(1_381, None)
    for second in range(1, 3_601):
        made.advance(second * 1_000)
    assert made.register_wh == 1_381


@pytest.mark.parametrize("jump_ms", [1, 100, 120_000, 10 * HOUR_MS])
def test_the_target_is_met_exactly_and_at_its_instant(jump_ms: int) -> None:
    made, trace = connector(roomy())
    made.close(7_200, 1_000)
    # 1,000 Wh at 7.2 kW are 500 s.
    at_ms, ended = 499_000, None
    while ended is None:
        at_ms += jump_ms
        ended = made.advance(at_ms)
    assert ended == Finished(500_000, "target_reached")
    assert made.register_wh == 1_000
    assert made.register_mj == 1_000 * MJ_PER_WH
    assert (made.closed, made.power_w, made.at_ms) == (False, 0, at_ms)
    assert trace == [(0, 1, 0), (0, 1, 7_200), (500_000, 1, 0)]


def test_a_need_ends_as_vehicle_full_at_its_instant() -> None:
    made, _ = connector(Vehicle.from_spec(VehicleSpec(need_wh=6_200), 7_360))
    made.close(6_200, None)
    assert made.advance(24 * HOUR_MS) == Finished(HOUR_MS, "vehicle_full")
    assert made.register_wh == 6_200


def test_a_target_below_the_need_wins_and_equal_ones_count_as_target() -> None:
    for energy_wh in (5_000, 6_200):
        made, _ = connector(Vehicle.from_spec(VehicleSpec(need_wh=6_200), 7_360))
        made.close(6_200, energy_wh)
        ended = made.advance(24 * HOUR_MS)
        assert ended is not None
        assert ended.reason == "target_reached"
        assert made.register_wh == energy_wh


def test_a_full_vehicle_and_a_target_of_nothing_end_at_once() -> None:
    full, _ = connector(Vehicle(60_000, 60_000, 7_360))
    full.close(7_360, None)
    assert full.advance(0) == Finished(0, "vehicle_full")
    idle, _ = connector(roomy())
    idle.close(7_360, 0)
    assert idle.advance(0) == Finished(0, "target_reached")


def test_a_limit_below_the_minimum_pauses_and_a_limit_above_the_rating_is_cut() -> None:
    made, trace = connector(roomy(max_w=22_000))
    made.close(1_379, None)
    assert (made.power_w, made.closed) == (0, True)
    made.advance(HOUR_MS)
    assert made.register_mj == 0
    made.set_limit(1_380)
    assert made.power_w == 1_380
    made.set_limit(50_000)
    assert made.power_w == 7_360
    assert trace == [(0, 1, 0), (HOUR_MS, 1, 1_380), (HOUR_MS, 1, 7_360)]


def test_power_needs_contactor_and_vehicle() -> None:
    made, _ = connector()
    made.set_limit(7_360)
    assert made.power_w == 0
    made.plug(roomy())
    assert made.power_w == 0
    made.close(7_360, None)
    assert made.power_w == 7_360
    made.unplug()
    assert (made.power_w, made.vehicle, made.closed) == (0, None, False)


def test_time_does_not_run_backwards() -> None:
    made, _ = connector(roomy())
    made.close(7_200, None)
    made.advance(1_000)
    assert made.advance(500) is None
    assert (made.at_ms, made.register_mj) == (1_000, 7_200_000)


def test_the_taper_falls_in_steps_to_its_floor() -> None:
    car = Vehicle(60_000, 47_000, 10_000)
    trace: list[tuple[int, int, int]] = []
    made = Connector(1, 1_380, 11_000, at_ms=0, sink=lambda *change: trace.append(change))
    made.plug(car)
    made.close(11_000, None)
    ended = made.advance(100 * HOUR_MS)
    assert ended is not None
    assert ended.reason == "vehicle_full"
    assert made.register_wh == 13_000
    powers = [power_w for _, _, power_w in trace[1:-1]]
    assert powers[0] == 10_000
    assert all(later < earlier for earlier, later in pairwise(powers))
    assert len(powers) == 21
    # The last step's middle is 39/40 of the way from 10 kW to the floor of 500 W.
    assert powers[-1] == 10_000 - 9_500 * 39 // 40
    # Steps are equal in energy: each takes 600 Wh at its own power.
    for (start_ms, _, power_w), (end_ms, _, _) in pairwise(trace[2:]):
        assert power_w * (end_ms - start_ms) == pytest.approx(600 * MJ_PER_WH, rel=1e-4)


def test_a_session_of_the_field_at_its_own_average_is_possible() -> None:
    """6.2 kW for 2 h, on a connector of 6.656 kW: the taper must not make it longer."""
    car = Vehicle.from_spec(VehicleSpec(need_wh=12_400), 6_656)
    made = Connector(1, 1_248, 6_656, at_ms=0)
    made.plug(car)
    made.close(6_656, None)
    ended = made.advance(100 * HOUR_MS)
    assert ended is not None
    assert ended.at_ms <= 2 * HOUR_MS
    assert (made.register_wh, car.soc_percent) == (12_400, 80)


@pytest.mark.parametrize(
    ("spec", "capacity_wh", "energy_wh", "stop_wh"),
    [
        (VehicleSpec(), 60_000, 18_000, 60_000),
        (VehicleSpec(need_wh=10_000), 60_000, 38_000, 48_000),
        (VehicleSpec(need_wh=80_000), 100_000, 0, 80_000),
        (VehicleSpec(need_wh=10_000, soc=0.9), 60_000, 54_000, 60_000),
        (VehicleSpec(need_wh=30_000, capacity_wh=20_000), 20_000, 0, 20_000),
        (VehicleSpec(need_wh=1_000, taper_from=0.0), 60_000, 0, 1_000),
        (VehicleSpec(capacity_wh=40_000, soc=0.5), 40_000, 20_000, 40_000),
    ],
)
def test_what_a_spec_leaves_out(spec: VehicleSpec, capacity_wh: int, energy_wh: int, stop_wh: int) -> None:
    car = Vehicle.from_spec(spec, 7_360)
    assert car.capacity_mj == capacity_wh * MJ_PER_WH
    assert car.energy_mj == energy_wh * MJ_PER_WH
    assert car.stop_mj == stop_wh * MJ_PER_WH
    assert car.max_w == 7_360


@pytest.mark.parametrize(
    ("capacity_wh", "energy_wh", "max_w", "taper_from"),
    [(0, 0, 1, 0.8), (10, 11, 1, 0.8), (10, -1, 1, 0.8), (10, 1, 0, 0.8), (10, 1, 1, 1.5)],
)
def test_a_vehicle_that_cannot_be(capacity_wh: int, energy_wh: int, max_w: int, taper_from: float) -> None:
    with pytest.raises(ValueError, match="capacity and power"):
        Vehicle(capacity_wh, energy_wh, max_w, taper_from=taper_from)


def test_a_full_vehicle_has_no_room() -> None:
    assert Vehicle(10, 10, 1_000).room_mj() == 0
    assert Vehicle(10, 10, 1_000).accepts_w() == 0


def test_the_rating_of_a_field_connector() -> None:
    assert rating_w(32, 208, 1) == 6_656
    assert rating_w(6, 230, 3) == 4_140


limits = st.lists(st.tuples(st.integers(0, 2 * HOUR_MS), st.integers(0, 12_000)), min_size=1, max_size=6)
vehicles = st.builds(
    VehicleSpec,
    need_wh=st.none() | st.integers(1, 30_000),
    capacity_wh=st.none() | st.integers(1_000, 90_000),
    soc=st.none() | st.floats(0, 1),
    max_w=st.none() | st.integers(1, 12_000),
    taper_from=st.floats(0, 1),
)


@given(spec=vehicles, limits=limits, target=st.none() | st.integers(0, 40_000), cuts=st.lists(st.integers(1, 10**7)))
def test_any_ticks_give_the_same_energy_the_same_ends_and_the_same_trace(
    spec: VehicleSpec, limits: list[tuple[int, int]], target: int | None, cuts: list[int]
) -> None:
    outcomes = []
    for ticks in ([], sorted(cuts)):
        trace: list[tuple[int, int, int]] = []
        made = Connector(1, 1_380, 7_360, at_ms=0, sink=lambda *change, to=trace: to.append(change))
        made.plug(Vehicle.from_spec(spec, 7_360))
        made.close(7_360, target)
        at_ms, ends = 0, []
        for span_ms, limit_w in limits:
            for cut_ms in ticks:
                if at_ms < cut_ms < at_ms + span_ms:
                    ends.append(made.advance(cut_ms))
            at_ms += span_ms
            ends.append(made.advance(at_ms))
            made.set_limit(limit_w)
        outcomes.append((made.register_mj, trace, [end for end in ends if end is not None], made.closed))
    assert outcomes[0] == outcomes[1]


@given(spec=vehicles, limits=limits, target=st.none() | st.integers(0, 40_000))
def test_power_never_leaves_its_bounds_and_the_register_never_falls(
    spec: VehicleSpec, limits: list[tuple[int, int]], target: int | None
) -> None:
    car = Vehicle.from_spec(spec, 7_360)
    rule = {"limit_w": 7_360}
    seen: list[tuple[int, int, int]] = []

    def sink(at_ms: int, number: int, power_w: int) -> None:
        assert power_w == 0 or rule["limit_w"] >= 1_380
        assert 0 <= power_w <= min(7_360, max(rule["limit_w"], 0), car.max_w)
        seen.append((at_ms, number, power_w))

    made = Connector(1, 1_380, 7_360, at_ms=0, sink=sink)
    made.plug(car)
    made.close(7_360, target)
    before_mj, at_ms, room_mj = 0, 0, car.stop_mj - car.energy_mj
    for span_ms, limit_w in limits:
        at_ms += span_ms
        made.advance(at_ms)
        assert made.register_mj >= before_mj
        before_mj = made.register_mj
        rule["limit_w"] = limit_w
        made.set_limit(limit_w)
    assert made.register_mj <= max(0, room_mj)
    if target is not None:
        assert made.register_mj <= target * MJ_PER_WH
    # The trace is in order and is what was metered, up to the last millisecond of each step: a change of power, or an
    # edge of the taper that changes none because a limit binds.
    assert all(earlier[0] <= later[0] for earlier, later in pairwise(seen))
    traced_mj = sum(power_w * (end - start) for (start, _, power_w), (end, _, _) in pairwise([*seen, (at_ms, 1, 0)]))
    assert 0 <= traced_mj - made.register_mj <= (len(seen) + TAPER_STEPS) * max(power_w for _, _, power_w in seen)
