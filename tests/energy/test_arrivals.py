"""Arrivals and survival: counted by hand, and what must hold for any history."""

from __future__ import annotations

import csv
from datetime import UTC, datetime
from random import Random
from statistics import NormalDist
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evcharge.energy.arrivals import MARGIN, Habits, Past, midnight
from evcharge.energy.survival import Survival
from tests.support.shared import real

HOUR = 3_600_000
DAY = 24 * HOUR
WEEK = 7 * DAY
# A Monday, 0:00 UTC.
MONDAY = 4 * DAY


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def utc(_: int) -> int:
    return 0


def usual(habits: Habits, at_ms: int, until_ms: int) -> tuple[int, int]:
    """Energy and power of all who are expected on a day like others."""
    found = habits.expected(at_ms, until_ms)
    return sum(each.need_wh for each in found), sum(each.max_w for each in found)


def came(arrival_ms: int, hours: float = 1.0, energy_wh: int = 3_000, *, ended: bool = True) -> Past:
    return Past(arrival_ms, round(hours * HOUR), energy_wh, 7_000, ended)


def test_working_days_and_days_off_have_habits_of_their_own() -> None:
    history = [came(MONDAY + 8 * HOUR, 1, 4_000), came(MONDAY + DAY + 8 * HOUR + 5, 3, 8_000)]
    habits = Habits(history, MONDAY, MONDAY + 4 * DAY, utc)
    assert habits.days == 4
    hasty, patient = habits.expected(MONDAY + WEEK, MONDAY + WEEK + 20 * HOUR)
    assert (hasty.need_wh, patient.need_wh) == (1_000, 2_000)
    assert hasty.max_w == patient.max_w == 7_000 // 4
    assert hasty.arrival_ms == patient.arrival_ms == MONDAY + WEEK + 8 * HOUR + HOUR // 2
    assert (hasty.departure_ms, patient.departure_ms) == (hasty.arrival_ms + HOUR, patient.arrival_ms + 3 * HOUR)
    assert habits.expected(MONDAY + 5 * DAY, MONDAY + 7 * DAY) == ()
    weekend = Habits([came(MONDAY + 6 * DAY + 8 * HOUR)], MONDAY, MONDAY + WEEK, utc)
    assert usual(weekend, MONDAY + 12 * DAY, MONDAY + 13 * DAY)[0] == 1_500
    assert usual(weekend, MONDAY + 14 * DAY, MONDAY + 15 * DAY)[0] == 0


def test_the_running_hour_is_expected_from_its_beginning_whatever_the_zone() -> None:
    """The planner takes off what has passed of it. In India hours begin at half past those of UTC."""
    half_past = 5 * HOUR + HOUR // 2
    history = [came(MONDAY - half_past + 8 * HOUR + 1), came(MONDAY - half_past + 9 * HOUR)]
    habits = Habits(history, MONDAY - half_past, MONDAY - half_past + DAY, lambda _: half_past)
    eight = MONDAY + DAY - half_past + 8 * HOUR
    assert [each.arrival_ms for each in habits.expected(eight + 60_000, eight + 3 * HOUR)] == [
        eight,
        eight + HOUR + HOUR // 2,
    ]


def test_groups_go_by_how_long_a_session_can_wait_and_add_up_to_the_hour() -> None:
    """A long stay with a large need can wait less than a short one with a small need."""
    history = [came(MONDAY + 8 * HOUR, 2 + k / 6, 1_000 + 1_500 * k) for k in range(7)]
    habits = Habits(history, MONDAY, MONDAY + DAY, utc)
    groups = habits.expected(MONDAY + DAY, MONDAY + 2 * DAY)
    assert [each.need_wh for each in groups] == [8_500 + 10_000, 5_500 + 7_000, 1_000 + 2_500 + 4_000]
    assert sum(each.max_w for each in groups) == 7 * 7_000


