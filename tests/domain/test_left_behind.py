"""A vehicle that stands there though its session is over: whose it is, who may charge there, and who waits."""

from __future__ import annotations

import msgspec
import pytest

from evcharge.domain import commands as c
from evcharge.domain import effects as fx
from evcharge.domain import events as e
from evcharge.domain.line import LINGERING_MS, in_order
from evcharge.domain.reasons import Obstacle, objection_sentence
from evcharge.domain.refusals import RefusalReason, sentence
from evcharge.domain.waiting_views import all_waiting
from evcharge.domain.words import StopCause
from evcharge.ids import ConnectorNo, DriverId, SessionId
from evcharge.units import WattHours, Watts
from tests.support.in_line import CARLA, DORA, SERVE, lapse, queued, taken, wait
from tests.support.one_session import ended
from tests.support.scenario import (
    ANNA,
    BEN,
    CP,
    MAIN,
    MIN_W,
    OTHER,
    Scenario,
    boot,
    charging,
    connected,
    engine_up,
    plug,
    reallocate,
    request,
    site,
    started,
)


def names(scenario: Scenario) -> list[str]:
    return [one.waiting_id for one in in_order(scenario.state, scenario.at_ms)]


def test_a_vehicle_that_was_left_behind_is_nobody_elses() -> None:
    """Else its energy would be billed to whoever waited."""
    scenario = taken().given(wait("s-2", BEN))
    reason = StopCause.TARGET_REACHED
    ended = c.ReportEnded(cp_id=CP, session_id=SessionId("s-1"), meter_wh=WattHours(2_000), reason=reason, at_ms=None)
    scenario.given(ended).when(SERVE).then()
    (view,) = all_waiting(scenario.state, scenario.at_ms)
    assert (view.reason, view.eta_ms) == ("busy", scenario.at_ms + LINGERING_MS)
    scenario.when(plug(plugged=False)).told(fx.Dirty)
    scenario.when(SERVE).then_kinds(e.ChargeAuthorized, e.ChargeOffered)


def left_behind() -> Scenario:
    """Anna's vehicle is full and stands there; Ben waits for the connector, Carla after him."""
    scenario = taken().given(wait("s-2", BEN), wait("s-3", CARLA))
    return scenario.given(ended(2_000, StopCause.TARGET_REACHED))


@pytest.mark.parametrize("driver_id", [BEN, CARLA, DORA])
@pytest.mark.parametrize("on_the_way", [False, True])
def test_a_vehicle_that_was_left_behind_is_charged_for_nobody_else(driver_id: DriverId, on_the_way: bool) -> None:
    """Whoever asks, the first in line too: its owner would not pay, and he would."""
    asks = msgspec.structs.replace(request("s-9", CP, driver_id), on_the_way=on_the_way)
    scenario = left_behind().when(asks)
    (event,) = scenario.events
    assert isinstance(event, e.ChargeRefused)
    assert event.reason is RefusalReason.BUSY
    assert [one.obstacle for one in event.against] == [Obstacle.LEFT_BEHIND, Obstacle.LINE]
    denied = scenario.effect(fx.Denied)
    assert isinstance(denied, fx.Denied)
    assert "vehicle whose charge is over" in objection_sentence(*denied.against)
    scenario.given(plug(plugged=False)).when(SERVE).then_kinds(e.ChargeAuthorized, e.ChargeOffered)
    assert scenario.session("s-2").driver_id == BEN


def test_who_finds_a_vehicle_left_behind_waits_until_it_has_gone() -> None:
    scenario = taken().given(ended(2_000, StopCause.TARGET_REACHED))
    event = queued(scenario.when(wait("s-2", BEN)))
    assert (event.reason, event.against[0].obstacle) == (RefusalReason.BUSY, Obstacle.LEFT_BEHIND)
    scenario.when(SERVE).then()
    scenario.given(plug(plugged=False), plug())
    scenario.when(SERVE).then_kinds(e.ChargeAuthorized, e.ChargeOffered)


def test_whose_vehicle_stands_there_has_it_though_others_wait_for_the_connector() -> None:
    """They cannot have it before it has gone anyway."""
    scenario = left_behind().when(request("s-9", CP, ANNA)).then_kinds(e.ChargeAuthorized)
    scenario.given(reallocate()).when(started("s-9", 2_000)).then_kinds(e.SupplyStarted)
    assert names(scenario) == ["s-2", "s-3"]


