"""Where tests of a session begin, and what its charge point may say of it."""

from __future__ import annotations

from evcharge.domain import commands as c
from evcharge.domain.state import Session, Ticket
from evcharge.domain.words import SessionStatus, StopCause
from evcharge.ids import ChargePointId, CommandId, SessionId
from evcharge.units import Millis, WattHours, Watts
from tests.support.scenario import (
    ANNA,
    CP,
    Scenario,
    charging,
    connected,
    engine_down,
    monitor_up,
    plug,
    reallocate,
    request,
    site,
)

S1 = SessionId("s-1")
DAY_MS = 86_400_000
DEADLINE = c.PassDeadline(session_id=S1)


def ready(capacity_w: int = 22_000, connectors: int = 1) -> Scenario:
    """A free charge point."""
    return Scenario().given(site(capacity_w), *connected(connectors=connectors))


def at_rest() -> Scenario:
    """A free charge point with a monitor."""
    return ready().given(monitor_up())


def in_use() -> Scenario:
    """The same, charging."""
    return at_rest().given(*charging())


def authorized() -> Scenario:
    """A session that waits for its vehicle."""
    return Scenario().given(site(), *connected(), request())


def start_sent() -> Scenario:
    """The vehicle is there and the start is on its way."""
    return authorized().given(plug(), reallocate())


def supplying() -> Scenario:
    """The contactor closed at 1,000 Wh."""
    return Scenario().given(site(), *connected(), *charging())


def expired_unheard() -> Scenario:
    """It lapsed while a start was on its way."""
    scenario = start_sent()
    scenario.pass_time(60_000)
    return scenario.given(DEADLINE)


def settled(meter_wh: int = 3_000) -> Scenario:
    """The charge point has been away for a day; the last known meter made the ticket."""
    scenario = supplying().given(sample(meter_wh), engine_down())
    scenario.pass_time(DAY_MS)
    return scenario.given(DEADLINE)


def sample(meter_wh: int, cp_id: ChargePointId = CP) -> c.ReportMeter:
    return c.ReportMeter(cp_id=cp_id, session_id=S1, meter_wh=WattHours(meter_wh), power_w=Watts(7_000))


def paused(*, paused: bool = True, meter_wh: int | None = None) -> c.ReportPaused:
    return c.ReportPaused(
        cp_id=CP, session_id=S1, paused=paused, meter_wh=None if meter_wh is None else WattHours(meter_wh)
    )


def ended(
    meter_wh: int = 3_000,
    reason: StopCause = StopCause.UNPLUGGED,
    at_ms: int | None = None,
    cp_id: ChargePointId = CP,
    session_id: str = S1,
    n: int | None = None,
) -> c.ReportEnded:
    return c.ReportEnded(
        cp_id=cp_id,
        session_id=SessionId(session_id),
        meter_wh=WattHours(meter_wh),
        reason=reason,
        at_ms=None if at_ms is None else Millis(at_ms),
        n=n,
    )


def result(command_id: int | None, outcome: str = "done", cp_id: ChargePointId = CP) -> c.ReportResult:
    assert command_id is not None
    return c.ReportResult(cp_id=cp_id, command_id=CommandId(command_id), outcome=outcome)


def ticket(scenario: Scenario) -> Ticket:
    """The newest one."""
    return scenario.state.drivers[ANNA].tickets[-1]


def only_ticket(scenario: Scenario) -> tuple[SessionStatus, StopCause]:
    """How the only session ended."""
    (one,) = scenario.state.drivers[ANNA].tickets
    return one.status, one.reason


def newest(session: Session) -> int:
    """The number of its newest set-point."""
    assert session.lease.newest is not None
    return session.lease.newest.command_id
