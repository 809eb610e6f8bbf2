"""Every refusal once, with the values at its border."""

from __future__ import annotations

import msgspec
import pytest

from evcharge.domain import commands as c
from evcharge.domain import effects as fx
from evcharge.domain import events as e
from evcharge.domain.reasons import objection_sentence
from evcharge.domain.refusals import RefusalReason, sentence
from evcharge.domain.sessions import MAX_ENERGY_WH, MAX_OPEN_SESSIONS, ON_THE_WAY_MS
from evcharge.domain.words import Hold
from evcharge.ids import ChargePointId, ConnectorNo, DriverId, NodeId, SessionId
from tests.support.one_session import ready
from tests.support.scenario import (
    ANNA,
    BEN,
    CP,
    MAIN,
    MIN_W,
    OTHER,
    SITE_MS,
    Scenario,
    charging,
    connected,
    engine_down,
    engine_up,
    monitor_down,
    monitor_up,
    plug,
    request,
    site,
    started,
)


def refused(scenario: Scenario, reason: RefusalReason) -> e.ChargeRefused:
    (event,) = scenario.events
    assert isinstance(event, e.ChargeRefused), event
    assert event.reason is reason
    scenario.told(fx.Denied)
    return event


def granted(scenario: Scenario) -> e.ChargeAuthorized:
    (event,) = scenario.events
    assert isinstance(event, e.ChargeAuthorized), event
    return event


def test_who_is_on_the_way_finds_it_kept_for_longer() -> None:
    scenario = Scenario().given(site(), *connected())
    (event,) = scenario.when(msgspec.structs.replace(request(), on_the_way=True)).events
    assert isinstance(event, e.ChargeAuthorized)
    assert event.expires_ms == SITE_MS + ON_THE_WAY_MS


def test_granted() -> None:
    scenario = ready().when(request(energy_wh=5_000, depart_by_ms=SITE_MS + 1))
    scenario.then(
        e.ChargeAuthorized(
            session_id=SessionId("s-1"),
            cp_id=CP,
            connector=ConnectorNo(1),
            driver_id=ANNA,
            substation_id=MAIN,
            min_w=MIN_W,
            max_w=11_040,
            energy_wh=5_000,
            depart_by_ms=SITE_MS + 1,
            expires_ms=SITE_MS + 60_000,
            command_id=1,
        )
    ).told(fx.Authorize, fx.Granted, fx.Wake)
    assert scenario.effect(fx.Wake).at_ms == SITE_MS + 60_000
    assert scenario.cp().connectors[ConnectorNo(1)].session_id == "s-1"


@pytest.mark.parametrize("energy_wh", [None, 1, MAX_ENERGY_WH])
def test_energy_in_range(energy_wh: int | None) -> None:
    assert MAX_ENERGY_WH == 1_000_000
    assert granted(ready().when(request(energy_wh=energy_wh))).energy_wh == energy_wh


@pytest.mark.parametrize("energy_wh", [0, -1, -(2**53), MAX_ENERGY_WH + 1, 2**53])
def test_energy_out_of_range(energy_wh: int) -> None:
    event = refused(ready().when(request(energy_wh=energy_wh)), RefusalReason.ENERGY_OUT_OF_RANGE)
    assert event.energy_wh == energy_wh


def test_departure_after_now() -> None:
    granted(ready().when(request(depart_by_ms=SITE_MS + 1)))


@pytest.mark.parametrize("depart_by_ms", [SITE_MS, SITE_MS - 1, 0, -(2**53)])
def test_departure_now_or_before(depart_by_ms: int) -> None:
    event = refused(ready().when(request(depart_by_ms=depart_by_ms)), RefusalReason.DEPARTURE_IN_PAST)
    assert event.depart_by_ms == depart_by_ms


def test_unknown_charge_point() -> None:
    refused(ready().when(request(cp_id=OTHER)), RefusalReason.UNKNOWN_CHARGE_POINT)


def test_unknown_connector() -> None:
    refused(ready().when(request(connector=2)), RefusalReason.UNKNOWN_CONNECTOR)