def test_what_those_before_him_need_of_the_power_is_not_his() -> None:
    scenario = short_of_power().given(engine_up(OTHER, 5), boot(OTHER), wait("s-2", BEN, OTHER), wait("s-3", ANNA))
    scenario.given(e.CapacityChanged(substation_id=MAIN, capacity_w=Watts(MIN_W + 10)))
    (event,) = scenario.when(request("s-9", CP, ANNA)).events
    assert isinstance(event, e.ChargeRefused)
    assert event.reason is RefusalReason.NO_CAPACITY, "not that she waits for her own connector"
    scenario.when(SERVE).then_kinds(e.ChargeAuthorized, e.ChargeOffered)
    assert scenario.session("s-2").driver_id == BEN


def short_of_power(connectors: int = 1) -> Scenario:
    """Anna's vehicle is full and stands there; then the site loses its power, and she asks for some more."""
    scenario = taken(connectors=connectors).given(ended(2_000, StopCause.TARGET_REACHED))
    return scenario.given(e.CapacityChanged(substation_id=MAIN, capacity_w=Watts(MIN_W - 1)))


def power_back(scenario: Scenario) -> Scenario:
    return scenario.given(e.CapacityChanged(substation_id=MAIN, capacity_w=Watts(22_000)))


def test_who_lacks_only_power_at_his_own_vehicle_is_served_when_it_is_back() -> None:
    """Nobody waits for his own vehicle to go."""
    assert queued(short_of_power().when(wait("s-2", ANNA))).reason is RefusalReason.NO_CAPACITY
    scenario = short_of_power().given(wait("s-2", ANNA), wait("s-3", BEN))
    (own, others) = all_waiting(scenario.state, scenario.at_ms)
    assert (own.reason, others.reason) == ("no_capacity", "busy")
    scenario.when(SERVE).then()
    power_back(scenario).when(SERVE).then_kinds(e.ChargeAuthorized, e.ChargeOffered)
    assert scenario.session("s-2").driver_id == ANNA
    (told, *_) = scenario.when(reallocate()).events
    assert isinstance(told, e.SetPointIssued) and told.start_valid_ms is not None, "it begins at once"
    scenario.when(started("s-2", 2_000)).then_kinds(e.SupplyStarted, e.QueueLeft)


def test_who_asks_in_person_for_what_he_waits_for_has_his_place() -> None:
    scenario = power_back(short_of_power().given(wait("s-2", ANNA), wait("s-3", BEN)))
    scenario.when(request("s-9", CP, ANNA)).then_kinds(e.ChargeAuthorized, e.ChargeOffered)
    assert scenario.state.waiting[SessionId("s-2")].offer == "s-2"


def test_an_error_that_comes_and_goes_changes_no_owner() -> None:
    """Ben came later, elsewhere: he does not get the power that Anna was first for."""
    scenario = short_of_power().given(engine_up(OTHER, 5), boot(OTHER), wait("s-2", ANNA), wait("s-3", BEN, OTHER))
    for error in ("EVCommunicationError", None):
        scenario.given(c.ReportStatus(cp_id=CP, connector=ConnectorNo(1), occupied=True, error=error))
    scenario.given(e.CapacityChanged(substation_id=MAIN, capacity_w=Watts(MIN_W + 10)))
    scenario.when(SERVE).then_kinds(e.ChargeAuthorized, e.ChargeOffered)
    assert scenario.session("s-2").driver_id == ANNA


def test_who_asked_while_his_session_was_ending_is_served_at_his_own_vehicle() -> None:
    scenario = taken().given(c.EndCharge(driver_id=ANNA, session_id=SessionId("s-1")))
    assert queued(scenario.when(wait("s-2", ANNA))).reason is RefusalReason.BUSY
    scenario.given(ended(2_000, StopCause.DRIVER_ENDED))
    scenario.when(SERVE).then_kinds(e.ChargeAuthorized, e.ChargeOffered)
    assert (scenario.session("s-2").driver_id, scenario.session("s-2").connector) == (ANNA, 1)


def test_who_waits_from_home_does_not_own_what_stands_there() -> None:
    scenario = short_of_power().given(wait("s-2", BEN))
    power_back(scenario).when(SERVE).then()
    scenario.when(request("s-9", CP, ANNA)).then_kinds(e.ChargeAuthorized)


