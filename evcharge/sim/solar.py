"""Solar power by time of day, season and cloud: W at an instant, a function of seed, place and time alone.

Clear sky by Haurwitz (Journal of Meteorology 2, 1945), clouds by Kasten & Czeplak (Solar Energy 24, 1980), the sun's
place by Spencer's series (1971), good to half a minute. The cover moves slowly as weather does and fast as single
clouds do. A horizontal array: the shape of a day is right, a tilted roof gives more in winter.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Protocol

import msgspec

from evcharge.sim.noise import Noise, share

# Weather changes over hours, a single cloud passes in minutes.
WEATHER_MS = 6 * 3_600_000
CLOUD_MS = 10 * 60_000
# How much a single cloud counts beside the weather, in standard deviations.
CLOUD_WEIGHT = 0.5
# Irradiance at which an array gives its rated power, W/m² (IEC 60904 standard test conditions).
RATED_W_M2 = 1_000.0
_DAY_MS = 86_400_000


class SolarSite(msgspec.Struct, frozen=True, kw_only=True):
    """An array and its inverter."""

    latitude: float
    longitude: float
    """Degrees, east positive; it alone says when noon is."""
    peak_w: int
    """Rated power of the modules."""
    inverter_w: int | None = None
    """What the inverter passes at most; None: all of it."""
    performance: float = 0.85
    """What heat, dirt and wiring leave."""
    cloudiness: float = 0.0
    """Shift of the weather in standard deviations: −2 hardly ever a cloud, +2 hardly ever sun."""

    def __post_init__(self) -> None:
        if not (-90 <= self.latitude <= 90 and -180 <= self.longitude <= 180):
            raise ValueError("latitude is -90 to 90, longitude -180 to 180.")
        if self.peak_w < 0 or (self.inverter_w is not None and self.inverter_w < 0) or not 0 <= self.performance <= 1:
            raise ValueError("powers are 0 or more, performance is 0 to 1.")
        if not math.isfinite(self.cloudiness):
            raise ValueError("cloudiness is a number.")


class Measured(Protocol):
    """Sun that was measured: W on a horizontal square metre, None where nothing is known (``replay.weather_year``)."""

    def at(self, at_ms: int) -> float | None: ...


class Solar:
    """One array under its sky."""

    def __init__(self, seed: int, name: str, site: SolarSite, *, sun: Measured | None = None) -> None:
        """Sites of one seed with different names have different weather. With ``sun`` the sky is not simulated."""
        self.site = site
        self._sun = sun
        self._weather = Noise(seed, f"{name}/weather", WEATHER_MS)
        self._clouds = Noise(seed, f"{name}/clouds", CLOUD_MS)

    def cover(self, at_ms: int) -> float:
        """Share of the sky that is covered, 0 to 1."""
        mixed = self._weather.at(at_ms) + CLOUD_WEIGHT * self._clouds.at(at_ms)
        return share(mixed / math.hypot(1, CLOUD_WEIGHT) + self.site.cloudiness)

    def clear_sky_w(self, at_ms: int) -> float:
        """What the array would give without a cloud, before the inverter."""
        height = sin_elevation(at_ms, self.site.latitude, self.site.longitude)
        if height <= 0:
            return 0.0
        irradiance = 1_098.0 * height * math.exp(-0.059 / height)
        return self.site.peak_w * irradiance / RATED_W_M2 * self.site.performance

    def power_w(self, at_ms: int) -> int:
        """Watts at an instant, rounded down: 0 at night, never above modules or inverter."""
        most_w = self.site.peak_w if self.site.inverter_w is None else min(self.site.peak_w, self.site.inverter_w)
        if self._sun is not None:
            # What was not measured is not counted on.
            measured = self._sun.at(at_ms) or 0.0
            return int(min(most_w, self.site.peak_w * measured / RATED_W_M2 * self.site.performance))
        clear_w = self.clear_sky_w(at_ms)
        if clear_w == 0:
            return 0
        passed = 1 - 0.75 * self.cover(at_ms) ** 3.4
        return int(min(most_w, clear_w * passed))


def sin_elevation(at_ms: int, latitude: float, longitude: float) -> float:
    """Sine of the sun's height above the horizon at UTC milliseconds; negative at night."""
    day, of_day_ms = divmod(at_ms, _DAY_MS)
    of_year = datetime.fromtimestamp(day * 86_400, UTC).timetuple().tm_yday - 1 + of_day_ms / _DAY_MS
    turn = 2 * math.pi * of_year / 365.25
    declination = (
        0.006918
        - 0.399912 * math.cos(turn)
        + 0.070257 * math.sin(turn)
        - 0.006758 * math.cos(2 * turn)
        + 0.000907 * math.sin(2 * turn)
        - 0.002697 * math.cos(3 * turn)
        + 0.00148 * math.sin(3 * turn)
    )
    # Minutes by which a sundial is ahead of a clock.
    ahead_min = 229.18 * (
        0.000075
        + 0.001868 * math.cos(turn)
        - 0.032077 * math.sin(turn)
        - 0.014615 * math.cos(2 * turn)
        - 0.040849 * math.sin(2 * turn)
    )
    solar_hour = of_day_ms / 3_600_000 + longitude / 15 + ahead_min / 60
    hour_angle = math.radians(15 * (solar_hour - 12))
    place = math.radians(latitude)
    return math.sin(place) * math.sin(declination) + math.cos(place) * math.cos(declination) * math.cos(hour_angle)
