"""Observations and answers of providers, for tests."""

from __future__ import annotations

from typing import Any

from evcharge.sidecar.weather.observation import Observation, ProviderFailed, ProviderName, Where
from tests.support.clock import START_MS


def seen(celsius: float = 10.0, at_s: float = 0.0, **more: Any) -> Observation:
    """An observation ``at_s`` seconds after the clock's start."""
    at_ms = START_MS + int(at_s * 1000)
    given: dict[str, Any] = {"wind_m_s": 3.0, "gust_m_s": 5.0, "thunderstorm": False, "condition": 800, **more}
    return Observation(
        temperature_c=celsius,
        observed_ms=at_ms,
        fetched_ms=at_ms,
        provider=more.pop("provider", "openweather"),
        **given,
    )


def openweather(celsius: float = -4.0, at_s: int = START_MS // 1000, **more: Any) -> dict[str, Any]:
    """An answer in the shape that OpenWeather documents."""
    return {
        "coord": {"lon": 13.41, "lat": 52.52},
        "weather": [{"id": 600, "main": "Snow", "description": "light snow", "icon": "13n"}],
        "base": "stations",
        "main": {"temp": celsius, "pressure": 1013, "humidity": 73},
        "wind": {"speed": 2.6, "deg": 90},
        "dt": at_s,
        "name": "Berlin",
        "cod": 200,
        **more,
    }


def open_meteo(celsius: float = -1.2, at_s: int = START_MS // 1000, **more: Any) -> dict[str, Any]:
    """An answer in the shape that Open-Meteo documents."""
    return {
        "latitude": 52.52,
        "longitude": 13.42,
        "utc_offset_seconds": 0,
        "current_units": {
            "time": "unixtime",
            "interval": "seconds",
            "temperature_2m": "°C",
            "weather_code": "wmo code",
            "wind_speed_10m": "m/s",
            "wind_gusts_10m": "m/s",
        },
        "current": {
            "time": at_s,
            "interval": 900,
            "temperature_2m": celsius,
            "weather_code": 71,
            "wind_speed_10m": 2.5,
            "wind_gusts_10m": 6.1,
            **more,
        },
    }


class Scripted:
    """A provider that says what the test put there; a failure stays until it is taken away."""

    name: ProviderName = "openweather"
    simulated = False

    def __init__(self) -> None:
        self.says: dict[str, Observation] = {}
        self.fails: ProviderFailed | None = None
        self.asked: list[str] = []

    async def fetch(self, where: Where) -> Observation:
        self.asked.append(where.name)
        if self.fails is not None:
            raise self.fails
        return self.says[where.name]
