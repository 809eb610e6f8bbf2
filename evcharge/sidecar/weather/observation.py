"""The weather at a place at an instant, whoever reported it, and what can be true of it."""

from __future__ import annotations

import math
from typing import Final, Literal, NamedTuple, Protocol

import msgspec

ProviderName = Literal["openweather", "open-meteo", "simulated"]

# What was ever measured on Earth lies within, with a little room: −89.2 and 56.7 °C, gusts of 113 m/s.
TEMPERATURE_C: Final = (-95.0, 65.0)
WIND_M_S: Final = (0.0, 120.0)

Trouble = Literal[
    "unreachable", "timeout", "certificate", "too_large", "bad_key", "unknown_place", "throttled", "bad_answer",
    "implausible", "old",
]  # fmt: skip


class ProviderFailed(Exception):
    """There is no weather to be had; the text is a sentence for a person, without any key."""

    def __init__(self, trouble: Trouble, why: str, retry_after_s: int | None = None) -> None:
        super().__init__(why)
        self.trouble = trouble
        self.retry_after_s = retry_after_s


class Where(NamedTuple):
    """A city by its name, or a position; places that are the same have the same weather and one request."""

    city: str | None
    latitude: float | None = None
    longitude: float | None = None

    @property
    def name(self) -> str:
        """For people."""
        return self.city if self.city is not None else f"{self.latitude:g}, {self.longitude:g}"


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """What was observed. None: the provider does not say."""

    temperature_c: float
    wind_m_s: float | None = None
    gust_m_s: float | None = None
    thunderstorm: bool | None = None
    condition: int | None = None
    """The provider's own code: OpenWeather's, or WMO 4677."""
    observed_ms: int
    """From a provider: UTC. In a watch: site time."""
    fetched_ms: int
    provider: ProviderName
    simulated: bool = False


class Provider(Protocol):
    """Who knows the weather."""

    name: ProviderName
    simulated: bool

    async def fetch(self, where: Where) -> Observation:
        """The weather now.

        Raises:
            ProviderFailed
        """
        ...


def checked(observation: Observation) -> Observation:
    """The observation itself.

    Raises:
        ProviderFailed: it cannot be true. A provider that ignores the unit that was asked for says 262 °C.
    """
    _check("temperature", observation.temperature_c, TEMPERATURE_C, "°C")
    for what, value in (("wind", observation.wind_m_s), ("gust", observation.gust_m_s)):
        if value is not None:
            _check(what, value, WIND_M_S, "m/s")
    return observation


def _check(what: str, value: float, bounds: tuple[float, float], unit: str) -> None:
    # What is not a number lies within no bounds.
    if not (math.isfinite(value) and bounds[0] <= value <= bounds[1]):
        raise ProviderFailed("implausible", f"The provider's {what}, {value:g} {unit}, cannot be true.")
