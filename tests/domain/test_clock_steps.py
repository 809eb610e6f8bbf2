"""What the drill of stepped clocks found (``python -m tools.drill clock``): wall clocks that jump or are wrong."""

from __future__ import annotations

from evcharge.domain import commands as c
from evcharge.domain import events as e
from evcharge.domain.words import StopCause
from evcharge.ids import SessionId
from evcharge.units import Millis, WattHours
from tests.support.scenario import CP, MAX_W, OTHER, Scenario, boot, charging, connected, engine_up, reallocate, site

HOUR_MS = 3_600_000
CAPACITY_W = 12_000


def test_what_may_still_flow_counts_after_a_restart_on_a_clock_that_is_ahead() -> None:
    """A charge point keeps its set-point by its own monotonic clock, whatever Central's wall clock did meanwhile."""
    scenario = Scenario().given(site(CAPACITY_W), *connected(), *connected(OTHER, 2), *charging())
    scenario.given(*charging("s-2", OTHER))
    for session_id in ("s-1", "s-2", "s-1"):
        session = scenario.session(session_id)
        assert session.lease.newest is not None
        number = session.lease.newest.command_id
        scenario.given(c.ReportResult(cp_id=session.cp_id, command_id=number, outcome="done"), reallocate())
    other = scenario.session("s-2").lease.newest
    assert other is not None
    assert other.limit_w > CAPACITY_W - MAX_W
    # Central is down for a second, and its clock is set right by four hours.
    scenario.pass_time(1_000 + 4 * HOUR_MS)
    scenario.given(site(CAPACITY_W), engine_up(fence=3), boot()).when(reallocate())
    raised = [event for event in scenario.events if isinstance(event, e.SetPointIssued)]
    newest = scenario.session("s-1").lease.newest
    assert newest is not None
    assert newest.limit_w + other.limit_w <= CAPACITY_W, raised


def test_a_charge_point_whose_clock_is_hours_behind_has_tickets_with_a_duration() -> None:
    scenario = Scenario().given(site(), *connected(), *charging()[:3])
    wrong_ms = 5 * HOUR_MS
    begun = c.ReportStarted(
        cp_id=CP, session_id=SessionId("s-1"), meter_wh=WattHours(0), at_ms=Millis(scenario.at_ms - wrong_ms)
    )
    scenario.given(begun).pass_time(60_000)
    scenario.when(
        c.ReportEnded(
            cp_id=CP,
            session_id=SessionId("s-1"),
            meter_wh=WattHours(100),
            reason=StopCause.TARGET_REACHED,
            at_ms=Millis(scenario.at_ms - wrong_ms),
        )
    )
    (ticket,) = (event.ticket for event in scenario.events if isinstance(event, e.TicketIssued))
    assert ticket.end_ms - ticket.start_ms == 60_000
    assert ticket.average_w == 6_000
