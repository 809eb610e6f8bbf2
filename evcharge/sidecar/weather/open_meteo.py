"""Open-Meteo's current weather (api.open-meteo.com/v1/forecast), without a key; by position.

A city's name is turned into a position once, by Open-Meteo's own directory.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
import structlog
from msgspec import Meta

from evcharge.net.clock import Clock
from evcharge.sidecar.outgoing.http import Fetched, FetchFailed, Http
from evcharge.sidecar.weather.observation import Observation, ProviderFailed, ProviderName, Where, checked

log = structlog.get_logger()

# WMO code table 4677: thunderstorm at the time of observation.
_THUNDERSTORMS: Final = range(95, 100)
_CURRENT: Final = "temperature_2m,weather_code,wind_speed_10m,wind_gusts_10m"


class _Units(msgspec.Struct):
    temperature_2m: str
    wind_speed_10m: str
    wind_gusts_10m: str


class _Current(msgspec.Struct):
    time: int
    """UTC seconds, because unixtime was asked for."""
    temperature_2m: float
    weather_code: int | None = None
    wind_speed_10m: float | None = None
    wind_gusts_10m: float | None = None


class _Body(msgspec.Struct):
    current: _Current
    current_units: _Units


class _Found(msgspec.Struct):
    name: str
    latitude: Annotated[float, Meta(ge=-90, le=90)]
    longitude: Annotated[float, Meta(ge=-180, le=180)]
    country_code: str = ""


class _Names(msgspec.Struct):
    results: list[_Found] = []


def decode(body: bytes, fetched_ms: int) -> Observation:
    """An answer in °C and m/s; it says its units, and other ones are no answer.

    Raises:
        ProviderFailed: it is no weather, or none that can be true.
    """
    try:
        said = msgspec.json.decode(body, type=_Body)
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise ProviderFailed("bad_answer", "Open-Meteo's answer cannot be read.") from None
    units = said.current_units
    if (units.temperature_2m, units.wind_speed_10m, units.wind_gusts_10m) != ("°C", "m/s", "m/s"):
        raise ProviderFailed("bad_answer", "Open-Meteo answers in other units than °C and m/s.")
    current = said.current
    if current.time <= 0:
        raise ProviderFailed("bad_answer", "Open-Meteo's answer has no time.")
    return checked(
        Observation(
            temperature_c=current.temperature_2m,
            wind_m_s=current.wind_speed_10m,
            gust_m_s=current.wind_gusts_10m,
            thunderstorm=None if current.weather_code is None else current.weather_code in _THUNDERSTORMS,
            condition=current.weather_code,
            observed_ms=current.time * 1000,
            fetched_ms=fetched_ms,
            provider="open-meteo",
        )
    )


class OpenMeteo:
    """The provider."""

    name: ProviderName = "open-meteo"
    simulated = False

    def __init__(self, http: Http, url: str, names_url: str, *, clock: Clock) -> None:
        self._http = http
        self._url = url.rstrip("/") + "/v1/forecast"
        self._names_url = names_url.rstrip("/") + "/v1/search"
        self._clock = clock
        self._positions: dict[str, tuple[float, float]] = {}

    async def fetch(self, where: Where) -> Observation:
        """Part of ``Provider``."""
        latitude, longitude = await self._position(where)
        params = {
            "latitude": f"{latitude:.5f}",
            "longitude": f"{longitude:.5f}",
            "current": _CURRENT,
            "wind_speed_unit": "ms",
            "timeformat": "unixtime",
        }
        answer = await self._get(self._url, params)
        return decode(answer.body, self._clock.steady_ms())

    async def _position(self, where: Where) -> tuple[float, float]:
        if where.latitude is not None and where.longitude is not None:
            return where.latitude, where.longitude
        assert where.city is not None
        known = self._positions.get(where.city)
        if known is not None:
            return known
        name, _, country = where.city.partition(",")
        params = {"name": name.strip(), "count": "1", "format": "json"}
        if country.strip():
            params["countryCode"] = country.strip().upper()
        answer = await self._get(self._names_url, params)
        try:
            found = msgspec.json.decode(answer.body, type=_Names).results
        except (msgspec.DecodeError, ValueError, RecursionError):
            raise ProviderFailed("bad_answer", "Open-Meteo's list of places cannot be read.") from None
        if not found:
            raise ProviderFailed("unknown_place", f"Open-Meteo does not know {where.name}.")
        place = found[0]
        # Several places have the same name: the operator should see which one was meant.
        log.info(
            "weather.place_found",
            city=where.city,
            name=place.name,
            country=place.country_code,
            latitude=place.latitude,
            longitude=place.longitude,
        )
        self._positions[where.city] = (place.latitude, place.longitude)
        return place.latitude, place.longitude

    async def _get(self, url: str, params: dict[str, str]) -> Fetched:
        try:
            answer = await self._http.get(url, params=params)
        except FetchFailed as error:
            raise ProviderFailed(error.kind, str(error)) from None
        if answer.status == 429:
            raise ProviderFailed("throttled", "Open-Meteo was asked too often.", answer.retry_after_s)
        if answer.status != 200:
            raise ProviderFailed("bad_answer", f"Open-Meteo answered {answer.status}.", answer.retry_after_s)
        return answer
