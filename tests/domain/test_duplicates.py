"""Two processes with one credential: what the domain does about it (SPEC §6.1)."""

from __future__ import annotations

import pytest

from evcharge.domain import commands as c
from evcharge.domain import events as e
from evcharge.domain.charge_points import owner_of_session
from evcharge.domain.refusals import RefusalReason
from evcharge.domain.words import Hold, Role, SessionStatus, Shown, StopCause
from evcharge.ids import ChargePointId, SessionId
from evcharge.units import WattHours
from tests.support.one_session import authorized, start_sent, supplying
from tests.support.scenario import CP, Scenario, connected, plug, reallocate, request, site

RAISE = c.RaiseDuplicate(role=Role.ENGINE, entity=CP)
CLEAR = c.ClearDuplicate(role=Role.ENGINE, entity=CP)


def kinds(scenario: Scenario) -> list[str]:
    return [type(event).__name__ for event in scenario.events]


def test_nothing_begins_while_the_alarm_stands() -> None:
    scenario = Scenario().given(site(), *connected(), plug()).when(RAISE)
    assert kinds(scenario) == ["IncidentRaised", "HoldPlaced"]
    assert scenario.shown() is Shown.OUT_OF_ORDER
    scenario.when(request())
    (refused,) = scenario.events
    assert isinstance(refused, e.ChargeRefused) and refused.reason is RefusalReason.DUPLICATE_ID


def test_who_waits_for_a_vehicle_is_sent_away() -> None:
    scenario = authorized().when(RAISE)
    assert kinds(scenario) == ["IncidentRaised", "HoldPlaced", "AuthorizationExpired"]
    ended = scenario.events[-1]
    assert isinstance(ended, e.AuthorizationExpired) and ended.cause is StopCause.DUPLICATE_ID
    assert not ended.start_pending and not scenario.state.sessions


def test_a_start_that_is_on_its_way_is_called_back() -> None:
    """It may have begun unheard: then it is a session, with its end already ordered."""
    scenario = start_sent().given(RAISE)
    assert scenario.session().status is SessionStatus.EXPIRED
    scenario.given(c.ReportStarted(cp_id=CP, session_id=SessionId("s-1"), meter_wh=WattHours(0)))
    session = scenario.session()
    assert session.status is SessionStatus.SUPPLYING and session.stop is StopCause.DUPLICATE_ID


def test_what_runs_goes_on_and_is_shared_power() -> None:
    scenario = supplying().when(RAISE)
    assert kinds(scenario) == ["IncidentRaised", "HoldPlaced"]
    assert scenario.session().stop is None and scenario.shown() is Shown.SUPPLYING
    scenario.pass_time(20_000)
    scenario.when(reallocate())
    assert [type(event) for event in scenario.events] == [e.SetPointIssued], "its lease is renewed"


def test_the_owner_is_the_process_that_reported_the_start() -> None:
    scenario = supplying()
    boot_id = scenario.cp().engine.boot_id
    assert owner_of_session(scenario.state, CP) == boot_id
    assert owner_of_session(Scenario().given(site(), *connected()).state, CP) is None
    assert owner_of_session(scenario.state, ChargePointId("nowhere")) is None


def test_a_second_alarm_is_only_said() -> None:
    scenario = authorized().given(RAISE).when(RAISE)
    assert kinds(scenario) == ["IncidentRaised"]


def test_when_it_is_over_only_this_hold_is_lifted() -> None:
    scenario = Scenario().given(site(), *connected(), RAISE, c.StopChargePoints(cp_id=CP)).when(CLEAR)
    (lifted,) = scenario.events
    assert isinstance(lifted, e.HoldLifted) and lifted.hold is Hold.DUPLICATE_ID
    assert scenario.cp().holds == {Hold.ADMIN}
    assert not scenario.when(CLEAR).events


@pytest.mark.parametrize("role", [Role.DRIVER, Role.OPERATOR, Role.CONSOLE])
def test_others_are_only_reported(role: Role) -> None:
    """A driver may be called like a charge point."""
    scenario = authorized().when(c.RaiseDuplicate(role=role, entity=CP))
    assert kinds(scenario) == ["IncidentRaised"]
    assert not scenario.when(c.ClearDuplicate(role=role, entity=CP)).events
    assert scenario.session().status is SessionStatus.AUTHORIZED


def test_a_charge_point_that_central_has_never_seen_is_only_reported() -> None:
    scenario = Scenario().given(site()).when(RAISE)
    assert kinds(scenario) == ["IncidentRaised"]
    assert not scenario.when(CLEAR).events
