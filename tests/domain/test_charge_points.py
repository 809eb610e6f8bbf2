"""The state that people see, holds, and the transition table of features.md row by row."""

from __future__ import annotations

from itertools import combinations, permutations, product

import pytest

from evcharge.domain import commands as c
from evcharge.domain import effects as fx
from evcharge.domain import events as e
from evcharge.domain.decide import AnyCommand
from evcharge.domain.refusals import RefusalReason
from evcharge.domain.words import Hold, LinkState, Role, SessionStatus, Shown, StopCause
from evcharge.ids import SessionId
from tests.support.one_session import at_rest, ended, in_use, only_ticket
from tests.support.scenario import (
    ANNA,
    CP,
    MAIN,
    OTHER,
    Scenario,
    boot,
    charging,
    connected,
    engine_down,
    engine_up,
    monitor_down,
    plug,
    reallocate,
    request,
    site,
    started,
)

ALL_HOLDS = [set(some) for size in range(5) for some in combinations(Hold, size)]
ENGINE_LINKS = [LinkState.NEVER, LinkState.UP, LinkState.LOST]


# --- what is shown ----------------------------------------------------------------------------------------------------


def expected(engine: LinkState, monitor: LinkState, holds: set[Hold], *, supplying: bool) -> Shown:
    """features.md in its own order; the rows for a lost engine say when it is out of order instead."""
    monitor_silent = monitor in (LinkState.LOST, LinkState.AWAITED)
    reported_dead = monitor is LinkState.UP and Hold.FAULT in holds
    if monitor_silent or (engine is not LinkState.UP and not reported_dead):
        return Shown.DISCONNECTED
    if holds & {Hold.FAULT, Hold.REVOKED} or (holds & {Hold.WEATHER, Hold.DUPLICATE_ID} and not supplying):
        return Shown.OUT_OF_ORDER
    if Hold.ADMIN in holds:
        return Shown.STOPPED
    return Shown.SUPPLYING if supplying else Shown.ACTIVATED


@pytest.mark.parametrize("supplying", [False, True])
def test_first_that_applies(supplying: bool) -> None:
    scenario = in_use() if supplying else at_rest()
    charge_point = scenario.cp()
    for engine, monitor, holds in product(ENGINE_LINKS, LinkState, ALL_HOLDS):
        charge_point.engine.state, charge_point.monitor.state, charge_point.holds = engine, monitor, holds
        assert scenario.shown() is expected(engine, monitor, holds, supplying=supplying), (engine, monitor, holds)


def test_pausing_for_the_grid_is_no_state() -> None:
    scenario = in_use().given(c.ReportPaused(cp_id=CP, session_id=SessionId("s-1"), paused=True))
    assert scenario.session().status is SessionStatus.PAUSED
    assert scenario.shown() is Shown.SUPPLYING


def test_an_authorized_session_does_not_supply() -> None:
    assert at_rest().given(request()).shown() is Shown.ACTIVATED


# --- holds ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("first", "second"), list(permutations(Hold, 2)))
def test_a_hold_is_lifted_by_its_own_cause_only(first: Hold, second: Hold) -> None:
    scenario = at_rest()
    for hold in (first, second):
        scenario.given(e.HoldPlaced(cp_id=CP, hold=hold))
    assert scenario.cp().holds == {first, second}
    assert scenario.given(e.HoldLifted(cp_id=CP, hold=first)).cp().holds == {second}
    assert scenario.shown() is (Shown.STOPPED if second is Hold.ADMIN else Shown.OUT_OF_ORDER)
    assert scenario.given(e.HoldLifted(cp_id=CP, hold=first)).cp().holds == {second}
    assert scenario.given(e.HoldLifted(cp_id=CP, hold=second)).shown() is Shown.ACTIVATED


