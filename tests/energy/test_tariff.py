"""Prices by the hour of the week."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evcharge.energy.tariff import DAYS, Period, TimeOfUse, days_of, minute_of

EVENING = Period(days_of(["mon", "tue", "wed", "thu", "fri"]), minute_of("16:00"), minute_of("21:00"), 0.31)
NIGHT = Period(days_of(["fri"]), minute_of("23:00"), minute_of("05:00"), 0.05)
TARIFF = TimeOfUse(0.14, (EVENING, NIGHT))


def utc(_at_ms: int) -> int:
    return 0


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("when", "price"),
    [
        ("2026-11-20T15:59:59", 0.14),
        ("2026-11-20T16:00:00", 0.31),
        ("2026-11-20T20:59:59", 0.31),
        ("2026-11-20T21:00:00", 0.14),
        ("2026-11-20T23:00:00", 0.05),
        ("2026-11-21T04:59:59", 0.05),
        ("2026-11-21T05:00:00", 0.14),
        ("2026-11-21T16:30:00", 0.14),
        ("2026-11-20T04:00:00", 0.14),
    ],
)
def test_a_week(when: str, price: float) -> None:
    """The 20th of November 2026 is a Friday."""
    assert TARIFF.at(at(when), utc) == price


def test_the_first_of_several_periods_holds() -> None:
    both = TimeOfUse(0.1, (Period(days_of([]), 0, 1440, 0.2), Period(days_of([]), 0, 1440, 0.3)))
    assert both.at(at("2026-11-20T12:00:00"), utc) == 0.2


def test_a_series_has_the_price_of_each_beginning() -> None:
    found = TARIFF.series(at("2026-11-20T15:30:00"), 900_000, 4, utc)
    assert (found.start_ms, found.step_ms, found.values) == (
        at("2026-11-20T15:30:00"),
        900_000,
        (0.14, 0.14, 0.31, 0.31),
    )


@given(st.integers(0, 4 * 10**12))
def test_it_agrees_with_the_calendar(at_ms: int) -> None:
    zone = ZoneInfo("Europe/Berlin")

    def offset(instant_ms: int) -> int:
        ahead = datetime.fromtimestamp(instant_ms / 1000, zone).utcoffset()
        assert ahead is not None
        return int(ahead.total_seconds() * 1000)

    local = datetime.fromtimestamp(at_ms / 1000, zone)
    evening = local.weekday() < 5 and 16 <= local.hour < 21
    assert (TimeOfUse(0.0, (EVENING,)).at(at_ms, offset) == 0.31) == evening


@pytest.mark.parametrize("text", ["7", "7:5", "25:00", "12:60", "24:01", "ab:cd", "", "-1:00"])
def test_what_is_no_time_of_day(text: str) -> None:
    with pytest.raises(ValueError, match="07:30"):
        minute_of(text)


def test_days() -> None:
    assert days_of([]) == set(range(7))
    assert days_of(["sun", "mon"]) == {0, 6}
    assert len(DAYS) == 7
    with pytest.raises(ValueError, match="mon, tue"):
        days_of(["monday"])
