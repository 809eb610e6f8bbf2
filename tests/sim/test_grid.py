"""Grid load and substations: profiles, failures, drills."""

from __future__ import annotations

from itertools import pairwise
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evcharge.sim.grid import DAY_SHAPE, GridLoad, LoadSpec, Outage, Outages, Substation, SubstationSpec, profile

HOUR = 3_600_000
DAY = 24 * HOUR
# A Monday, 0:00.
MONDAY = 18_267 * DAY


def test_the_profile_meets_its_hours_and_weekends_are_lower() -> None:
    for hour, shape in enumerate(DAY_SHAPE):
        assert profile(MONDAY + hour * HOUR) == shape
        assert profile(MONDAY + 5 * DAY + hour * HOUR) == pytest.approx(0.88 * shape)
    assert profile(MONDAY + 18 * HOUR + HOUR // 2) == pytest.approx((0.98 + 1.0) / 2)


@given(at_ms=st.integers(0, 4 * 10**12), seed=st.integers(0, 9))
def test_load_is_never_negative_and_moves_without_jumps(at_ms: int, seed: int) -> None:
    grid = GridLoad(seed, "grid", LoadSpec(peak_share=0.1, noise_share=0.3))
    a, b = grid.percent(at_ms), grid.percent(at_ms + 1_000)
    assert a >= 0
    assert abs(b - a) < 1


def test_load_follows_its_profile_in_local_time() -> None:
    grid = GridLoad(5, "grid", LoadSpec(peak_share=0.8, noise_share=0.05, utc_offset_ms=-8 * HOUR))
    evenings = [grid.percent(MONDAY + week * 7 * DAY + 27 * HOUR) for week in range(300)]
    assert fmean(evenings) == pytest.approx(80, abs=1.0)
    # At 5 % of noise around 80 the pause at 85 has to do with about every sixth such evening.
    assert 0.08 < sum(load > 85 for load in evenings) / 300 < 0.25


def test_a_load_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="peak_share"):
        LoadSpec(peak_share=-0.1)


def outages(seed: int) -> Outages:
    return Outages(seed, "s", start_ms=MONDAY, mean_up_ms=DAY, mean_down_ms=HOUR)


@given(times=st.lists(st.integers(MONDAY - DAY, MONDAY + 60 * DAY), max_size=20), seed=st.integers(0, 9))
def test_asking_in_any_order_gives_the_same_failures(times: list[int], seed: int) -> None:
    one, other = outages(seed), outages(seed)
    asked = {at_ms: one.down(at_ms) for at_ms in times}
    assert {at_ms: other.down(at_ms) for at_ms in sorted(times, reverse=True)} == asked


@given(seed=st.integers(0, 50), at_ms=st.integers(MONDAY - DAY, MONDAY + 60 * DAY))
def test_nothing_changes_before_the_announced_instant(seed: int, at_ms: int) -> None:
    source = outages(seed)
    change_ms = source.next_change_ms(at_ms)
    assert change_ms > at_ms
    now = source.down(at_ms)
    assert source.down(change_ms - 1) == now
    assert source.down(change_ms) != now


def test_failures_last_and_come_as_often_as_said() -> None:
    source = outages(2)
    assert not source.down(MONDAY)
    changes = [MONDAY]
    for _ in range(4_000):
        changes.append(source.next_change_ms(changes[-1]))
    lengths = [b - a for a, b in pairwise(changes)]
    assert fmean(lengths[0::2]) == pytest.approx(DAY, rel=0.06)
    assert fmean(lengths[1::2]) == pytest.approx(HOUR, rel=0.06)
    with pytest.raises(ValueError, match="mean times"):
        Outages(1, "s", start_ms=0, mean_up_ms=0, mean_down_ms=1)


def test_a_drill_takes_a_substation_down_and_brings_it_back() -> None:
    spec = SubstationSpec(substation_id="S1", capacity_w=400_000, scripted=(Outage(1_000, 2_000), Outage(5_000, 6_000)))
    station = Substation(1, spec, start_ms=0)
    for at_ms, online in [(999, True), (1_000, False), (1_999, False), (2_000, True), (5_500, False), (6_000, True)]:
        assert station.online(at_ms) is online
        assert (station.read(at_ms) is not None) is online
    assert [station.next_change_ms(at_ms) for at_ms in (0, 1_000, 2_000, 6_000)] == [1_000, 2_000, 5_000, None]


@given(seed=st.integers(0, 9), at_ms=st.integers(0, 30 * DAY))
def test_a_substation_reports_its_base_load_rounded_up_or_nothing(seed: int, at_ms: int) -> None:
    spec = SubstationSpec(substation_id="S1", capacity_w=400_000, mean_up_ms=DAY, scripted=(Outage(3 * DAY, 4 * DAY),))
    station = Substation(seed, spec, start_ms=0)
    told, change_ms = station.read(at_ms), station.next_change_ms(at_ms)
    assert (told is None) == (not station.online(at_ms))
    if told is not None:
        load_w = GridLoad(seed, "S1", spec.base).percent(at_ms) * 4_000
        assert told.capacity_w == 400_000
        assert load_w <= told.base_w < load_w + 1
    assert change_ms is not None
    assert change_ms > at_ms
    assert station.online(change_ms - 1) == station.online(at_ms)


@pytest.mark.parametrize(
    "fields",
    [
        {"capacity_w": -1},
        {"scripted": (Outage(5, 5),)},
        {"scripted": (Outage(5, 9), Outage(9, 12))},
    ],
)
def test_a_substation_that_cannot_be_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="capacity_w|scripted"):  # noqa: RUF043
        Substation(1, SubstationSpec(**({"substation_id": "S", "capacity_w": 1} | fields)), start_ms=0)  # type: ignore[arg-type]