PLACES: dict[Hold, AnyCommand] = {
    Hold.FAULT: c.ReportFault(cp_id=CP, code="ko"),
    Hold.ADMIN: c.StopChargePoints(cp_id=CP),
    Hold.REVOKED: c.RevokePeer(role=Role.ENGINE, entity=CP, username="u-cp-1"),
}
LIFTS: dict[Hold, AnyCommand] = {
    Hold.FAULT: c.ReportRecovery(cp_id=CP),
    Hold.ADMIN: c.ResumeChargePoints(cp_id=CP),
    Hold.REVOKED: engine_up(fence=9),
}


@pytest.mark.parametrize(("one", "other"), list(product(PLACES, PLACES)))
def test_commands_place_and_lift_one_hold_each(one: Hold, other: Hold) -> None:
    scenario = at_rest().given(PLACES[one]).when(LIFTS[other])
    lifted = e.HoldLifted(cp_id=CP, hold=one)
    assert (lifted in scenario.events) is (one is other)
    assert scenario.cp().holds == (set() if one is other else {one})


@pytest.mark.parametrize("hold", PLACES)
def test_a_hold_is_placed_once(hold: Hold) -> None:
    scenario = in_use().given(PLACES[hold]).when(PLACES[hold])
    assert not any(isinstance(event, e.HoldPlaced | e.StopOrdered) for event in scenario.events)


@pytest.mark.parametrize("hold", [Hold.FAULT, Hold.ADMIN])
def test_lifting_what_is_not_there_changes_nothing(hold: Hold) -> None:
    at_rest().when(LIFTS[hold]).then()


def test_faults_and_recoveries_of_strangers_are_ignored() -> None:
    at_rest().when(c.ReportFault(cp_id=OTHER, code="ko")).then()
    at_rest().when(c.ReportRecovery(cp_id=OTHER)).then()


def test_a_fault_tells_its_code_and_detail() -> None:
    at_rest().when(c.ReportFault(cp_id=CP, code="ko")).then(e.HoldPlaced(cp_id=CP, hold=Hold.FAULT, detail="ko"))
    at_rest().when(c.ReportFault(cp_id=CP, code="ko", detail="3 misses")).then(
        e.HoldPlaced(cp_id=CP, hold=Hold.FAULT, detail="ko: 3 misses")
    )


# --- the transition table, row by row ---------------------------------------------------------------------------------


def test_engine_authenticated() -> None:
    """DISCONNECTED → whatever the holds imply."""
    scenario = at_rest().given(engine_down())
    assert scenario.shown() is Shown.DISCONNECTED
    scenario.when(engine_up(fence=3)).then_kinds(e.PeerConnected)
    assert scenario.shown() is Shown.ACTIVATED
    scenario.given(engine_down(fence=3), c.StopChargePoints(cp_id=CP)).when(engine_up(fence=4))
    assert scenario.shown() is Shown.STOPPED


def test_request_authorized() -> None:
    """ACTIVATED → session AUTHORIZED; AUTHORIZE to the charge point; expires in 60 s without plug-in."""
    scenario = at_rest().when(request()).told(fx.Authorize, fx.Granted, fx.Wake)
    assert scenario.session().status is SessionStatus.AUTHORIZED
    assert scenario.state.nodes[MAIN].reserved_w == 1_380
    scenario.pass_time(59_999)
    scenario.when(c.PassDeadline(session_id=SessionId("s-1"))).then()
    scenario.pass_time(1)
    scenario.when(c.PassDeadline(session_id=SessionId("s-1"))).then_kinds(e.AuthorizationExpired)
    scenario.told(fx.StopSupply, fx.SessionNews, fx.Dirty)
    assert not scenario.state.sessions
    assert scenario.state.nodes[MAIN].reserved_w == 0
    assert scenario.shown() is Shown.ACTIVATED


def test_supply_started() -> None:
    """ACTIVATED → SUPPLYING on plug-in; the driver is told."""
    scenario = at_rest().given(request(), plug()).when(reallocate()).told(fx.SetPoint, fx.SessionNews)
    assert scenario.shown() is Shown.ACTIVATED
    scenario.when(started()).then_kinds(e.SupplyStarted).told(fx.SessionNews)
    assert scenario.shown() is Shown.SUPPLYING


