"""Forecasts from outside: the newest holds for what is to come, and what has passed is remembered as it was told."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from evcharge.central.told import KEPT, Course, Told
from evcharge.energy.forecast import DAY_MS, onward
from evcharge.energy.model import STEP_MS, Series
from evcharge.energy.planner import FORESIGHT_MS

NOW_MS = 1_763_683_200_000
AHEAD = FORESIGHT_MS // STEP_MS + 1


def told(*series: tuple[Series, int]) -> Told:
    found = Told()
    for each, at_ms in series:
        found.take(each, at_ms)
    return found


def test_nothing_told_is_nothing_known() -> None:
    assert Told().course(NOW_MS) is None


def test_the_newest_holds_and_what_has_passed_stays() -> None:
    """Each told three steps ahead, two steps after the other: of the first two slots are left."""
    first = Series(NOW_MS, STEP_MS, (1.0, 2.0, 3.0))
    second = Series(NOW_MS + 2 * STEP_MS, STEP_MS, (30.0, 40.0, 50.0))
    found = told((first, NOW_MS), (second, NOW_MS + 2 * STEP_MS))
    assert found.course(NOW_MS + 2 * STEP_MS) == Course(NOW_MS, (1.0, 2.0, 30.0, 40.0, 50.0))
    # What was foretold and is replaced before its time was never so.
    early = told((first, NOW_MS), (Series(NOW_MS + STEP_MS, STEP_MS, (20.0,)), NOW_MS + STEP_MS))
    assert early.course(NOW_MS + STEP_MS) == Course(NOW_MS, (1.0, 20.0))


def test_a_gap_has_the_value_before_it_and_what_is_to_come_begins_with_its_first() -> None:
    later = Series(NOW_MS + 4 * STEP_MS, STEP_MS, (9.0,))
    found = told((Series(NOW_MS, STEP_MS, (1.0,)), NOW_MS), (later, NOW_MS + 6 * STEP_MS))
    assert found.course(NOW_MS + 6 * STEP_MS) == Course(NOW_MS, (1.0, 1.0, 1.0, 1.0, 9.0))
    assert told((later, NOW_MS + 2 * STEP_MS)).course(NOW_MS + 2 * STEP_MS) == Course(NOW_MS + 2 * STEP_MS, (9.0,) * 3)


def test_slots_have_the_mean_of_what_was_told_for_them() -> None:
    minutes = Series(NOW_MS, 60_000, (1.0, 2.0, 3.0, 4.0, 5.0, 6.0))
    assert told((minutes, NOW_MS)).course(NOW_MS) == Course(NOW_MS, (3.0, 6.0))
    hours = Series(NOW_MS - 90 * 60_000, 3_600_000, (1.0, 2.0))
    course = told((hours, NOW_MS)).course(NOW_MS)
    assert course == Course(NOW_MS - 18 * STEP_MS, (1.0,) * 12 + (2.0,) * 12)


def test_what_is_two_weeks_old_is_forgotten() -> None:
    found = told((Series(NOW_MS, STEP_MS, (1.0,)), NOW_MS))
    assert found.course(NOW_MS + (KEPT - 1) * STEP_MS) is not None
    assert found.course(NOW_MS + KEPT * STEP_MS) is None


@given(
    sent=st.lists(
        st.tuples(st.integers(-900, 900), st.sampled_from([60_000, STEP_MS, 3_600_000, DAY_MS]), st.integers(1, 400)),
        min_size=1,
        max_size=4,
    ),
    gaps=st.lists(st.integers(0, 4_000), min_size=4, max_size=4),
)
def test_any_series_make_a_forecast_from_now_as_far_as_a_plan_looks(
    sent: list[tuple[int, int, int]], gaps: list[int]
) -> None:
    """Only values that were told come out of the course; it is never longer than what is learnt from or asked for."""
    found, now_ms = Told(), NOW_MS
    for (start, step_ms, count), gap in zip(sent, gaps, strict=False):
        now_ms += gap * STEP_MS + 1
        found.take(Series(now_ms + start * STEP_MS, step_ms, tuple(range(count))), now_ms)
        course = found.course(now_ms)
        if course is None:
            continue
        assert course.start_ms % STEP_MS == 0
        assert len(course.values) <= KEPT + AHEAD
        assert all(0 <= value <= 399 for value in course.values)
        series = onward(*course, STEP_MS, now_ms, now_ms + FORESIGHT_MS)
        assert 0 <= now_ms - series.start_ms < STEP_MS
        assert len(series.values) >= AHEAD - 1
        assert series.start_ms + len(series.values) * STEP_MS >= now_ms + FORESIGHT_MS
