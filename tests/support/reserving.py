"""A reservation, and time that goes on towards it."""

from __future__ import annotations

from evcharge.domain import commands as c
from evcharge.ids import ConnectorNo, DriverId, SessionId
from evcharge.units import MS_PER_HOUR
from tests.support.scenario import BEN, CP, SITE_MS, Scenario

R = SessionId("r-1")
HOUR = MS_PER_HOUR


def reserve(
    name: str = R,
    driver_id: DriverId = BEN,
    from_h: float = 3,
    hours: float = 2,
    connector: int = 0,
    cp_id: str = CP,
    energy_wh: int | None = None,
) -> c.Reserve:
    return c.Reserve(
        reservation_id=SessionId(name),
        driver_id=driver_id,
        cp_id=cp_id,  # type: ignore[arg-type]  # a name in a test
        connector=ConnectorNo(connector),
        from_ms=round(SITE_MS + from_h * HOUR),
        until_ms=round(SITE_MS + (from_h + hours) * HOUR),
        energy_wh=energy_wh,
    )


def at(scenario: Scenario, hours: float) -> Scenario:
    """Time goes on to so many hours after the beginning."""
    scenario.pass_time(round(SITE_MS + hours * HOUR) - scenario.at_ms)
    return scenario
