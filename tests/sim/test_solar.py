"""Solar power: the sky's geometry against almanac figures, and what must hold on any day anywhere."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from evcharge.sim.solar import Solar, SolarSite, sin_elevation

MINUTE = 60_000
DAY = 86_400_000
PASADENA = SolarSite(latitude=34.2, longitude=-118.17, peak_w=100_000)


def ms(*fields: int) -> int:
    return int(datetime(*fields, tzinfo=UTC).timestamp()) * 1000  # type: ignore[arg-type, misc]


@pytest.mark.parametrize(
    ("month", "day", "noon_degrees"),
    [(3, 20, 90 - 34.2), (6, 21, 90 - 34.2 + 23.44), (9, 23, 90 - 34.2), (12, 21, 90 - 34.2 - 23.44)],
)
def test_the_sun_at_noon(month: int, day: int, noon_degrees: float) -> None:
    highest = max(sin_elevation(ms(2019, month, day, 17) + step * MINUTE, 34.2, -118.17) for step in range(360))
    assert math.degrees(math.asin(highest)) == pytest.approx(noon_degrees, abs=0.35)


def test_noon_follows_longitude_and_the_equation_of_time() -> None:
    """Almanac: on 3 November the sun is 16.4 minutes ahead of the clock, on 11 February 14.2 behind."""

    def noon_min(month: int, day: int, longitude: float) -> int:
        start = ms(2019, month, day)
        return max(range(1440), key=lambda minute: sin_elevation(start + minute * MINUTE, 10.0, longitude))

    assert noon_min(11, 3, 0.0) == pytest.approx(720 - 16.4, abs=1)
    assert noon_min(2, 11, 0.0) == pytest.approx(720 + 14.2, abs=1)
    assert noon_min(11, 3, 30.0) == pytest.approx(600 - 16.4, abs=1)


@given(
    at_ms=st.integers(0, 4 * 10**12),
    latitude=st.floats(-90, 90),
    longitude=st.floats(-180, 180),
    seed=st.integers(0, 5),
    inverter=st.one_of(st.none(), st.integers(0, 200_000)),
)
def test_never_at_night_never_above_modules_or_inverter(
    at_ms: int, latitude: float, longitude: float, seed: int, inverter: int | None
) -> None:
    site = SolarSite(latitude=latitude, longitude=longitude, peak_w=100_000, inverter_w=inverter, performance=1.0)
    power_w = Solar(seed, "roof", site).power_w(at_ms)
    assert 0 <= power_w <= min(100_000, 100_000 if inverter is None else inverter)
    if sin_elevation(at_ms, latitude, longitude) <= 0:
        assert power_w == 0


@given(times=st.lists(st.integers(0, 4 * 10**12), max_size=10))
def test_the_order_and_number_of_questions_do_not_matter(times: list[int]) -> None:
    one, other = Solar(4, "roof", PASADENA), Solar(4, "roof", PASADENA)
    asked = {at_ms: one.power_w(at_ms) for at_ms in times}
    assert {at_ms: other.power_w(at_ms) for at_ms in reversed(times)} == asked


@given(day=st.integers(0, 20_000), seed=st.integers(0, 5))
def test_power_moves_without_jumps(day: int, seed: int) -> None:
    """A second changes at most 2 % of the peak: the fastest cloud of these takes minutes."""
    roof = Solar(seed, "roof", PASADENA)
    noon = day * DAY + 20 * 3_600_000
    powers = [roof.power_w(noon + second * 1000) for second in range(120)]
    assert all(abs(b - a) < 2_000 for a, b in pairwise(powers))


def energy_kwh(roof: Solar, start_ms: int, days: int) -> float:
    return sum(roof.power_w(start_ms + step * 15 * MINUTE) for step in range(days * 96)) / 4 / 1000


def test_summer_gives_more_than_winter_and_clouds_less_than_none() -> None:
    clear = Solar(1, "roof", SolarSite(latitude=34.2, longitude=-118.17, peak_w=100_000, cloudiness=-9))
    cloudy = Solar(1, "roof", SolarSite(latitude=34.2, longitude=-118.17, peak_w=100_000, cloudiness=9))
    summer, winter = energy_kwh(clear, ms(2019, 6, 11), 20), energy_kwh(clear, ms(2019, 12, 11), 20)
    assert summer > 2 * winter > 0
    # Kasten & Czeplak: a quarter of the clear sky comes through a closed cover.
    assert energy_kwh(cloudy, ms(2019, 6, 11), 20) == pytest.approx(summer / 4, rel=0.01)
    some = energy_kwh(Solar(1, "roof", PASADENA), ms(2019, 6, 11), 20)
    assert summer / 4 < some < summer


def test_weather_lasts_and_differs_between_places() -> None:
    roof, other = Solar(1, "roof", PASADENA), Solar(1, "field", PASADENA)
    hours = [ms(2019, 1, 1) + hour * 3_600_000 for hour in range(24 * 90)]
    covers = [roof.cover(at_ms) for at_ms in hours]
    mean = sum(covers) / len(covers)
    spread = sum((cover - mean) ** 2 for cover in covers)
    memory = sum((a - mean) * (b - mean) for a, b in pairwise(covers)) / spread
    # 0.8 of the variance is weather that has e^(-1/6) left after an hour.
    assert memory == pytest.approx(0.8 * math.exp(-1 / 6), abs=0.08)
    theirs = [other.cover(at_ms) for at_ms in hours]
    assert abs(sum((a - mean) * (b - 0.5) for a, b in zip(covers, theirs, strict=True)) / spread) < 0.25


class Sun:
    """So many watts on a square metre in every hour; None at night."""

    def at(self, at_ms: int) -> float | None:
        hour = at_ms % DAY // 3_600_000
        return 100.0 * (hour - 5) if 6 <= hour < 18 else None


@example(at_ms=12 * 3_600_000, peak_w=100_000, inverter=None)
@example(at_ms=17 * 3_600_000, peak_w=100_000, inverter=50_000)
@given(at_ms=st.integers(0, 4 * 10**12), peak_w=st.integers(0, 10**6), inverter=st.none() | st.integers(0, 10**6))
def test_measured_sun_takes_the_place_of_the_sky(at_ms: int, peak_w: int, inverter: int | None) -> None:
    site = SolarSite(latitude=0.0, longitude=0.0, peak_w=peak_w, inverter_w=inverter, performance=0.8)
    power_w = Solar(1, "roof", site, sun=Sun()).power_w(at_ms)
    most_w = peak_w if inverter is None else min(peak_w, inverter)
    sun = Sun().at(at_ms) or 0.0
    assert power_w <= most_w
    assert power_w == int(min(most_w, peak_w * sun / 1000 * 0.8))


@pytest.mark.parametrize(
    "fields",
    [
        {"latitude": 91.0, "longitude": 0.0, "peak_w": 1},
        {"latitude": 0.0, "longitude": 181.0, "peak_w": 1},
        {"latitude": 0.0, "longitude": 0.0, "peak_w": -1},
        {"latitude": 0.0, "longitude": 0.0, "peak_w": 1, "performance": 1.1},
        {"latitude": 0.0, "longitude": 0.0, "peak_w": 1, "cloudiness": math.nan},
    ],
)
def test_a_site_that_cannot_be_is_refused(fields: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="is"):
        SolarSite(**fields)  # type: ignore[arg-type]
