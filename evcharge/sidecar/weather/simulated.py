"""Weather for sites that have no provider: a function of seed, place and site time alone, and labelled as simulated.

Seasons and days are cosines, what comes and goes between them is drawn for fixed instants and joined by straight lines,
so the same instant always has the same weather, whoever asks and however often.
"""

from __future__ import annotations

import math
import random
from functools import lru_cache
from typing import Final

from evcharge.net.clock import Clock
from evcharge.sidecar.weather.alerts import GUST_FACTOR
from evcharge.sidecar.weather.observation import Observation, ProviderName, Where
from evcharge.sidecar.weather.settings import SimulatedWeather

_HOUR_MS: Final = 3_600_000
_DAY_MS: Final = 24 * _HOUR_MS
_YEAR_MS: Final = 365.25 * _DAY_MS
# Warmest day of the year and warmest hour of the day: a month after the longest day, three hours after noon.
_WARMEST_DAY: Final = 200
_WARMEST_HOUR: Final = 15
# How long weather lasts: fronts pass in a day, wind turns in hours, a thunderstorm is over in two.
_FRONT_MS: Final = 12 * _HOUR_MS
_WIND_MS: Final = 3 * _HOUR_MS
_STORM_MS: Final = 2 * _HOUR_MS
# Thunder above so many standard deviations: about one hour in a hundred.
_STORM_LEVEL: Final = 2.0
# What is drawn and kept: a day of some places; only time is saved by it.
_KEPT: Final = 4_096
_CLEAR, _THUNDER = 0, 95


class SimulatedProvider:
    """The provider that never fails."""

    name: ProviderName = "simulated"
    simulated = True

    def __init__(self, settings: SimulatedWeather, *, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock

    async def fetch(self, where: Where) -> Observation:
        """Part of ``Provider``."""
        now_ms = self._clock.steady_ms()
        return weather_at(self._settings, where, self._clock.site_ms(), now_ms)


def weather_at(settings: SimulatedWeather, where: Where, site_ms: int, now_ms: int) -> Observation:
    """The weather at an instant of site time; ``now_ms`` is the same instant in UTC."""
    key = f"{settings.seed}/{where.name.casefold()}"
    local_ms = site_ms + int(settings.utc_offset_h * _HOUR_MS)
    season = math.cos(2 * math.pi * (local_ms - _WARMEST_DAY * _DAY_MS) / _YEAR_MS)
    if where.latitude is not None and where.latitude < 0:
        season = -season
    hour = math.cos(2 * math.pi * (local_ms % _DAY_MS / _HOUR_MS - _WARMEST_HOUR) / 24)
    front = _drawn(f"{key}/front", _FRONT_MS, site_ms)
    wind = settings.wind_m_s * math.exp(0.4 * _drawn(f"{key}/wind", _WIND_MS, site_ms))
    thunder = _drawn(f"{key}/storm", _STORM_MS, site_ms) > _STORM_LEVEL
    celsius = settings.mean_c + settings.season_c * season + settings.day_c * hour + settings.weather_c * front
    return Observation(
        temperature_c=round(celsius, 1),
        wind_m_s=round(min(wind, 60.0), 1),
        gust_m_s=round(min(GUST_FACTOR * wind, 90.0), 1),
        thunderstorm=thunder,
        condition=_THUNDER if thunder else _CLEAR,
        observed_ms=now_ms,
        fetched_ms=now_ms,
        provider="simulated",
        simulated=True,
    )


def _drawn(key: str, step_ms: int, at_ms: int) -> float:
    knot, past_ms = divmod(at_ms, step_ms)
    share = past_ms / step_ms
    return (1 - share) * _gauss(key, knot) + share * _gauss(key, knot + 1)


@lru_cache(maxsize=_KEPT)
def _gauss(key: str, knot: int) -> float:
    return random.Random(f"{key}/{knot}").gauss(0.0, 1.0)  # noqa: S311 - a simulation, not a secret