@pytest.mark.parametrize("reason", [StopCause.TARGET_REACHED, StopCause.UNPLUGGED, StopCause.VEHICLE_FULL])
def test_supply_ended(reason: StopCause) -> None:
    """SUPPLYING → ACTIVATED, exactly one ticket."""
    scenario = in_use().when(ended(reason=reason)).then_kinds(e.SupplyEnded, e.TicketIssued)
    assert scenario.shown() is Shown.ACTIVATED
    assert only_ticket(scenario) == (SessionStatus.COMPLETED, reason)
    scenario.when(ended(reason=reason)).then_kinds(e.AnomalySeen)


def test_driver_ends() -> None:
    """SUPPLYING → stop to the charge point → ACTIVATED, exactly one ticket."""
    scenario = in_use().when(c.EndCharge(driver_id=ANNA, session_id=SessionId("s-1")))
    scenario.then_kinds(e.StopOrdered).told(fx.StopSupply, fx.Granted, fx.SessionNews, fx.Wake)
    scenario.given(ended(reason=StopCause.DRIVER_ENDED))
    assert only_ticket(scenario) == (SessionStatus.COMPLETED, StopCause.DRIVER_ENDED)


def test_fault_while_supplying() -> None:
    """SUPPLYING → OUT_OF_ORDER: stop now, INTERRUPTED ticket, driver told, power released."""
    scenario = in_use().when(c.ReportFault(cp_id=CP, code="ko")).then_kinds(e.HoldPlaced, e.StopOrdered)
    scenario.told(fx.StopSupply, fx.SessionNews, fx.Wake)
    assert scenario.shown() is Shown.OUT_OF_ORDER
    scenario.when(ended(reason=StopCause.FAULT)).told(fx.TicketNews, fx.Dirty)
    assert only_ticket(scenario) == (SessionStatus.INTERRUPTED, StopCause.FAULT)
    assert scenario.worst_w() == 0
    assert scenario.shown() is Shown.OUT_OF_ORDER


def test_operator_stop_while_supplying() -> None:
    """SUPPLYING → STOPPED: stop now, INTERRUPTED ticket."""
    scenario = in_use().when(c.StopChargePoints(cp_id=CP)).then_kinds(e.HoldPlaced, e.StopOrdered)
    assert scenario.shown() is Shown.STOPPED
    scenario.given(ended(reason=StopCause.STOPPED))
    assert only_ticket(scenario) == (SessionStatus.INTERRUPTED, StopCause.STOPPED)


def test_weather_while_supplying() -> None:
    """Stays SUPPLYING, then OUT_OF_ORDER at the end."""
    scenario = in_use().given(e.HoldPlaced(cp_id=CP, hold=Hold.WEATHER))
    assert scenario.shown() is Shown.SUPPLYING
    assert scenario.session().stop is None
    assert scenario.given(ended()).shown() is Shown.OUT_OF_ORDER
    assert only_ticket(scenario) == (SessionStatus.COMPLETED, StopCause.UNPLUGGED)


@pytest.mark.parametrize(
    ("hold", "shown"),
    [(Hold.WEATHER, Shown.OUT_OF_ORDER), (Hold.ADMIN, Shown.STOPPED), (Hold.FAULT, Shown.OUT_OF_ORDER)],
)
def test_hold_while_free(hold: Hold, shown: Shown) -> None:
    """ACTIVATED → OUT_OF_ORDER / STOPPED / OUT_OF_ORDER, and derived again when it is lifted."""
    scenario = at_rest().given(e.HoldPlaced(cp_id=CP, hold=hold))
    assert scenario.shown() is shown
    assert scenario.given(e.HoldLifted(cp_id=CP, hold=hold)).shown() is Shown.ACTIVATED


def test_engine_lost_with_its_monitor_alive() -> None:
    """DISCONNECTED; the session goes on OFFLINE and is settled from the charge point's own journal."""
    scenario = in_use().when(engine_down()).told(fx.SessionNews, fx.Wake)
    assert scenario.shown() is Shown.DISCONNECTED
    assert scenario.session().status is SessionStatus.OFFLINE
    scenario.given(engine_up(fence=3)).when(boot()).then_kinds(e.ChargePointBooted, e.SessionOnline)
    assert scenario.shown() is Shown.SUPPLYING
    scenario.given(engine_down(fence=3), engine_up(fence=4)).given(ended())
    assert only_ticket(scenario) == (SessionStatus.COMPLETED, StopCause.UNPLUGGED)


