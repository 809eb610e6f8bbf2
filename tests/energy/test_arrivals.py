"""Arrivals and survival: counted by hand, and what must hold for any history."""

from __future__ import annotations

import csv
import os
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evcharge.energy.arrivals import ArrivalsPrior, Past, Survival

HOUR = 3_600_000
DAY = 24 * HOUR
WEEK = 7 * DAY
# A Monday, 0:00 UTC.
MONDAY = 4 * DAY


JPL = Path(__file__).resolve().parents[3] / "shared/data/sessions/acn_jpl.csv"


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def utc(_: int) -> int:
    return 0


def test_a_rate_is_what_came_per_hour_of_its_kind() -> None:
    """Three in two weeks between 8 and 9 on Mondays, one on a Tuesday."""
    came = [
        Past(MONDAY + 8 * HOUR, 2 * HOUR, 10_000),
        Past(MONDAY + 9 * HOUR - 1, 4 * HOUR, 20_000),
        Past(MONDAY + WEEK + 8 * HOUR, 6 * HOUR, 30_000),
        Past(MONDAY + DAY + 9 * HOUR, 8 * HOUR, 40_000),
    ]
    prior = ArrivalsPrior(came, MONDAY, MONDAY + 2 * WEEK, utc)
    monday = prior.at(MONDAY + 5 * WEEK + 8 * HOUR)
    assert monday.per_hour == 1.5
    # Too few for a mean of their own: those of all.
    assert (monday.energy_wh, monday.stay_ms) == (25_000, 5 * HOUR)
    assert prior.at(MONDAY + DAY + 9 * HOUR).per_hour == 0.5
    assert prior.at(MONDAY + 9 * HOUR).per_hour == 0
    assert prior.hour_of_week(MONDAY) == 0
    assert prior.hour_of_week(MONDAY - 1) == 167


def test_enough_sessions_make_a_mean_of_their_own() -> None:
    mornings = [Past(MONDAY + 8 * HOUR + i, 9 * HOUR, 10_000) for i in range(5)]
    evenings = [Past(MONDAY + day * DAY + 18 * HOUR, 2 * HOUR, 5_000) for day in range(5)]
    prior = ArrivalsPrior([*mornings, *evenings], MONDAY, MONDAY + WEEK, utc)
    assert prior.at(MONDAY + 8 * HOUR)[1:] == (10_000, 9 * HOUR)
    # One on each day: the hour of the day has five.
    assert prior.at(MONDAY + 18 * HOUR)[1:] == (5_000, 2 * HOUR)


def test_what_is_not_over_counts_as_arrival_but_not_as_mean() -> None:
    came = [Past(MONDAY, HOUR, 1_000), Past(MONDAY + 1, 10 * HOUR, 90_000, ended=False)]
    expected = ArrivalsPrior(came, MONDAY, MONDAY + WEEK, utc).at(MONDAY)
    assert expected == (2.0, 1_000, HOUR)


def test_no_history_expects_nobody() -> None:
    assert set(ArrivalsPrior([], MONDAY, MONDAY + WEEK, utc).by_hour()) == {(0.0, 0.0, 0.0)}
    with pytest.raises(ValueError, match="span"):
        ArrivalsPrior([], MONDAY, MONDAY, utc)


