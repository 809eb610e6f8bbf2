"""Simulated weather is a function of seed, place and time, can be true, and is labelled."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from evcharge.sidecar.weather.observation import Where, checked
from evcharge.sidecar.weather.settings import SimulatedWeather
from evcharge.sidecar.weather.simulated import SimulatedProvider, weather_at
from tests.support.driven import DrivenClock

HERE = Where("Berlin")
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
JANUARY_MS = 1_767_225_600_000
JULY_MS = JANUARY_MS + 190 * DAY_MS
PLAIN = SimulatedWeather(weather_c=0.0)
INSTANTS = st.integers(0, 4_000_000_000_000)


@given(INSTANTS, st.integers(0, 100), st.floats(-40, 40), st.floats(0, 40))
def test_it_can_always_be_true_and_is_the_same_however_often_asked(
    at_ms: int, seed: int, mean_c: float, wind: float
) -> None:
    settings = SimulatedWeather(seed=seed, mean_c=mean_c, wind_m_s=wind)
    one = weather_at(settings, HERE, at_ms, 5)
    assert checked(one) == weather_at(settings, HERE, at_ms, 5)
    assert (one.simulated, one.provider, one.observed_ms) == (True, "simulated", 5)


@given(INSTANTS | st.integers(0, 1_000_000).map(lambda hour: hour * HOUR_MS - 30_000))
def test_it_does_not_jump(at_ms: int) -> None:
    first, then = (weather_at(SimulatedWeather(), HERE, at, 0).temperature_c for at in (at_ms, at_ms + 60_000))
    assert abs(first - then) <= 0.2


def mean_c(settings: SimulatedWeather, start_ms: int, where: Where = HERE) -> float:
    hours = [weather_at(settings, where, start_ms + hour * HOUR_MS, 0).temperature_c for hour in range(24)]
    return sum(hours) / 24


def test_seasons_days_and_hemispheres() -> None:
    assert mean_c(PLAIN, JANUARY_MS) < 3 < 17 < mean_c(PLAIN, JULY_MS)
    south = Where(None, -33.9, 18.4)
    assert mean_c(PLAIN, JULY_MS, south) < 3 < 17 < mean_c(PLAIN, JANUARY_MS, south)
    hours = [weather_at(PLAIN, HERE, JULY_MS + hour * HOUR_MS, 0).temperature_c for hour in range(24)]
    assert (hours.index(max(hours)), hours.index(min(hours))) == (15, 3)


def test_places_and_seeds_differ() -> None:
    def week(seed: int, where: Where) -> list[float]:
        settings = SimulatedWeather(seed=seed)
        return [weather_at(settings, where, JULY_MS + day * DAY_MS, 0).temperature_c for day in range(7)]

    assert week(1, HERE) == week(1, Where("BERLIN"))
    assert week(1, HERE) != week(2, HERE)
    assert week(1, HERE) != week(1, Where("Madrid"))


def test_thunder_comes_and_goes_and_is_rare() -> None:
    hours = [weather_at(SimulatedWeather(), HERE, JULY_MS + hour * HOUR_MS, 0).thunderstorm for hour in range(3_000)]
    assert 0.002 < sum(map(bool, hours)) / 3_000 < 0.05


async def test_the_provider_looks_at_site_time() -> None:
    clock = DrivenClock()
    provider = SimulatedProvider(PLAIN, clock=clock)
    first = await provider.fetch(HERE)
    clock.advance_site(12 * 3_600)
    then = await provider.fetch(HERE)
    assert first.temperature_c != then.temperature_c
    assert first.observed_ms == then.observed_ms == clock.steady_ms()
