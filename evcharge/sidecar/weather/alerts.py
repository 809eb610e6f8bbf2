"""When the weather is an alert, and when it is over: pure, from the alerts before and one observation.

Each kind stands for itself. Between raising and clearing lies a band in which nothing changes, so that weather at the
edge does not switch charge points on and off. What is not known changes nothing: no observation, a provider that says
no gusts, and a first observation inside the band, after which it is still not known whether there is an alert.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from evcharge.sidecar.weather.observation import TEMPERATURE_C, WIND_M_S, Observation

Kind = Literal["cold", "heat", "wind", "storm"]
KINDS: Final[tuple[Kind, ...]] = ("cold", "heat", "wind", "storm")

# Gusts in open country are about this many times the mean wind. Where a provider says no gust, an alert is over only
# when even such a gust would be below the limit.
GUST_FACTOR: Final = 1.5


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where alerts begin and end."""

    cold_c: float = 0.0
    """Below it: water freezes in plugs and locks."""
    cold_clear_c: float = 1.0
    """From here on cold is over: a thermometer's error and the walk of an evening are below one degree."""
    heat_c: float = 40.0
    """Above it: what charge points are commonly rated for without derating (IEC 61851-1, outdoor)."""
    heat_clear_c: float = 38.0
    gust_m_s: float = 25.0
    """From here on: Beaufort 10, trees and signs fall."""
    gust_clear_m_s: float = 20.0
    """Below it wind is over: Beaufort 8."""
    storm_quiet_s: int = 1_800
    """A thunderstorm is over after half an hour without one, the rule for lightning outdoors."""

    def __post_init__(self) -> None:
        for name, least, most, bounds in (
            ("cold_clear_c", self.cold_c, self.cold_clear_c, TEMPERATURE_C),
            ("heat_clear_c", self.heat_clear_c, self.heat_c, TEMPERATURE_C),
            ("gust_clear_m_s", self.gust_clear_m_s, self.gust_m_s, WIND_M_S),
        ):
            if not bounds[0] <= least < most <= bounds[1]:
                raise ValueError(f"{name} has to leave a band between raising and clearing, within {bounds}")
        if self.cold_clear_c >= self.heat_clear_c:
            raise ValueError("cold_clear_c is below heat_clear_c")
        if self.storm_quiet_s < 0:
            raise ValueError("storm_quiet_s is 0 or more")


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How one kind stands."""

    active: bool | None = None
    """None: it is not known yet."""
    since_ms: int = 0
    """Site time of the observation that made it so."""
    quiet_ms: int | None = None
    """Storm only: the first observation without a thunderstorm since the last one with it."""


Standings = Mapping[Kind, Standing]

UNKNOWN: Final[Standings] = {kind: Standing() for kind in KINDS}


def judge(before: Standings, seen: Observation | None, limits: Limits) -> Standings:
    """The alerts after one observation; None is a provider's failure, and nothing changes."""
    if seen is None:
        return before
    celsius = seen.temperature_c
    felt = [speed for speed in (seen.wind_m_s, seen.gust_m_s) if speed is not None]
    return {
        "cold": _after(before["cold"], celsius < limits.cold_c, celsius >= limits.cold_clear_c, seen),
        "heat": _after(before["heat"], celsius > limits.heat_c, celsius <= limits.heat_clear_c, seen),
        "wind": _after(
            before["wind"], max(felt, default=0.0) >= limits.gust_m_s, _calm(seen, limits.gust_clear_m_s), seen
        ),
        "storm": _storm(before["storm"], seen, limits),
    }


def _after(before: Standing, raised: bool, cleared: bool, seen: Observation) -> Standing:
    active = True if raised else False if cleared else before.active
    return before if active == before.active else Standing(active=active, since_ms=seen.observed_ms)


def _calm(seen: Observation, below_m_s: float) -> bool:
    if seen.gust_m_s is not None:
        return max(seen.gust_m_s, seen.wind_m_s or 0.0) < below_m_s
    return seen.wind_m_s is not None and seen.wind_m_s * GUST_FACTOR < below_m_s


def _storm(before: Standing, seen: Observation, limits: Limits) -> Standing:
    if seen.thunderstorm is None:
        return before
    if seen.thunderstorm:
        return before if before.active and before.quiet_ms is None else _thunder(before, seen)
    quiet_ms = seen.observed_ms if before.quiet_ms is None else before.quiet_ms
    if before.active is not False and seen.observed_ms - quiet_ms >= limits.storm_quiet_s * 1000:
        return Standing(active=False, since_ms=seen.observed_ms, quiet_ms=quiet_ms)
    return msgspec.structs.replace(before, quiet_ms=quiet_ms)


def _thunder(before: Standing, seen: Observation) -> Standing:
    return Standing(active=True, since_ms=before.since_ms if before.active else seen.observed_ms)
