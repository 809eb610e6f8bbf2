"""Forecasts: exact on what they assume, honest about their errors, never seeing what came later."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evcharge.energy.forecast import LEAST_JUDGED, History, Model, Score, Step, forecast, score

DAY = 24
WAVE: list[float | None] = [10 + 5 * math.sin(2 * math.pi * (hour % DAY) / DAY) for hour in range(DAY * 5)]


def test_what_does_not_change_stays() -> None:
    assert forecast([7.0] * 60, 3, DAY) == [Step(7.0, Model.PERSISTENCE, 0.0, 60 - DAY)] * 3


def test_what_repeats_every_day_is_forecast_exactly() -> None:
    for lead, step in enumerate(forecast(WAVE, 2 * DAY, DAY), start=1):
        # Whole days ahead both say the same.
        assert step.model is (Model.SEASONAL if lead % DAY else Model.PERSISTENCE)
        assert step.value == pytest.approx(10 + 5 * math.sin(2 * math.pi * (lead - 1) / DAY))
        assert step.mae == pytest.approx(0)


def test_each_lead_has_the_model_that_is_better_at_it() -> None:
    """A wave with a new height every day: what is now is best for the next hour, yesterday for six hours ahead."""
    heights = [0, 3, 1, 4, 2, 3]
    values = [heights[hour // DAY] + math.sin(2 * math.pi * hour / DAY) * 5 for hour in range(DAY * 6)]
    steps = forecast(values, 6, DAY)
    assert (steps[0].model, steps[5].model) == (Model.PERSISTENCE, Model.SEASONAL)


def test_errors_by_hand() -> None:
    """Season 2, lead 1. Slots 2 to 4 are judged: |3-2| + |5-3| + |9-5| against |3-1| + |5-2| + |9-3|."""
    assert score([1, 2, 3, 5, 9], 1, 2) == Score(7 / 3, 11 / 3, 3)
    assert score([1, 2, 3, 5, 9], 1, 2, window=2) == Score(6 / 2, 9 / 2, 2)


def test_both_are_judged_on_the_same_slots() -> None:
    """Slot 3's season before is a gap, and slot 1 does not exist for it: only slots 2 and 4 count for either."""
    assert score([1, None, 3, 5, 9], 1, 2) == Score((2 + 4) / 2, (2 + 6) / 2, 2)


def test_a_season_that_is_a_gap_is_replaced_by_the_one_before() -> None:
    values: list[float | None] = [*WAVE]
    values[-DAY] = None
    assert forecast(values, 1, DAY)[0].value == WAVE[-2 * DAY]


def test_too_few_errors_decide_nothing() -> None:
    few = WAVE[: DAY + LEAST_JUDGED - 1]
    assert forecast(few, 1, DAY)[0].model is Model.PERSISTENCE
    assert forecast(WAVE[: DAY + LEAST_JUDGED], 1, DAY)[0].model is Model.SEASONAL


def test_nothing_known_is_not_nought() -> None:
    assert forecast([], 2, DAY) == [Step(None, None, None, 0)] * 2
    assert forecast([None] * 50, 1, DAY) == [Step(None, None, None, 0)]
    with pytest.raises(ValueError, match="season"):
        forecast([1.0], 1, 0)


VALUES = st.lists(st.one_of(st.none(), st.integers(-50, 50).map(float)), max_size=40)


@given(values=VALUES, season=st.integers(1, 9), lead=st.integers(1, 12), window=st.integers(1, 20))
def test_the_measured_error_is_that_of_the_forecasts_as_they_were_given_then(
    values: list[float | None], season: int, lead: int, window: int
) -> None:
    """For every slot the forecast is made anew from what was known ``lead`` slots before it, and nothing else."""
    errors: list[tuple[float, float]] = []
    for slot in range(lead, len(values)):
        known, truth = values[: slot - lead + 1], values[slot]
        last = next((value for value in reversed(known) if value is not None), None)
        back = season * math.ceil(lead / season)
        seasonal = next(
            (known[at] for at in (slot - back, slot - back - season) if at >= 0 and known[at] is not None), None
        )
        if truth is not None and last is not None and seasonal is not None:
            errors.append((abs(truth - last), abs(truth - seasonal)))
    judged = errors[-window:]
    found = score(values, lead, season, window=window)
    assert found.judged == len(judged)
    if judged:
        assert found.persistence == pytest.approx(sum(one for one, _ in judged) / len(judged))
        assert found.seasonal == pytest.approx(sum(other for _, other in judged) / len(judged))


@given(values=VALUES, season=st.integers(1, 9), steps=st.integers(1, 12))
def test_the_better_one_is_taken_and_only_values_that_were_seen_come_out(
    values: list[float | None], season: int, steps: int
) -> None:
    found = forecast(values, steps, season)
    assert len(found) == steps
    for lead, step in enumerate(found, start=1):
        assert (step.value is None) == all(value is None for value in values)
        assert step.value is None or step.value in values
        errors = score(values, lead, season)
        if step.model is Model.PERSISTENCE and step.judged >= LEAST_JUDGED and errors.seasonal is not None:
            before = values[len(values) - 1 + lead - season * math.ceil(lead / season)]
            assert errors.persistence is not None
            assert errors.persistence <= errors.seasonal or before is None
        if step.model is Model.SEASONAL and errors.persistence is not None:
            assert errors.seasonal is not None
            assert errors.seasonal < errors.persistence


# --- slots ----------------------------------------------------------------------------------------


def test_a_slot_is_the_mean_of_its_readings_and_the_running_one_stays_out() -> None:
    history = History(1_000, 4)
    for at_ms, value in [(1_000, 2.0), (1_999, 4.0), (3_500, 7.0), (4_000, 9.0)]:
        history.observe(at_ms, value)
    assert history.values(4_500) == [None, 3.0, None, 7.0]
    assert history.values(5_000) == [3.0, None, 7.0, 9.0]
    assert history.age_ms(4_500) == 500


def test_readings_that_are_no_numbers_or_too_old_are_refused_and_counted() -> None:
    history = History(1_000, 2)
    assert history.age_ms(0) is None
    history.observe(5_000, 1.0)
    history.observe(3_999, 1.0)
    history.observe(5_100, math.nan)
    history.observe(4_000, 3.0)
    assert history.refused == 2
    assert history.values(6_000) == [3.0, 1.0]


@given(readings=st.lists(st.tuples(st.integers(0, 20_000), st.integers(0, 9).map(float)), max_size=30))
def test_the_order_of_readings_within_what_is_kept_does_not_matter(readings: list[tuple[int, float]]) -> None:
    one, other = History(1_000, 25), History(1_000, 25)
    for at_ms, value in readings:
        one.observe(at_ms, value)
    for at_ms, value in reversed(readings):
        other.observe(at_ms, value)
    assert one.values(21_000) == other.values(21_000)
    assert one.age_ms(30_000) == other.age_ms(30_000)