def test_busy_from_the_authorization_on() -> None:
    scenario = ready().given(request())
    for no in (0, 1):
        refused(scenario.when(request("s-2", connector=no, driver_id=BEN)), RefusalReason.BUSY)
        refused(scenario.when(request("s-2", connector=no)), RefusalReason.ALREADY_CHARGING)


def test_any_connector_prefers_the_one_with_a_vehicle() -> None:
    scenario = ready(connectors=3).given(plug(connector=2))
    assert granted(scenario.when(request("s-1"))).connector == 2
    assert granted(scenario.when(request("s-2"))).connector == 1
    assert granted(scenario.when(request("s-3"))).connector == 3


def test_broken_connector() -> None:
    broken = c.ReportStatus(cp_id=CP, connector=ConnectorNo(1), occupied=False, error="hot")
    scenario = ready(connectors=2).given(broken)
    refused(scenario.when(request(connector=1)), RefusalReason.OUT_OF_ORDER)
    assert granted(scenario.when(request(connector=0))).connector == 2


def test_disconnected() -> None:
    refused(ready().given(engine_down()).when(request()), RefusalReason.DISCONNECTED)


def test_disconnected_without_its_monitor() -> None:
    scenario = ready().given(monitor_up(), monitor_down())
    refused(scenario.when(request()), RefusalReason.DISCONNECTED)
    granted(scenario.given(monitor_up(fence=3)).when(request()))


def test_not_described_yet() -> None:
    refused(Scenario().given(site(), engine_up()).when(request()), RefusalReason.DISCONNECTED)


def test_out_of_order_by_a_fault() -> None:
    refused(ready().given(c.ReportFault(cp_id=CP, code="ko")).when(request()), RefusalReason.OUT_OF_ORDER)


def test_out_of_order_by_weather_while_another_connector_supplies() -> None:
    scenario = ready(connectors=2).given(*charging(), e.HoldPlaced(cp_id=CP, hold=Hold.WEATHER))
    refused(scenario.when(request("s-2", connector=2)), RefusalReason.WEATHER)


def test_stopped() -> None:
    refused(ready().given(c.StopChargePoints(cp_id=CP)).when(request()), RefusalReason.STOPPED)


def test_too_many_sessions_of_one_account() -> None:
    scenario = Scenario().given(site(10**6))
    for i in range(4):
        scenario.given(*connected(ChargePointId(f"cp-{i}"), connectors=32))
    assert MAX_OPEN_SESSIONS == 100
    for i in range(MAX_OPEN_SESSIONS):
        scenario.given(request(f"s-{i}", ChargePointId(f"cp-{i // 32}")))
    last = ChargePointId("cp-3")
    refused(scenario.when(request("one-more", last)), RefusalReason.TOO_MANY_SESSIONS)
    granted(scenario.when(request("anothers", last, BEN)))
    scenario.given(c.EndCharge(driver_id=ANNA, session_id=SessionId("s-0")))
    granted(scenario.when(request("one-more", last)))


def test_no_capacity_at_the_very_watt() -> None:
    scenario = ready(connectors=2, capacity_w=2 * MIN_W - 1).given(request())
    event = refused(scenario.when(request("s-2")), RefusalReason.NO_CAPACITY)
    assert (event.capacity_w, event.reserved_w) == (2 * MIN_W - 1, MIN_W)
    granted(scenario.given(c.SetCapacity(node_id=MAIN, capacity_w=2 * MIN_W)).when(request("s-2")))


def test_the_first_reason_is_told() -> None:
    """What is wrong with the wish itself comes before the state of the charge point."""
    scenario = ready(capacity_w=0).given(c.StopChargePoints(cp_id=CP))
    refused(scenario.when(request(cp_id=OTHER, energy_wh=0)), RefusalReason.UNKNOWN_CHARGE_POINT)
    refused(scenario.when(request(energy_wh=0, depart_by_ms=0)), RefusalReason.ENERGY_OUT_OF_RANGE)
    refused(scenario.when(request(depart_by_ms=0)), RefusalReason.DEPARTURE_IN_PAST)
    refused(scenario.when(request(connector=9)), RefusalReason.STOPPED)
    scenario.given(c.ResumeChargePoints(cp_id=CP))
    refused(scenario.when(request(connector=9)), RefusalReason.UNKNOWN_CONNECTOR)
    refused(scenario.when(request()), RefusalReason.NO_CAPACITY)


