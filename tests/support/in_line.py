"""Those who wait: how they come into the line, are served, and leave."""

from __future__ import annotations

from evcharge.domain import commands as c
from evcharge.domain import events as e
from evcharge.ids import DriverId, SessionId
from tests.support.one_session import ended
from tests.support.scenario import BEN, CP, Scenario, charging, connected, plug, request, site

CARLA, DORA = DriverId("carla"), DriverId("dora")
SERVE = c.ServeWaiting()


def wait(session_id: str, driver_id: DriverId, cp_id: str = CP, **more: object) -> c.RequestCharge:
    return request(session_id, cp_id, driver_id, wait=True, **more)  # type: ignore[arg-type]


def taken(capacity_w: int = 22_000, connectors: int = 1) -> Scenario:
    """Anna charges at the first connector."""
    return Scenario().given(site(capacity_w), *connected(connectors=connectors), *charging())


def leaves(scenario: Scenario, session_id: str = "s-1", meter_wh: int = 2_000) -> Scenario:
    """A session ends, and its vehicle goes."""
    return scenario.given(ended(meter_wh, session_id=session_id), plug(plugged=False))


def queued(scenario: Scenario) -> e.ChargeQueued:
    (event,) = scenario.events
    assert isinstance(event, e.ChargeQueued), event
    return event


# --- offers -----------------------------------------------------------------------------------------------------------


def offered(driver_id: DriverId = BEN) -> Scenario:
    """Ben waited, and holds the connector now; Carla waits behind him."""
    scenario = taken().given(wait("s-2", driver_id, energy_wh=5_000), wait("s-3", CARLA))
    return leaves(scenario).when(SERVE)


def lapse(scenario: Scenario, session_id: str) -> Scenario:
    scenario.pass_time(scenario.state.site.handover_ms)
    return scenario.when(c.PassDeadline(session_id=SessionId(session_id)))
