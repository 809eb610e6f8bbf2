"""What the weather's routes take and answer."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from evcharge.sidecar.weather.alerts import Kind
from evcharge.sidecar.weather.observation import TEMPERATURE_C, ProviderName, Trouble
from evcharge.sidecar.weather.watch import State

Celsius = Annotated[float, Meta(ge=TEMPERATURE_C[0], le=TEMPERATURE_C[1])]
Name = Annotated[str, Meta(min_length=1, max_length=64)]
City = Annotated[str, Meta(min_length=1, max_length=100)]
Instant = Annotated[int, Meta(ge=0)]
LegacyAlert = Literal["ALERT_COLD", "ALERT_HEAT", "ALERT_WIND", "ALERT_STORM", "WEATHER_OK"]

ALERTS: dict[str, Kind] = {"ALERT_COLD": "cold", "ALERT_HEAT": "heat", "ALERT_WIND": "wind", "ALERT_STORM": "storm"}


class ObservationAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The newest observation; null: the provider does not say."""

    temperature_c: Celsius
    wind_m_s: float | None
    gust_m_s: float | None
    thunderstorm: bool | None
    condition: int | None
    """The provider's own code: OpenWeather's, or WMO 4677."""
    observed_ms: int
    """Site time, UTC milliseconds."""
    fetched_ms: int
    age_s: Annotated[int, Meta(ge=0)]
    """Since it was observed."""


class AlertAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An alert that is active."""

    kind: Kind
    since_ms: int
    told: bool
    """Whether Central has answered to it."""
    refused: str
    """Why Central does not take it; empty: it does."""


class PlaceAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One place of the settings."""

    place: str
    substation_id: str | None
    """null: the whole site."""
    provider: ProviderName
    simulated: bool
    state: State
    """unavailable: the provider fails; alerts stay as they were."""
    since_ms: int
    trouble: Trouble | None
    why: str
    observation: ObservationAnswer | None
    alerts: list[AlertAnswer]


class WeatherAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The weather at the site."""

    provider: ProviderName
    simulated: bool
    places: list[PlaceAnswer]


class AlertReport(msgspec.Struct, frozen=True, kw_only=True):
    """An alert of a weather office, in today's words (kind, active) or in those of older offices (alert).

    One of kind and alert has to be there. It is about a charge point, a substation, what the settings have in a city,
    or the whole site; the first of these that is named counts.
    """

    kind: Kind | None = None
    active: bool | None = None
    """false: it is over; without it: it is not."""
    alert: LegacyAlert | None = None
    """WEATHER_OK ends cold, the only alert that older offices know, unless kind names another one."""
    cp_id: Name | None = None
    substation_id: Name | None = None
    city: City | None = None
    temperature_c: Celsius | None = None
    temperature: Celsius | None = None
    """The older name of temperature_c."""
    detail: Annotated[str, Meta(max_length=200)] | None = None
    """The place, for people."""
    message: Annotated[str, Meta(max_length=200)] | None = None
    """The older name of detail."""
    timestamp: float | str | None = None
    """Older offices send it; what counts is when the alert arrives."""

    def __post_init__(self) -> None:
        if self.kind is None and self.alert is None:
            raise ValueError("alert is missing, and so is kind")
        if self.alert is None:
            return
        if self.kind is not None and ALERTS.get(self.alert, self.kind) != self.kind:
            raise ValueError("kind is not that of alert")
        if self.active is not None and self.active != (self.alert in ALERTS):
            raise ValueError("active contradicts alert")

    def meaning(self) -> tuple[Kind, bool]:
        """The kind and whether it is active."""
        if self.alert is None:
            assert self.kind is not None
            return self.kind, self.active is not False
        return self.kind or ALERTS.get(self.alert, "cold"), self.alert in ALERTS


class ToldAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Central has taken it."""

    status: Literal["told"]
    kind: Kind
    active: bool
    covers: list[str]
    """Charge point or substations that it is about; empty: the whole site."""