def request_refused(scenario: Scenario, request_: str, subject: str, reason: RefusalReason) -> None:
    (event,) = scenario.events
    assert isinstance(event, e.RequestRefused)
    assert (event.request, event.subject, event.reason) == (request_, subject, reason)
    (objection,) = event.against
    assert objection_sentence(objection)
    scenario.told(fx.Denied)
    assert scenario.effect(fx.Denied) == fx.Denied(reason=reason, subject=subject)


def end(session_id: str = "s-1", driver_id: DriverId = ANNA) -> c.EndCharge:
    return c.EndCharge(driver_id=driver_id, session_id=SessionId(session_id))


def test_ending_an_unknown_session() -> None:
    request_refused(ready().when(end("s-9")), "end_charge", "s-9", RefusalReason.UNKNOWN_SESSION)


def test_ending_somebody_elses_session() -> None:
    scenario = ready().given(*charging()).when(end(driver_id=BEN))
    request_refused(scenario, "end_charge", "s-1", RefusalReason.NOT_YOUR_SESSION)
    assert scenario.session().stop is None


def test_ending_a_session_that_is_over() -> None:
    """Expired with a start on its way, and settled without its meter: kept, but no longer the driver's."""
    scenario = ready().given(request(), plug(), c.Reallocate(node_id=MAIN))
    scenario.pass_time(60_000)
    scenario.given(c.PassDeadline(session_id=SessionId("s-1")))
    request_refused(scenario.when(end()), "end_charge", "s-1", RefusalReason.UNKNOWN_SESSION)
    scenario.given(started(), engine_down())
    scenario.pass_time(86_400_000)
    scenario.given(c.PassDeadline(session_id=SessionId("s-1")))
    request_refused(scenario.when(end()), "end_charge", "s-1", RefusalReason.UNKNOWN_SESSION)


@pytest.mark.parametrize("capacity_w", [0, 1, 1_000_000_000])
def test_capacity_in_range(capacity_w: int) -> None:
    scenario = ready().when(c.SetCapacity(node_id=MAIN, capacity_w=capacity_w))
    scenario.then_kinds(e.CapacityChanged).told(fx.Dirty)
    assert scenario.state.nodes[MAIN].capacity_w == capacity_w


@pytest.mark.parametrize("capacity_w", [-1, 1_000_000_001, 2**53])
def test_capacity_out_of_range(capacity_w: int) -> None:
    scenario = ready().when(c.SetCapacity(node_id=MAIN, capacity_w=capacity_w))
    request_refused(scenario, "set_capacity", MAIN, RefusalReason.CAPACITY_OUT_OF_RANGE)


def test_capacity_of_an_unknown_substation() -> None:
    scenario = ready().when(c.SetCapacity(node_id=NodeId("moon"), capacity_w=1))
    request_refused(scenario, "set_capacity", "moon", RefusalReason.UNKNOWN_SUBSTATION)


@pytest.mark.parametrize(
    ("command", "name"),
    [(c.StopChargePoints(cp_id=OTHER), "stop"), (c.ResumeChargePoints(cp_id=OTHER), "resume")],
)
def test_stopping_and_resuming_an_unknown_charge_point(command: c.Command, name: str) -> None:
    request_refused(ready().when(command), name, OTHER, RefusalReason.UNKNOWN_CHARGE_POINT)


def test_stopping_and_resuming_all_of_none() -> None:
    Scenario().given(site()).when(c.StopChargePoints(cp_id=None)).then()
    Scenario().given(site()).when(c.ResumeChargePoints(cp_id=None)).then()


@pytest.mark.parametrize("reason", RefusalReason)
def test_every_reason_has_its_sentence(reason: RefusalReason) -> None:
    for text in (sentence(reason, "cp-1"), sentence(reason)):
        assert text.endswith(".")
        assert "{" not in text
        assert text.count(". ") == 0


def test_a_refusal_changes_nothing_but_its_count() -> None:
    scenario = ready()
    before = msgspec.structs.replace(scenario.state.totals)
    scenario.when(request(energy_wh=0))
    before.refused += 1
    assert scenario.state.totals == before
    assert not scenario.state.sessions