def test_monitor_lost() -> None:
    """DISCONNECTED: a running session is stopped safely, none starts."""
    scenario = in_use().when(monitor_down()).then_kinds(e.PeerDisconnected, e.StopOrdered)
    assert scenario.shown() is Shown.DISCONNECTED
    scenario.given(ended(reason=StopCause.MONITOR_LOST))
    assert only_ticket(scenario) == (SessionStatus.INTERRUPTED, StopCause.MONITOR_LOST)
    assert scenario.when(request("s-2")).events[0].reason is RefusalReason.DISCONNECTED


def test_monitor_lost_ends_a_waiting_authorization() -> None:
    at_rest().given(request()).when(monitor_down()).then_kinds(e.PeerDisconnected, e.AuthorizationExpired)


def test_a_charge_point_without_any_monitor_may_charge() -> None:
    scenario = Scenario().given(site(), *connected(), *charging())
    assert scenario.shown() is Shown.SUPPLYING


def test_monitor_reports_the_engine_dead() -> None:
    """OUT_OF_ORDER, the link's own verdict beside it; INTERRUPTED once the final meter is known."""
    scenario = in_use().given(engine_down()).when(c.ReportFault(cp_id=CP, code="dead"))
    scenario.then_kinds(e.HoldPlaced, e.StopOrdered)
    assert scenario.shown() is Shown.OUT_OF_ORDER
    assert scenario.cp().engine.state is LinkState.LOST
    scenario.given(engine_up(fence=3)).when(boot()).told(fx.BootAck, fx.StopSupply, fx.Dirty, fx.SessionNews, fx.Wake)
    scenario.given(ended(reason=StopCause.ENGINE_RESTART))
    assert only_ticket(scenario) == (SessionStatus.INTERRUPTED, StopCause.FAULT)


def test_monitor_reports_the_engine_dead_and_it_never_comes_back() -> None:
    """INTERRUPTED from the last known meter after 24 h."""
    scenario = in_use().given(engine_down(), c.ReportFault(cp_id=CP, code="dead"))
    scenario.pass_time(86_399_999)
    scenario.when(c.PassDeadline(session_id=SessionId("s-1"))).then().told(fx.Wake)
    scenario.pass_time(1)
    scenario.when(c.PassDeadline(session_id=SessionId("s-1"))).then_kinds(e.TicketIssued)
    assert only_ticket(scenario) == (SessionStatus.INTERRUPTED, StopCause.FAULT)


# --- what a charge point says of itself -------------------------------------------------------------------------------


def test_a_connector_without_a_smallest_current_has_the_least_that_there_is() -> None:
    """Otherwise each of any number of sessions would fit into what is left."""
    scenario = Scenario().given(site(1_500), engine_up(), boot(connectors=2, min_w=0))
    assert [one.min_w for one in scenario.cp().connectors.values()] == [1_380, 1_380]
    scenario.given(request("s-1", connector=1))
    (refused,) = scenario.when(request("s-2", connector=2)).events
    assert isinstance(refused, e.ChargeRefused)
    assert refused.reason == "no_capacity"
    assert scenario.state.nodes[MAIN].reserved_w == 1_380


@pytest.mark.parametrize(("min_w", "max_w"), [(0, 1_379), (0, 0), (1_380, 1_379), (50_000, 11_040)])
def test_a_connector_that_can_do_less_than_its_smallest_current_is_none(min_w: int, max_w: int) -> None:
    scenario = Scenario().given(site(), engine_up()).when(boot(min_w=min_w, max_w=max_w))
    scenario.then_kinds(e.AnomalySeen, e.ChargePointBooted)
    assert not scenario.cp().connectors
    scenario.when(request()).then_kinds(e.ChargeRefused)
