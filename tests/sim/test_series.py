"""A series: what was measured, nothing else."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evcharge.sim.series import Between, Series, Unit, Yearly

HOUR = 3_600_000
LINEAR, STEP = Between.LINEAR, Between.STEP


def line(values: list[float | None], times_ms: list[int] | None = None, longest_ms: int = 20) -> Series:
    return Series(times_ms or [10 * i for i in range(len(values))], values, Unit.WATT, LINEAR, longest_ms=longest_ms)


def steps(values: list[float | None], times_ms: list[int] | None = None, longest_ms: int = 10) -> Series:
    return Series(times_ms or [10 * i for i in range(len(values))], values, Unit.WATT, STEP, longest_ms=longest_ms)


def test_a_line_between_points_and_nothing_beyond_them() -> None:
    series = line([0, 100, 50])
    assert [series.at(at_ms) for at_ms in (-1, 0, 5, 10, 15, 20, 21)] == [None, 0, 50, 100, 75, 50, None]


def test_one_missing_point_is_bridged_two_are_not() -> None:
    assert line([0, None, 100]).at(5) == 25
    series = line([0, None, None, 90])
    assert [series.at(at_ms) for at_ms in (0, 15, 30)] == [0, None, 90]


def test_a_step_holds_for_its_own_time_only() -> None:
    series = steps([1, None, 3])
    assert [series.at(at_ms) for at_ms in (0, 9, 10, 19, 20, 29, 30)] == [1, 1, None, None, 3, 3, None]
    assert steps([1, 3], [0, 50]).at(10) is None


@given(
    values=st.lists(st.one_of(st.none(), st.integers(-9, 9).map(float)), min_size=1, max_size=12),
    at_ms=st.integers(-20, 150),
    between=st.sampled_from(Between),
)
def test_a_value_lies_between_its_neighbours(values: list[float | None], at_ms: int, between: Between) -> None:
    if all(value is None for value in values):
        return
    series = Series([10 * i for i in range(len(values))], values, Unit.WATT, between, longest_ms=20)
    found = series.at(at_ms)
    near = [value for i, value in enumerate(values) if value is not None and abs(10 * i - at_ms) <= 20]
    if found is not None:
        assert min(near) - 1e-9 <= found <= max(near) + 1e-9
    if at_ms % 10 == 0 and 0 <= at_ms < 10 * len(values) and (exact := values[at_ms // 10]) is not None:
        assert found == exact


@pytest.mark.parametrize(
    ("times_ms", "values"),
    [([0, 0], [1.0, 2.0]), ([1, 0], [1.0, 2.0]), ([0], [math.nan]), ([0], [None]), ([], []), ([0], [1.0, 2.0])],
)
def test_what_is_no_series_is_refused(times_ms: list[int], values: list[float | None]) -> None:
    with pytest.raises(ValueError, match="rise|finite|samples|times"):  # noqa: RUF043
        Series(times_ms, values, Unit.WATT, LINEAR, longest_ms=1)


def ms(*fields: int) -> int:
    return int(datetime(*fields, tzinfo=UTC).timestamp()) * 1000  # type: ignore[arg-type, misc]


def test_a_year_without_a_number_repeats_in_every_year() -> None:
    """Standard time is 8 h behind UTC; the value is the hour of the year."""
    times = [ms(2019, 1, 1, 8) + hour * HOUR for hour in range(8_760)]
    series = Series(times, [float(hour) for hour in range(8_760)], Unit.WATT, LINEAR, longest_ms=2 * HOUR)
    year = Yearly(series, 2019, -8 * HOUR)
    assert year.at(ms(2019, 1, 1, 8)) == 0
    assert year.at(ms(2026, 1, 2, 8)) == 24
    assert year.at(ms(2026, 6, 1, 8, 30)) == 151 * 24 + 0.5
    # December 31, 23:30 of standard time is in the next year of UTC; the last hour holds.
    assert year.at(ms(2027, 1, 1, 7, 30)) == 8_759
    # February 29, 12:00 repeats the 28th; March 1 is March 1.
    assert year.at(ms(2028, 2, 29, 20)) == (31 + 27) * 24 + 12
    assert year.at(ms(2028, 3, 1, 8)) == (31 + 28) * 24


def test_a_year_that_ends_early_is_not_made_longer() -> None:
    series = Series([ms(2019, 3, 1), ms(2019, 3, 2)], [1.0, 2.0], Unit.WATT, LINEAR, longest_ms=25 * HOUR)
    year = Yearly(series, 2019, 0)
    assert year.at(ms(2030, 2, 27)) is None
    assert year.at(ms(2030, 3, 1, 12)) == 1.5
    assert year.at(ms(2030, 4, 1)) is None
