"""OpenWeather's current weather (api.openweathermap.org/data/2.5/weather), with a key.

The key has to stand in the query, so no URL of this module is logged or said.
"""

from __future__ import annotations

from typing import Final

import msgspec

from evcharge.net.clock import Clock
from evcharge.sidecar.outgoing.http import FetchFailed, Http
from evcharge.sidecar.weather.observation import Observation, ProviderFailed, ProviderName, Where, checked

_THUNDERSTORMS: Final = range(200, 300)


class _Condition(msgspec.Struct):
    id: int


class _Main(msgspec.Struct):
    temp: float


class _Wind(msgspec.Struct):
    speed: float | None = None
    gust: float | None = None


class _Body(msgspec.Struct):
    """What is read of an answer."""

    main: _Main
    dt: int
    """UTC seconds of the observation."""
    weather: list[_Condition] = []
    wind: _Wind = msgspec.field(default_factory=_Wind)
    cod: int | str = 200
    """A number or a string, by the whim of the server."""


def decode(body: bytes, fetched_ms: int) -> Observation:
    """An answer in metric units.

    Raises:
        ProviderFailed: it is no weather, or none that can be true.
    """
    try:
        said = msgspec.json.decode(body, type=_Body)
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise ProviderFailed("bad_answer", "OpenWeather's answer cannot be read.") from None
    if str(said.cod) != "200" or said.dt <= 0:
        raise ProviderFailed("bad_answer", "OpenWeather's answer is no weather.")
    codes = [condition.id for condition in said.weather]
    thunder = next((code for code in codes if code in _THUNDERSTORMS), None)
    return checked(
        Observation(
            temperature_c=said.main.temp,
            wind_m_s=said.wind.speed,
            gust_m_s=said.wind.gust,
            thunderstorm=thunder is not None if codes else None,
            condition=thunder if thunder is not None else codes[0] if codes else None,
            observed_ms=said.dt * 1000,
            fetched_ms=fetched_ms,
            provider="openweather",
        )
    )


class OpenWeather:
    """The provider."""

    name: ProviderName = "openweather"
    simulated = False

    def __init__(self, http: Http, url: str, key: str, *, clock: Clock) -> None:
        self._http = http
        self._url = url.rstrip("/") + "/data/2.5/weather"
        self._key = key
        self._clock = clock

    async def fetch(self, where: Where) -> Observation:
        """Part of ``Provider``."""
        params = {"units": "metric", "appid": self._key}
        if where.city is not None:
            params["q"] = where.city
        else:
            params |= {"lat": f"{where.latitude:.5f}", "lon": f"{where.longitude:.5f}"}
        try:
            answer = await self._http.get(self._url, params=params)
        except FetchFailed as error:
            raise ProviderFailed(error.kind, str(error)) from None
        if answer.status == 200:
            return decode(answer.body, self._clock.steady_ms())
        if answer.status == 401:
            raise ProviderFailed("bad_key", "OpenWeather does not accept the key; a new one takes an hour or two.")
        if answer.status == 404:
            raise ProviderFailed("unknown_place", f"OpenWeather does not know {where.name}.")
        if answer.status == 429:
            why = "OpenWeather was asked too often with this key."
            raise ProviderFailed("throttled", why, answer.retry_after_s)
        raise ProviderFailed("bad_answer", f"OpenWeather answered {answer.status}.", answer.retry_after_s)
