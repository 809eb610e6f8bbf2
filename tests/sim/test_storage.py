"""The battery: energy is kept count of, bounds are kept, and asking changes nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evcharge.sim.storage import Storage, StorageSpec

HOUR = 3_600_000
SPEC = StorageSpec(capacity_wh=100_000, charge_w=50_000, discharge_w=40_000, efficiency=0.9)


def test_an_hour_in_and_out_by_hand() -> None:
    battery = Storage(SPEC, percent=50, at_ms=0)
    assert battery.order(0, 20_000) == 20_000
    assert battery.read(HOUR) == (68.0, 20_000, 20_000, 0)
    assert battery.order(HOUR, -9_000) == -9_000
    percent, power_w, charged_wh, discharged_wh = battery.read(2 * HOUR)
    assert (percent, power_w, charged_wh, discharged_wh) == (pytest.approx(58), -9_000, 20_000, 9_000)


def test_rated_powers_cap_an_order() -> None:
    battery = Storage(SPEC, percent=50, at_ms=0)
    assert battery.order(0, 10**9) == 50_000
    assert battery.order(0, -(10**9)) == -40_000


def test_full_and_empty_are_found_to_the_millisecond() -> None:
    battery = Storage(SPEC, percent=55, at_ms=0)
    battery.order(0, 50_000)
    full_ms = battery.next_change_ms()
    assert full_ms == HOUR
    assert battery.read(HOUR - 1).power_w == 50_000
    assert battery.read(HOUR) == (pytest.approx(100), 0, pytest.approx(50_000), 0)
    assert battery.order(2 * HOUR, 10) == 0
    assert battery.order(2 * HOUR, -40_000) == -40_000
    empty_ms = battery.next_change_ms()
    assert empty_ms is not None
    # 90 kWh above the 10 % that stay, of which 81 come out.
    assert empty_ms == pytest.approx(2 * HOUR + 81 / 40 * HOUR, abs=1)
    assert battery.read(empty_ms).percent == pytest.approx(10)
    assert battery.read(empty_ms).power_w == 0
    battery.order(empty_ms, 0)
    assert battery.next_change_ms() is None


def test_time_runs_forward() -> None:
    battery = Storage(SPEC, percent=50, at_ms=100)
    with pytest.raises(ValueError, match="before"):
        battery.read(99)
    with pytest.raises(ValueError, match="after"):
        battery.order(99, 0)


@pytest.mark.parametrize(
    "changes",
    [{"capacity_wh": 0}, {"charge_w": -1}, {"efficiency": 0.0}, {"efficiency": 1.1}, {"least": 0.6, "most": 0.5}],
)
def test_a_battery_that_cannot_be_is_refused(changes: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="battery|efficiency"):  # noqa: RUF043
        StorageSpec(**({"capacity_wh": 1, "charge_w": 1, "discharge_w": 1} | changes))  # type: ignore[arg-type]


def test_a_charge_outside_its_bounds_is_refused() -> None:
    with pytest.raises(ValueError, match="keeps 10% to 100%"):
        Storage(SPEC, percent=9.9, at_ms=0)


ORDERS = st.lists(
    st.tuples(st.integers(0, 4 * HOUR), st.integers(-60_000, 60_000), st.lists(st.integers(0, HOUR), max_size=3)),
    max_size=12,
)


@given(orders=ORDERS, percent=st.floats(10, 100))
def test_bounds_and_the_balance_of_energy_hold_and_asking_changes_nothing(
    orders: list[tuple[int, int, list[int]]], percent: float
) -> None:
    battery, silent = Storage(SPEC, percent=percent, at_ms=0), Storage(SPEC, percent=percent, at_ms=0)
    now_ms = 0
    for later_ms, power_w, questions in orders:
        for question_ms in questions:
            battery.read(now_ms + question_ms)
        now_ms += later_ms
        before = battery.read(now_ms)
        flows_w = battery.order(now_ms, power_w)
        silent.order(now_ms, power_w)
        assert battery.read(now_ms) == silent.read(now_ms)
        # An order moves no energy by itself.
        assert battery.read(now_ms)[2:] == before[2:]
        assert flows_w in (0, max(-40_000, min(50_000, power_w)))
        percent_now, _, charged_wh, discharged_wh = battery.read(now_ms)
        assert 10 <= percent_now <= 100
        stored_wh = percent * 1_000 + 0.9 * charged_wh - discharged_wh / 0.9
        assert percent_now * 1_000 == pytest.approx(stored_wh, abs=1e-3)


@given(power_w=st.integers(-60_000, 60_000), percent=st.floats(10, 100))
def test_the_announced_change_is_the_first_instant_without_flow(power_w: int, percent: float) -> None:
    battery = Storage(SPEC, percent=percent, at_ms=0)
    flows_w = battery.order(0, power_w)
    change_ms = battery.next_change_ms()
    if change_ms is None:
        assert power_w == 0
        return
    assert battery.read(change_ms).power_w == 0
    assert (change_ms == 0) == (flows_w == 0)
    if change_ms > 0:
        assert battery.read(change_ms - 1).power_w == flows_w
