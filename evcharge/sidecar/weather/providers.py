"""The provider that the settings ask for."""

from __future__ import annotations

from collections.abc import Mapping

import structlog

from evcharge.net.clock import Clock
from evcharge.sidecar.outgoing.http import Http
from evcharge.sidecar.outgoing.secrets import LackingSecret, secret
from evcharge.sidecar.weather.observation import Provider
from evcharge.sidecar.weather.open_meteo import OpenMeteo
from evcharge.sidecar.weather.openweather import OpenWeather
from evcharge.sidecar.weather.settings import WeatherSettings
from evcharge.sidecar.weather.simulated import SimulatedProvider

log = structlog.get_logger()


def make_provider(settings: WeatherSettings, http: Http, *, clock: Clock, environ: Mapping[str, str]) -> Provider:
    """The provider.

    Raises:
        LackingSecret: OpenWeather is asked for by name, and there is no key.
    """
    if settings.provider == "open-meteo":
        return OpenMeteo(http, settings.open_meteo_url, settings.open_meteo_names_url, clock=clock)
    if settings.provider == "simulated":
        return SimulatedProvider(settings.simulated, clock=clock)
    try:
        key = secret(environ, settings.openweather_key_env)
    except LackingSecret:
        if settings.provider == "openweather" or environ.get(settings.openweather_key_env, "").strip():
            raise
        log.warning("weather.simulated", why=f"{settings.openweather_key_env} is not set")
        return SimulatedProvider(settings.simulated, clock=clock)
    return OpenWeather(http, settings.openweather_url, key, clock=clock)
