"""Forecasts: exact on what they assume, honest about their errors, never seeing what came later."""

from __future__ import annotations

import csv
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evcharge.energy.forecast import DAYS, LEAST_JUDGED, History, Model, Score, Step, forecast, learnt, onward, score
from tests.support.shared import real

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


# --- what is learnt -------------------------------------------------------------------------------

MINUTES_5 = 300_000
STEPS = 288


def test_a_forecast_learns_how_long_a_deviation_lasts() -> None:
    """Deviations of two kinds on the same daily course: one lasts for hours, the other is gone at the next step."""
    rng = np.random.default_rng(1)
    course = np.tile(np.sin(np.arange(STEPS)), DAYS + 1)
    noise = rng.normal(size=len(course))
    lasting = np.zeros(len(course))
    for k in range(1, len(course)):
        lasting[k] = 0.99 * lasting[k - 1] + noise[k]
    past = DAYS * STEPS
    for off, least, most in ((lasting, 0.6, 1.3), (noise, -0.2, 0.2)):
        actual = course + off
        actual[past - 12 : past + 1] = course[past - 12 : past + 1] + 5.0
        values = learnt(actual[: past + 1].tolist(), 299, MINUTES_5)
        profile = actual[:past].reshape(DAYS, STEPS).mean(axis=0)
        left = (values[11] - profile[12]) / (actual[past] - profile[0])
        assert least < left < most
        # A day later nothing is left of it.
        assert values[287] == pytest.approx(profile[0])
        assert values[298] == pytest.approx(profile[11])


def test_what_is_left_of_a_deviation_is_the_least_squares_over_the_last_days() -> None:
    """Against numpy's own solver, on hours: then what is now is what the last hour was, and one number is learnt."""
    rng = np.random.default_rng(2)
    values = rng.normal(size=3 * 24 + 1)
    profile = values[:-1].reshape(3, 24).mean(axis=0)
    off = values - np.resize(profile, len(values))
    for lead in (1, 2, 6, 12):
        known, later = off[1 : len(off) - 12], off[1 + lead : len(off) - 12 + lead]
        slope = np.linalg.lstsq(known[:, None], later, rcond=None)[0][0]
        found = learnt(values.tolist(), 24, 3_600_000)[lead - 1]
        assert found == pytest.approx(profile[lead % 24] + slope * off[-1], abs=1e-6)


def test_what_repeats_every_day_is_learnt_exactly_and_older_days_are_forgotten() -> None:
    week = [float(k % 24) for k in range(24 * 7)]
    assert learnt([*week, 0.0], 30, 3_600_000) == pytest.approx([float((k + 1) % 24) for k in range(30)])
    older = [99.0] * 24 * 3
    assert learnt([*older, *week, *week, 0.0], 30, 3_600_000) == learnt([*week, *week, 0.0], 30, 3_600_000)


def test_before_a_day_is_known_the_last_value_stays() -> None:
    assert learnt([1.0, 7.0], 3, 3_600_000) == [7.0] * 3
    assert learnt([float(k) for k in range(24)], 2, 3_600_000) == [23.0] * 2
    assert learnt([float(k) for k in range(25)], 2, 3_600_000) != [24.0] * 2
    for values, step_ms in (([], 3_600_000), ([None], 3_600_000), ([1.0], 7_000_000), ([1.0], 0)):
        with pytest.raises(ValueError, match=r"known|whole number"):
            learnt(values, 1, step_ms)


def test_a_gap_has_the_value_before_it() -> None:
    week: list[float | None] = [math.sin(k) for k in range(24 * 7 + 1)]
    gaps = [None if k in (30, 31, 168) else value for k, value in enumerate(week)]
    same = [week[29] if k in (30, 31) else week[167] if k == 168 else value for k, value in enumerate(week)]
    assert learnt(gaps, 30, 3_600_000) == learnt(same, 30, 3_600_000)


def test_a_series_goes_on_from_what_is_known_to_as_far_as_is_asked() -> None:
    hour = 3_600_000
    daily: list[float | None] = [float(k % 24) for k in range(2 * 24 + 10)]
    series = onward(hour, daily, hour, 49 * hour + 5, 61 * hour)
    assert (series.start_ms, series.step_ms) == (49 * hour, hour)
    assert series.values == pytest.approx([float(k) for k in range(12)])
    assert series.values[:10] == tuple(daily[48:])
    # Known further than is asked, not known for some time, and known too late.
    assert onward(0, [1.0, 2.0, 3.0], hour, hour, 2 * hour).values == (2.0, 3.0)
    assert onward(0, [1.0, 2.0], hour, 4 * hour, 6 * hour).values == (2.0, 2.0)
    assert onward(0, [None, None, 3.0], hour, 0, 5 * hour).values == (3.0,) * 5


@given(
    values=st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6)), min_size=1, max_size=80).filter(
        lambda values: any(value is not None for value in values)
    ),
    steps=st.integers(0, 40),
    step_ms=st.sampled_from([3_600_000, 1_800_000]),
)
def test_any_past_has_a_finite_forecast_of_the_length_asked(
    values: list[float | None], steps: int, step_ms: int
) -> None:
    found = learnt(values, steps, step_ms)
    assert len(found) == steps
    assert all(math.isfinite(value) for value in found)


def test_real_emissions_of_summer_are_foretold_better_than_by_either_baseline() -> None:
    """Marginal emissions of June to August 2019, each 37 hours from what was known then; half a day ahead."""
    with real("carbon/moer_caiso_sce_2019-05_2019-12_5min.csv").open(encoding="utf-8") as lines:
        rows = [(row["time"], float(row["moer"])) for row in csv.DictReader(lines)]
    first = next(k for k, (time, _) in enumerate(rows) if time.startswith("2019-06-01"))
    end = next(k for k, (time, _) in enumerate(rows) if time.startswith("2019-08-31"))
    actual = np.array([value for _, value in rows])
    errors: dict[str, list[float]] = {"learnt": [], "persistence": [], "seasonal": []}
    for here in range(first, end, 37 * 12):
        known, truth = actual[here - DAYS * STEPS : here + 1], actual[here + 1 : here + 145]
        foretold = {
            "learnt": learnt(known.tolist(), 144, MINUTES_5),
            "persistence": known[-1],
            "seasonal": known[-STEPS : -STEPS + 144],
        }
        for name, values in foretold.items():
            errors[name].append(float(np.mean((np.asarray(values) - truth) ** 2)))
    mean = {name: math.sqrt(sum(each) / len(each)) for name, each in errors.items()}
    assert len(errors["learnt"]) > 50
    assert mean["learnt"] < 0.9 * min(mean["persistence"], mean["seasonal"]), mean


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
