"""Everything of the weather that an operator may set, with its default, unit and reason."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from evcharge.sidecar.outgoing.secrets import check_url
from evcharge.sidecar.weather.alerts import Limits
from evcharge.sidecar.weather.observation import Where

# Places of one site: each substation and the site; far more than there are cities near it.
PLACES = 64


class Place(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where weather is looked at, and what stands in it."""

    city: Annotated[str, Meta(min_length=2, max_length=100)] | None = None
    """As the provider knows it: "Berlin" or "Berlin,DE"."""
    latitude: Annotated[float, Meta(ge=-90, le=90)] | None = None
    longitude: Annotated[float, Meta(ge=-180, le=180)] | None = None
    substation_id: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    """None: the whole site."""

    def __post_init__(self) -> None:
        if (self.latitude is None) != (self.longitude is None):
            raise ValueError("latitude and longitude go together")
        if self.city is None and self.latitude is None:
            raise ValueError("city is missing, and so is a position")

    @property
    def where(self) -> Where:
        """A position is asked for rather than a name, of which there may be several."""
        if self.latitude is not None:
            return Where(None, self.latitude, self.longitude)
        assert self.city is not None
        return Where(self.city.strip())

    @property
    def name(self) -> str:
        """For people."""
        return self.city if self.city is not None else self.where.name


class SimulatedWeather(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A climate: that of central Europe, where winter nights freeze and most days do not."""

    seed: int = 1
    mean_c: Annotated[float, Meta(ge=-40, le=40)] = 10.0
    season_c: Annotated[float, Meta(ge=0, le=30)] = 9.0
    """Summer above the mean, winter below it."""
    day_c: Annotated[float, Meta(ge=0, le=15)] = 4.0
    """Afternoon above the day's mean, morning below it."""
    weather_c: Annotated[float, Meta(ge=0, le=10)] = 3.0
    """One standard deviation of warm and cold days."""
    wind_m_s: Annotated[float, Meta(ge=0, le=40)] = 4.0
    """Mean wind."""
    utc_offset_h: Annotated[float, Meta(ge=-12, le=14)] = 0.0
    """When afternoon is."""


class WeatherSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table ``[weather]``."""

    provider: Literal["auto", "openweather", "open-meteo", "simulated"] = "auto"
    """``auto``: OpenWeather where its key is there, else simulated, and labelled so."""
    openweather_key_env: Annotated[str, Meta(min_length=1)] = "EVCHARGE_OPENWEATHER_KEY"
    """Name of the environment variable with the key."""
    openweather_url: str = "https://api.openweathermap.org"
    open_meteo_url: str = "https://api.open-meteo.com"
    open_meteo_names_url: str = "https://geocoding-api.open-meteo.com"
    """Where Open-Meteo turns a city's name into a position; not asked for places that have one."""
    places: Annotated[list[Place], Meta(max_length=PLACES)] = []
    poll_s: Annotated[float, Meta(ge=1, le=86_400)] = 600.0
    """Providers renew what they say every ten minutes to a quarter of an hour."""
    old_s: Annotated[float, Meta(ge=60, le=86_400)] = 10_800.0
    """What was observed longer ago says nothing about now: stations report every one to three hours."""
    refresh_s: Annotated[float, Meta(ge=10, le=86_400)] = 600.0
    """How often an alert that goes on is told again."""
    limits: Limits = msgspec.field(default_factory=Limits)
    simulated: SimulatedWeather = msgspec.field(default_factory=SimulatedWeather)

    def __post_init__(self) -> None:
        for name, url, secret in (
            ("openweather_url", self.openweather_url, True),
            ("open_meteo_url", self.open_meteo_url, False),
            ("open_meteo_names_url", self.open_meteo_names_url, False),
        ):
            try:
                check_url(url, secret=secret)
            except ValueError as error:
                raise ValueError(f"{name} {error}") from None
        covered = [place.substation_id for place in self.places]
        for one in covered:
            if covered.count(one) > 1:
                what = "the whole site" if one is None else one
                raise ValueError(f"places has two for {what}; their weather would contradict each other")
