"""Tariffs of utilities: seasons, days and hours, on small files and on the real ones where they are at hand."""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evcharge.sim.replay import ReplayError
from evcharge.sim.tariffs import PriceOverTime, Season, Tariff, read_tariff
from tests.support.shared import real

ZONE = ZoneInfo("America/Los_Angeles")
ROW: dict[str, Any] = {
    "effective_start": "06-01",
    "effective_end": "09-30",
    "dow_mask": "WEEKDAYS",
    "times": [0, 8.5, 18],
    "tariffs": [0.1, 0.3, 0.2],
    "demand_charge": 15.5,
}
REST = {**ROW, "effective_start": "10-01", "effective_end": "05-31", "dow_mask": "ALL", "times": [0], "tariffs": [0.05]}
WEEKEND = {**ROW, "dow_mask": "WEEKENDS", "times": [0], "tariffs": [0.07]}


def write(tmp_path: Path, *rows: dict[str, Any]) -> Path:
    path = tmp_path / "tariff.json"
    path.write_text(json.dumps({"name": "T", "schedule": rows}))
    return path


def test_prices_change_at_their_hours_days_and_seasons(tmp_path: Path) -> None:
    tariff = read_tariff(write(tmp_path, ROW, WEEKEND, REST))
    prices = [
        ("2019-09-02 08:29", 0.1),
        ("2019-09-02 08:30", 0.3),
        ("2019-09-02 23:59", 0.2),
        ("2019-09-01 13:00", 0.07),
        ("2019-10-01 13:00", 0.05),
        ("2020-02-29 13:00", 0.05),
    ]
    assert [tariff.price(datetime.fromisoformat(at)) for at, _ in prices] == [price for _, price in prices]
    assert tariff.season(date(2019, 9, 2)).demand_charge == 15.5


def test_a_row_for_all_days_beside_one_for_weekends_means_the_others(tmp_path: Path) -> None:
    tariff = read_tariff(write(tmp_path, {**ROW, "dow_mask": "ALL"}, WEEKEND, REST))
    assert tariff.price(datetime(2019, 9, 1, 13)) == 0.07
    assert tariff.price(datetime(2019, 9, 2, 13)) == 0.3


def test_a_day_without_prices_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no prices for 2019-10-01"):
        read_tariff(write(tmp_path, ROW)).season(date(2019, 10, 1))


def test_the_wall_clock_of_the_place_rules_through_the_change_of_time(tmp_path: Path) -> None:
    over_time = PriceOverTime(read_tariff(write(tmp_path, ROW, WEEKEND, REST)), ZONE)
    at_ms = int(datetime.fromisoformat("2019-09-02T15:30:00+00:00").timestamp()) * 1000
    assert over_time.at(at_ms - 1) == 0.1
    assert over_time.at(at_ms) == 0.3


quarters = st.lists(st.integers(1, 95), unique=True, max_size=6).map(sorted)


@given(
    hours=quarters.map(lambda found: (0.0, *(quarter / 4 for quarter in found))),
    minutes=st.integers(0, 7 * 24 * 60 - 1),
    first=st.dates(date(2019, 1, 1), date(2030, 1, 1)),
)
def test_the_week_of_a_site_file_has_the_same_prices(hours: tuple[float, ...], minutes: int, first: date) -> None:
    """What the planner reckons with is what the tariff says, at every minute of the week."""
    days = [
        Season((1, 1), (12, 31), frozenset({weekday}), hours, tuple(weekday + k / 100 for k in range(len(hours))), 0.0)
        for weekday in range(7)
    ]
    tariff = Tariff(tuple(days))
    at = datetime(first.year, first.month, first.day) + timedelta(minutes=minutes)
    local_ms = round((at - datetime(1970, 1, 1)).total_seconds() * 1000)
    assert tariff.time_of_use(first).at(local_ms, lambda _: 0) == tariff.price(at)


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([], "the schedule is empty"),
        ([{**ROW, "times": [0, 8]}], "each time has a price"),
        ([{**ROW, "times": [1, 8, 9]}], "the first time is 0"),
        ([{**ROW, "times": [0, 9, 8]}], "times rise"),
        ([{**ROW, "times": [0, 9, 24]}], "below 24"),
        ([{**ROW, "tariffs": [0.1, "dear", 0.2]}], "dear"),
        ([{**ROW, "tariffs": [0.1, float("nan"), 0.2]}], "a price is a number"),
        ([{**ROW, "dow_mask": "MONDAYS"}], "'MONDAYS' is missing or not known"),
        ([{key: value for key, value in ROW.items() if key != "tariffs"}], "'tariffs' is missing"),
    ],
)
def test_what_is_no_tariff_is_refused_with_the_file(tmp_path: Path, rows: list[dict[str, Any]], says: str) -> None:
    path = write(tmp_path, *rows)
    with pytest.raises(ReplayError) as caught:
        read_tariff(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert says in str(caught.value)


def test_a_file_that_is_absent_or_no_json_is_named(tmp_path: Path) -> None:
    with pytest.raises(ReplayError, match="cannot read .*No such file"):  # noqa: RUF043
        read_tariff(tmp_path / "absent.json")
    path = tmp_path / "no.json"
    path.write_text("{")
    with pytest.raises(ReplayError, match="no tariff"):
        read_tariff(path)


@pytest.mark.parametrize(
    ("name", "summer_noon", "winter_night", "charge"),
    [
        ("sce_tou_ev_4_march_2019", 0.26668, 0.06087, 15.51),
        ("pge_a10_tou_aug_2019", 0.23223, 0.13064, 19.99),
    ],
)
def test_real_tariffs(name: str, summer_noon: float, winter_night: float, charge: float) -> None:
    tariff = read_tariff(real(f"tariffs/{name}.json"))
    assert tariff.price(datetime(2019, 9, 4, 13)) == summer_noon
    assert tariff.price(datetime(2019, 12, 4, 3)) == winter_night
    assert tariff.season(date(2019, 9, 4)).demand_charge == charge
    # Every day of a year has its prices, a leap day and weekends too.
    for day in range(366):
        assert min(tariff.season(date(2020, 1, 1) + timedelta(days=day)).prices) > 0