@pytest.mark.parametrize("gives_up", [True, False])
def test_an_offer_that_never_began_leaves_the_vehicle_its_owners(gives_up: bool) -> None:
    scenario = power_back(short_of_power().given(wait("s-2", ANNA), wait("s-3", BEN))).given(SERVE)
    if gives_up:
        scenario.given(c.LeaveQueue(driver_id=ANNA, waiting_id=SessionId("s-2")))
        scenario.when(SERVE).then()
    else:
        lapse(scenario, "s-2").then_kinds(e.AuthorizationExpired, e.OfferEnded)
        scenario.when(SERVE).then_kinds(e.ChargeAuthorized, e.ChargeOffered)
        assert scenario.session("s-2.2").driver_id == ANNA
        lapse(scenario, "s-2.2").when(SERVE).then()
    assert names(scenario) == ["s-3"]
    scenario.given(plug(plugged=False)).when(SERVE).then_kinds(e.ChargeAuthorized, e.ChargeOffered)
    assert scenario.session("s-3").driver_id == BEN


@pytest.mark.parametrize("waits", [True, False])
def test_the_connector_of_his_own_vehicle_is_preferred_to_that_of_a_strangers(waits: bool) -> None:
    scenario = Scenario().given(site(), *connected(connectors=2), *charging(connector=2))
    scenario.given(ended(2_000, StopCause.TARGET_REACHED))
    if waits:
        scenario.given(e.CapacityChanged(substation_id=MAIN, capacity_w=Watts(MIN_W - 1)), wait("s-2", ANNA))
    scenario.given(plug(connector=1))
    power_back(scenario).when(SERVE if waits else request("s-2", CP, ANNA))
    assert scenario.session("s-2").connector == 2


def test_while_his_own_is_out_of_order_he_is_not_given_a_strangers() -> None:
    scenario = Scenario().given(site(), *connected(connectors=2), *charging(connector=2))
    scenario.given(ended(2_000, StopCause.TARGET_REACHED), plug(connector=1))
    scenario.given(c.ReportStatus(cp_id=CP, connector=ConnectorNo(2), occupied=True, error="ko"))
    (event,) = scenario.when(request("s-2", CP, ANNA)).events
    assert isinstance(event, e.ChargeRefused)
    assert event.reason is RefusalReason.OUT_OF_ORDER
    scenario.given(plug(connector=1, plugged=False))
    scenario.when(request("s-2", CP, ANNA)).then_kinds(e.ChargeAuthorized)
    assert scenario.session("s-2").connector == 1, "an empty one: she can move there"


def test_another_vehicle_is_not_hers() -> None:
    """Hers goes, and one comes that a session of Dora's leaves behind: it is not charged on Anna's account."""
    scenario = short_of_power().given(wait("s-2", ANNA), plug(plugged=False), plug())
    assert scenario.cp().connectors[ConnectorNo(1)].left_by is None
    scenario.state.charge_points[CP].connectors[ConnectorNo(1)].left_by = DORA
    power_back(scenario).when(SERVE).then()
    (view,) = all_waiting(scenario.state, scenario.at_ms)
    assert view.reason == "busy"


def test_a_session_that_never_began_makes_nobody_the_owner() -> None:
    scenario = Scenario().given(site(), *connected(), plug(), request("s-1", CP, BEN))
    scenario.given(c.EndCharge(driver_id=BEN, session_id=SessionId("s-1")))
    scenario.when(request("s-2", CP, CARLA)).then_kinds(e.ChargeAuthorized)


def test_whose_it_is_is_forgotten_when_his_next_session_begins() -> None:
    scenario = power_back(short_of_power()).given(request("s-2", CP, ANNA))
    assert scenario.cp().connectors[ConnectorNo(1)].left_by == ANNA
    scenario.given(reallocate(), started("s-2", 2_000))
    assert scenario.cp().connectors[ConnectorNo(1)].left_by is None


@pytest.mark.parametrize("waits", [True, False])
def test_nobody_waits_behind_himself(waits: bool) -> None:
    """His own session has all that he asks for: it is not in use by others, and trying again brings nothing."""
    asks = msgspec.structs.replace(request("s-2", CP, ANNA), wait=waits)
    for scenario in (taken(), Scenario().given(site(), *connected(), request())):
        (event,) = scenario.when(asks).events
        assert isinstance(event, e.ChargeRefused)
        assert event.reason is RefusalReason.ALREADY_CHARGING
        assert [one.obstacle for one in event.against] == [Obstacle.OWN]
        denied = scenario.effect(fx.Denied)
        assert isinstance(denied, fx.Denied)
        assert (denied.against, denied.retry_after_s) == ((), None)
    assert sentence(event.reason, CP) == "Your own session has cp-1 already; plug in there if it has not begun."


def test_for_a_connector_that_somebody_else_has_he_may_wait() -> None:
    scenario = taken(connectors=2).given(request("s-0", connector=2, driver_id=BEN))
    event = queued(scenario.when(wait("s-2", ANNA)))
    assert [one.obstacle for one in event.against] == [Obstacle.OWN, Obstacle.IN_USE]