def test_daylight_saving_moves_the_hour() -> None:
    place = ZoneInfo("America/Los_Angeles")

    def offset(at_ms: int) -> int:
        shift = datetime.fromtimestamp(at_ms // 1000, UTC).astimezone(place).utcoffset()
        assert shift is not None
        return int(shift.total_seconds()) * 1000

    def local(*fields: int) -> int:
        return int(datetime(*fields, tzinfo=place).timestamp()) * 1000  # type: ignore[arg-type, misc]

    came = [Past(local(2019, 11, 1, 8, 30), HOUR, 1), Past(local(2019, 11, 8, 8, 30), HOUR, 1)]
    prior = ArrivalsPrior(came, local(2019, 10, 28), local(2019, 11, 11), offset)
    assert prior.at(local(2020, 7, 3, 8)).per_hour == 1.0
    # The night that the clock goes back has its hour from 1 to 2 twice.
    twice = [Past(local(2019, 11, 3, 1, 30), HOUR, 1)]
    assert ArrivalsPrior(twice, local(2019, 10, 28), local(2019, 11, 11), offset).at(
        local(2020, 7, 5, 1)
    ).per_hour == pytest.approx(1 / 3)


SESSIONS = st.lists(
    st.builds(
        Past,
        st.integers(-WEEK, 3 * WEEK),
        st.integers(0, 30).map(lambda hours: hours * HOUR),
        st.integers(0, 80_000),
        st.booleans(),
    ),
    max_size=30,
)


@given(sessions=SESSIONS, start=st.integers(0, WEEK), length=st.integers(1, 2 * WEEK), offset_h=st.integers(-11, 13))
def test_the_rates_give_back_everybody_who_came(sessions: list[Past], start: int, length: int, offset_h: int) -> None:
    prior = ArrivalsPrior(sessions, start, start + length, lambda _: offset_h * HOUR)
    cuts = sorted({start, start + length, *range((start // HOUR + 1) * HOUR, start + length, HOUR)})
    expected = sum(prior.at(a).per_hour * (b - a) / HOUR for a, b in pairwise(cuts))
    came = sum(start <= one.arrival_ms < start + length and one.stay_ms > 0 for one in sessions)
    assert expected == pytest.approx(came)


def test_real_august_foretells_real_september() -> None:
    """The expected number of arrivals is off by less than 5 %, the share still plugged in by less than 5 points."""
    if not JPL.exists():
        assert os.environ.get("CI") != "true", f"{JPL} is absent"
        pytest.skip("../shared/data/sessions/acn_jpl.csv is not beside this checkout")
    august, september, october = (ms(f"2019-{month:02}-01T00:00:00-07:00") for month in (8, 9, 10))
    with JPL.open(encoding="utf-8") as lines:
        came = [
            Past(
                ms(row["arrival"]), ms(row["departure"]) - ms(row["arrival"]), round(float(row["delivered_kwh"]) * 1000)
            )
            for row in csv.DictReader(lines)
        ]
    then = [one for one in came if august <= one.arrival_ms < september]
    later = [one for one in came if september <= one.arrival_ms < october]
    prior = ArrivalsPrior(came, august, september, lambda _: -7 * HOUR)
    expected = sum(prior.at(september + hour * HOUR).per_hour for hour in range(30 * 24))
    assert len(later) > 1_000
    assert expected == pytest.approx(len(later), rel=0.05)
    foretold, seen = Survival(then), Survival(later)
    assert all(abs(foretold.share(hour * HOUR) - seen.share(hour * HOUR)) < 0.05 for hour in range(1, 16))


# --- survival -------------------------------------------------------------------------------------


def test_survival_is_the_share_that_lasted_longer() -> None:
    survival = Survival([Past(0, hours * HOUR, 1) for hours in (1, 2, 2, 4)])
    assert [survival.share(at) for at in (0, HOUR - 1, HOUR, 2 * HOUR, 4 * HOUR)] == [1, 1, 0.75, 0.25, 0]
    assert survival.still(HOUR, HOUR) == pytest.approx(1 / 3)
    # Longer than anybody before: as if just arrived.
    assert survival.still(5 * HOUR, 2 * HOUR) == 0.25


def test_who_has_not_left_counts_for_as_long_as_he_stayed() -> None:
    """Kaplan-Meier by hand: 4 at risk, 1 ends; the one of 2 h leaves the risk set unended; of the last 2 one ends."""
    stays = [Past(0, HOUR, 1), Past(0, 2 * HOUR, 1, ended=False), Past(0, 3 * HOUR, 1), Past(0, 4 * HOUR, 1)]
    survival = Survival(stays)
    assert [survival.share(hours * HOUR) for hours in range(5)] == pytest.approx([1, 0.75, 0.75, 0.375, 0])


def test_without_a_history_nobody_is_given_up() -> None:
    assert Survival([]).still(HOUR, 100 * HOUR) == 1.0


@given(
    sessions=SESSIONS, age=st.integers(0, 40 * HOUR), first=st.integers(0, 40 * HOUR), more=st.integers(0, 40 * HOUR)
)
def test_survival_is_a_share_that_never_rises(sessions: list[Past], age: int, first: int, more: int) -> None:
    survival = Survival(sessions)
    assert 0 <= survival.share(first + more) <= survival.share(first) <= 1
    assert 0 <= survival.still(age, first + more) <= survival.still(age, first) <= 1
    assert survival.still(age, 0) == 1


@given(hours=st.lists(st.integers(1, 30), min_size=1, max_size=30), at=st.integers(0, 31))
def test_with_everybody_gone_it_is_the_plain_share(hours: list[int], at: int) -> None:
    survival = Survival([Past(0, one * HOUR, 1) for one in hours])
    assert survival.share(at * HOUR) == pytest.approx(sum(one > at for one in hours) / len(hours))