def test_a_busy_morning_lets_one_expect_a_busy_day_the_more_the_less_alike_days_were() -> None:
    def habits(counts: list[int]) -> Habits:
        history = [
            came(MONDAY + day * DAY + hour * HOUR)
            for day, count in enumerate(counts)
            for hour in (8, 12)
            for _ in range(count)
        ]
        return Habits(history, MONDAY, MONDAY + 5 * DAY, utc)

    ten = MONDAY + WEEK + 10 * HOUR
    uneven = habits([2, 18, 10, 4, 16])
    assert uneven.busier(ten, 10) == pytest.approx(1.0)
    assert 1.5 < uneven.busier(ten, 20) < 2.0
    assert 0.0 < uneven.busier(ten, 0) < 0.5
    assert habits([10] * 5).busier(ten, 20) == pytest.approx(1.0, abs=1e-6)
    # Half of the hour from 8 has passed: five would be usual.
    assert uneven.busier(MONDAY + WEEK + 8 * HOUR + HOUR // 2, 5) == pytest.approx(1.0)
    day = [
        sum(each.need_wh for each in uneven.expected(ten, ten + 12 * HOUR, uneven.busier(ten, count)))
        for count in (10, 20)
    ]
    assert day == pytest.approx([30_000, 30_000 * uneven.busier(ten, 20)], abs=3)
    # Tomorrow is as usual.
    assert uneven.expected(ten, ten + DAY, 9.9)[-1] == uneven.expected(ten, ten + DAY)[-1]


def test_a_busier_day_is_the_mean_of_the_gamma_that_fits() -> None:
    """By hand: days of 4, 8 and 12 have mean 8 and variance 16, so shape 64 / 8 = 8; 12 came where 8 are usual."""
    history = [came(MONDAY + day * DAY + HOUR) for day, count in enumerate((4, 8, 12)) for _ in range(count)]
    habits = Habits(history, MONDAY, MONDAY + 3 * DAY, utc)
    assert habits.busier(MONDAY + 3 * DAY + 2 * HOUR, 12) == pytest.approx((8 + 12) / (8 + 8))


def test_with_caution_only_those_are_expected_who_come_on_nine_of_ten_days() -> None:
    """Against draws of the gamma variable itself. Days that are alike leave nothing to be careful of."""
    history = [came(MONDAY + day * DAY + HOUR) for day, count in enumerate((4, 8, 12)) for _ in range(count)]
    habits = Habits(history, MONDAY, MONDAY + 3 * DAY, utc)
    now_ms = MONDAY + 3 * DAY + HOUR + HOUR // 2
    draws = np.random.default_rng(1).gamma(8 + 7, 1 / (8 + 4), 200_000)
    assert habits.busier(now_ms, 7, cautious=True) == pytest.approx(float(np.quantile(draws, 0.1)), rel=0.01)
    careful = habits.foreseen(now_ms, now_ms + DAY, 7, peak_costs=True)
    assert careful == habits.expected(now_ms, now_ms + DAY, habits.busier(now_ms, 7, cautious=True))
    alike = Habits([came(MONDAY + day * DAY + HOUR) for day in range(3)], MONDAY, MONDAY + 3 * DAY, utc)
    assert alike.busier(now_ms, 3, cautious=True) == pytest.approx(alike.busier(now_ms, 3), rel=1e-3)


def test_there_is_room_for_more_than_are_expected() -> None:
    """By hand: 8 of 3 kWh a day, shape 8. Of 8 the Poisson variance is 8, of 4 it is 4; after 4 the shape is 12."""
    history = [came(MONDAY + day * DAY + HOUR, 1 + k, 3_000) for day, n in enumerate((4, 8, 12)) for k in range(n)]
    habits = Habits(history, MONDAY, MONDAY + 3 * DAY, utc)
    now_ms = MONDAY + 3 * DAY
    *expected, more = habits.foreseen(now_ms, now_ms + DAY, 0, peak_costs=False)
    assert tuple(expected) == habits.expected(now_ms, now_ms + DAY)
    assert more.need_wh == pytest.approx(MARGIN * (1 / 8 + 1 / 8) ** 0.5 * 24_000, abs=1)
    assert more.max_w == pytest.approx(MARGIN * (1 / 8 + 1 / 8) ** 0.5 * 8 * 7_000, abs=1)
    assert (more.arrival_ms, more.departure_ms) == (expected[0].arrival_ms, expected[0].departure_ms)
    (later,) = habits.unexpected(now_ms + HOUR + HOUR // 2, now_ms + DAY, 1.0, 4)
    assert later.need_wh == pytest.approx(MARGIN * (1 / 4 + 1 / 12) ** 0.5 * 24_000, abs=1)
    # Of tomorrow it will be known tomorrow.
    assert habits.unexpected(now_ms + 2 * HOUR, now_ms + 2 * DAY, 1.0, 8) == ()
    assert all(each.likely == 1.0 for each in expected)
    beyond = [1 - NormalDist().cdf(MARGIN * (k + 0.5) / 1_000) for k in range(1_000)]
    assert more.likely == pytest.approx(sum(beyond) / 1_000, abs=1e-3)


def test_who_is_still_there_counts_as_one_more_like_the_others() -> None:
    history = [came(MONDAY, 1, 1_000), came(MONDAY + 1, 10, 90_000, ended=False)]
    habits = Habits(history, MONDAY, MONDAY + DAY, utc)
    assert usual(habits, MONDAY + DAY, MONDAY + 2 * DAY) == (2_000, 14_000)
    # Of an hour from which all are still there, nobody knows what they want.
    alone = Habits(history[1:], MONDAY, MONDAY + DAY, utc)
    assert alone.expected(MONDAY + DAY, MONDAY + 2 * DAY) == ()


def test_only_whole_days_count() -> None:
    history = [came(MONDAY + 8 * HOUR), came(MONDAY + DAY + 8 * HOUR), came(MONDAY + 2 * DAY + 8 * HOUR)]
    habits = Habits(history, MONDAY + 1, MONDAY + 2 * DAY + 23 * HOUR, utc)
    assert habits.days == 1
    assert usual(habits, MONDAY + WEEK, MONDAY + WEEK + DAY) == (3_000, 7_000)


def test_no_history_expects_nobody() -> None:
    for until_ms in (MONDAY, MONDAY - 5 * DAY, MONDAY + 30 * DAY):
        habits = Habits([], MONDAY, until_ms, utc)
        assert habits.foreseen(MONDAY, MONDAY + DAY, 99, peak_costs=False) == ()
        assert habits.busier(MONDAY, 99) == pytest.approx(1.0)


def test_daylight_saving_moves_the_hour() -> None:
    place = ZoneInfo("America/Los_Angeles")

    def offset(at_ms: int) -> int:
        shift = datetime.fromtimestamp(at_ms // 1000, UTC).astimezone(place).utcoffset()
        assert shift is not None
        return int(shift.total_seconds()) * 1000

    def local(*fields: int) -> int:
        return int(datetime(*fields, tzinfo=place).timestamp()) * 1000  # type: ignore[arg-type, misc]

    history = [came(local(2019, 11, 1, 8, 30)), came(local(2019, 11, 8, 8, 30))]
    habits = Habits(history, local(2019, 10, 28), local(2019, 11, 11), offset)
    assert habits.days == 14
    found = habits.expected(local(2020, 7, 3), local(2020, 7, 4))
    assert [each.arrival_ms for each in found] == [local(2020, 7, 3, 8, 30)] * 2
    for day in ((2019, 11, 3), (2020, 3, 8), (2020, 7, 3)):
        for hour in (0, 1, 4, 12, 23):
            assert midnight(local(*day, hour, 30), offset) == local(*day)


SESSIONS = st.lists(
    st.builds(
        Past,
        st.integers(-WEEK, 3 * WEEK),
        st.integers(0, 30).map(lambda hours: hours * HOUR),
        st.integers(0, 80_000),
        st.integers(1, 22_000),
        st.booleans(),
    ),
    max_size=30,
)


@given(sessions=SESSIONS, first=st.integers(0, 10), days=st.integers(1, 14), offset_h=st.integers(-11, 13))
def test_the_days_of_the_history_expected_again_give_back_what_came(
    sessions: list[Past], first: int, days: int, offset_h: int
) -> None:
    """In all, energy and power; but for rounding, a watt-hour for each group of an hour of each day."""
    since_ms = MONDAY + first * DAY - offset_h * HOUR
    over = [session._replace(ended=True) for session in sessions]
    habits = Habits(over, since_ms, since_ms + days * DAY, lambda _: offset_h * HOUR)
    need_wh, max_w = usual(habits, since_ms, since_ms + days * DAY)
    inside = [one for one in over if since_ms <= one.arrival_ms < since_ms + days * DAY and one.stay_ms > 0]
    slack = len(habits.expected(since_ms, since_ms + days * DAY))
    assert abs(need_wh - sum(one.energy_wh for one in inside)) <= slack
    assert abs(max_w - sum(one.max_w for one in inside)) <= slack


@given(sessions=SESSIONS, shuffled=st.randoms(use_true_random=False), count=st.integers(0, 40))
def test_the_order_of_the_history_does_not_matter(sessions: list[Past], shuffled: Random, count: int) -> None:
    mixed = sessions.copy()
    shuffled.shuffle(mixed)
    now_ms = MONDAY + 3 * WEEK + 11 * HOUR
    one, other = (
        Habits(each, MONDAY, MONDAY + 2 * WEEK, utc).foreseen(now_ms, now_ms + DAY, count, peak_costs=count % 2 == 0)
        for each in (sessions, mixed)
    )
    assert one == other


@given(sessions=SESSIONS, at=st.integers(0, WEEK), counts=st.tuples(st.integers(0, 99), st.integers(0, 99)))
def test_the_more_came_the_more_are_expected_and_with_caution_fewer(
    sessions: list[Past], at: int, counts: tuple[int, int]
) -> None:
    habits = Habits(sessions, MONDAY, MONDAY + 2 * WEEK, utc)
    now_ms = MONDAY + 2 * WEEK + at
    fewer, more = (habits.busier(now_ms, count) for count in sorted(counts))
    assert 0 <= fewer <= more
    assert 0 <= habits.busier(now_ms, counts[0], cautious=True) <= habits.busier(now_ms, counts[0])
    assert all(
        each.need_wh >= 0 and each.max_w >= 1 for each in habits.foreseen(now_ms, now_ms + DAY, 9, peak_costs=False)
    )


def test_real_august_foretells_real_september() -> None:
    """Energy that is expected is off by less than 5 %, the share still plugged in by less than 5 points."""
    august, september, october = (ms(f"2019-{month:02}-01T00:00:00-07:00") for month in (8, 9, 10))
    with real("sessions/acn_jpl.csv").open(encoding="utf-8") as lines:
        all_of = [
            Past(
                ms(row["arrival"]),
                ms(row["departure"]) - ms(row["arrival"]),
                round(float(row["delivered_kwh"]) * 1000),
                6_656,
            )
            for row in csv.DictReader(lines)
        ]
    then = [one for one in all_of if august <= one.arrival_ms < september]
    later = [one for one in all_of if september <= one.arrival_ms < october]
    habits = Habits(all_of, august, september, lambda _: -7 * HOUR)
    assert len(later) > 1_000
    expected = sum(usual(habits, september + day * DAY, september + (day + 1) * DAY)[0] for day in range(30))
    assert expected == pytest.approx(sum(one.energy_wh for one in later), rel=0.05)
    foretold, seen = (Survival([(one.stay_ms, True) for one in past]) for past in (then, later))
    hours = np.arange(1, 16) * HOUR
    assert np.abs(foretold.share(hours) - seen.share(hours)).max() < 0.05
