"""Energy over quarters and time over days: no watt-hour and no millisecond is lost or invented."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evcharge.sidecar.history.carbon import avoided_g, petrol_g
from evcharge.sidecar.history.spread import QUARTER_MS, SPREAD_MS, Calendar, quarter_of, spread

INSTANTS = st.integers(0, 4_000_000_000_000)
ZONES = st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kathmandu", "Australia/Lord_Howe", "America/Sao_Paulo"])


@given(st.integers(0, 10**9), INSTANTS, st.integers(-(10**9), 2 * SPREAD_MS))
def test_the_parts_of_an_amount_are_the_amount(energy_wh: int, since_ms: int, lasting_ms: int) -> None:
    until_ms = max(0, since_ms + lasting_ms)
    parts = list(spread(energy_wh, since_ms, until_ms))
    assert sum(part for _, part in parts) == energy_wh
    assert all(part > 0 and quarter % QUARTER_MS == 0 for quarter, part in parts)
    assert [quarter for quarter, _ in parts] == sorted({quarter for quarter, _ in parts})
    if parts and since_ms < until_ms:
        assert quarter_of(max(since_ms, until_ms - SPREAD_MS)) <= parts[0][0]
        assert parts[-1][0] < until_ms


def test_it_is_spread_by_time() -> None:
    begin = 10 * QUARTER_MS
    half = QUARTER_MS // 2
    assert list(spread(3_000, begin + half, begin + 2 * QUARTER_MS)) == [(begin, 1_000), (begin + QUARTER_MS, 2_000)]
    assert list(spread(5, begin, begin)) == [(begin, 5)]
    assert list(spread(0, begin, begin + QUARTER_MS)) == []


@given(ZONES, INSTANTS, st.integers(0, 400 * 86_400_000))
def test_busy_time_falls_on_its_days(zone: str, since_ms: int, lasting_ms: int) -> None:
    calendar = Calendar(zone)
    lasting_ms = min(lasting_ms, 366 * 86_400_000)
    parts = list(calendar.busy(since_ms, since_ms + lasting_ms))
    assert sum(part for _, part in parts) == lasting_ms
    for day, part in parts:
        assert 0 < part <= calendar.length(date.fromisoformat(day))
    if parts:
        assert parts[0][0] == calendar.day(since_ms)


def test_days_are_those_of_the_site_and_have_their_own_length() -> None:
    berlin = Calendar("Europe/Berlin")
    at_ms = int(datetime(2026, 3, 28, 23, 30, tzinfo=UTC).timestamp()) * 1000
    assert berlin.day(at_ms) == "2026-03-29"
    assert Calendar("UTC").day(at_ms) == "2026-03-28"
    assert berlin.length(date(2026, 3, 29)) == 23 * 3_600_000
    assert berlin.length(date(2026, 10, 25)) == 25 * 3_600_000
    assert berlin.begin(date(2026, 7, 1)) == int(datetime(2026, 6, 30, 22, tzinfo=UTC).timestamp()) * 1000


def test_a_zone_that_is_none_is_said() -> None:
    for zone in ("Mars/Olympus", "../../etc/passwd", ""):
        with pytest.raises(ValueError, match="time_zone"):
            Calendar(zone)


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_co2_is_that_of_the_same_way_in_a_petrol_car(energy_wh: int, emitted_g: int) -> None:
    assert abs(petrol_g(energy_wh) - energy_wh / 180 * 170) <= 0.5001
    assert avoided_g(energy_wh, emitted_g) == petrol_g(energy_wh) - emitted_g


def test_a_hundred_kilometres() -> None:
    # 18 kWh at 300 g/kWh emit 5.4 kg; a petrol car emits 17 kg on the way.
    assert avoided_g(18_000, 5_400) == 17_000 - 5_400
