"""The line: who comes into it, who is next, what an offer is, and how waiting ends."""

from __future__ import annotations

import pytest

from evcharge.domain import commands as c
from evcharge.domain import effects as fx
from evcharge.domain import events as e
from evcharge.domain import waiting as module
from evcharge.domain.decide import AnyCommand
from evcharge.domain.line import PATIENCE_MS, in_order
from evcharge.domain.openings import TYPICAL_STAY_MS
from evcharge.domain.reasons import Constraint, Obstacle
from evcharge.domain.refusals import RefusalReason
from evcharge.domain.waiting import MAX_WAIT_MS
from evcharge.domain.waiting_views import all_waiting
from evcharge.domain.words import LeftCause, Role, SessionStatus, StopCause
from evcharge.ids import ConnectorNo, DriverId, SessionId
from evcharge.units import WattHours, Watts
from tests.support.in_line import CARLA, DORA, SERVE, lapse, leaves, offered, queued, taken, wait
from tests.support.scenario import (
    ANNA,
    BEN,
    CP,
    MIN_W,
    OTHER,
    SITE_MS,
    Scenario,
    boot,
    charging,
    connected,
    engine_down,
    engine_up,
    monitor_down,
    monitor_up,
    plug,
    reallocate,
    replayed,
    request,
    site,
    started,
)

EMIL = DriverId("emil")


def names(scenario: Scenario) -> list[str]:
    return [one.waiting_id for one in in_order(scenario.state, scenario.at_ms)]


# --- into the line ----------------------------------------------------------------------------------------------------


def test_who_finds_the_connector_taken_waits_and_is_told_his_place() -> None:
    scenario = taken().when(wait("s-2", BEN, energy_wh=5_000))
    event = queued(scenario)
    assert (event.reason, event.place, event.against[0].obstacle) == (RefusalReason.BUSY, 1, Obstacle.IN_USE)
    scenario.told(fx.Queued, fx.Wake)
    answer = scenario.effect(fx.Queued)
    assert isinstance(answer, fx.Queued)
    assert (answer.waiting.state, answer.waiting.place, answer.waiting.eta_ms) == ("WAITING", 1, event.eta_ms)
    assert queued(scenario.when(wait("s-3", CARLA))).place == 2


def test_who_finds_no_power_waits_for_that() -> None:
    scenario = Scenario().given(site(MIN_W + 500), *connected(), *charging(), engine_up(OTHER, 5), boot(OTHER))
    event = queued(scenario.when(wait("s-2", BEN, OTHER)))
    assert event.reason is RefusalReason.NO_CAPACITY
    assert event.basis is not None
    assert event.basis.bound.constraint is Constraint.MINIMA
    leaves(scenario)
    scenario.when(SERVE).then_kinds(e.ChargeAuthorized, e.ChargeOffered)


def both_taken() -> Scenario:
    """Anna charges here, Dora at the other one."""
    scenario = taken(44_000).given(engine_up(OTHER, 5), boot(OTHER))
    return scenario.given(request("s-9", OTHER, DORA), plug(cp_id=OTHER), started("s-9", cp_id=OTHER))


def test_who_does_not_care_waits_for_whatever_is_free_first() -> None:
    scenario = both_taken().when(wait("s-2", BEN, c.ANYWHERE))
    event = queued(scenario)
    assert (event.reason, event.place) == (RefusalReason.BUSY, 1)
    assert event.eta_ms is not None
    leaves(scenario)
    scenario.when(SERVE).then_kinds(e.ChargeAuthorized, e.ChargeOffered)
    assert scenario.state.sessions[SessionId("s-2")].cp_id == CP
    (view,) = all_waiting(scenario.state, scenario.at_ms)
    assert (view.state, view.cp_id, view.connector) == ("OFFERED", CP, 1)


def test_who_does_not_care_comes_in_turn_with_those_who_do() -> None:
    scenario = both_taken().given(wait("s-2", BEN), wait("s-3", CARLA, c.ANYWHERE))
    assert [view.place for view in all_waiting(scenario.state, scenario.at_ms)] == [1, 2]
    leaves(scenario)
    scenario.given(SERVE)
    assert {one.waiting_id: one.offer for one in scenario.state.waiting.values()} == {"s-2": "s-2", "s-3": None}
    scenario.when(request("s-4", c.ANYWHERE, ANNA))
    assert isinstance(scenario.events[0], e.ChargeRefused), "nobody overtakes"


def test_who_does_not_care_asks_twice_and_waits_once() -> None:
    scenario = both_taken().given(wait("s-2", BEN, c.ANYWHERE))
    assert scenario.when(wait("s-3", BEN, c.ANYWHERE)).events == []
    assert scenario.when(request("s-3", c.ANYWHERE, BEN, wait=True)).events == []
    scenario.told(fx.Queued)


def test_several_offers_that_end_at_once() -> None:
    scenario = both_taken().given(wait("s-2", BEN, c.ANYWHERE), wait("s-3", CARLA, c.ANYWHERE))
    leaves(scenario)
    ended = c.ReportEnded(
        cp_id=OTHER, session_id=SessionId("s-9"), meter_wh=WattHours(2_000), reason=StopCause.UNPLUGGED, at_ms=None
    )
    scenario.given(ended, plug(cp_id=OTHER, plugged=False), SERVE, c.StopChargePoints(cp_id=None))
    assert [one.offer for one in scenario.state.waiting.values()] == [None, None]


def test_whoever_does_not_ask_to_wait_is_refused_as_ever() -> None:
    (event,) = taken().when(request("s-2", driver_id=BEN)).events
    assert isinstance(event, e.ChargeRefused)
    assert event.reason is RefusalReason.BUSY


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (wait("s-2", BEN, "cp-9"), RefusalReason.UNKNOWN_CHARGE_POINT),
        (wait("s-2", BEN, connector=7), RefusalReason.UNKNOWN_CONNECTOR),
        (wait("s-2", BEN, energy_wh=0), RefusalReason.ENERGY_OUT_OF_RANGE),
        (wait("s-2", BEN, depart_by_ms=SITE_MS), RefusalReason.DEPARTURE_IN_PAST),
    ],
)
def test_nobody_waits_for_what_waiting_does_not_bring(command: c.RequestCharge, reason: RefusalReason) -> None:
    (event,) = taken().when(command).events
    assert isinstance(event, e.ChargeRefused)
    assert event.reason is reason


def test_the_same_wish_again_is_a_retry() -> None:
    scenario = taken().given(wait("s-2", BEN))
    scenario.when(wait("s-3", BEN)).then().told(fx.Queued)
    answer = scenario.effect(fx.Queued)
    assert isinstance(answer, fx.Queued) and answer.waiting.waiting_id == "s-2"
    leaves(scenario).given(SERVE)
    scenario.when(request("s-4", driver_id=BEN)).then().told(fx.Granted)
    granted = scenario.effect(fx.Granted)
    assert isinstance(granted, fx.Granted) and granted.session.session_id == "s-2"


def test_the_line_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 2)
    scenario = taken().given(wait("s-2", BEN), wait("s-3", CARLA))
    (event,) = scenario.when(wait("s-4", DORA)).events
    assert isinstance(event, e.ChargeRefused)
    assert event.reason is RefusalReason.QUEUE_FULL
    assert (event.against[0].value, event.against[0].limit) == (2, 2)


def test_places_count_as_sessions_of_an_account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_OPEN_SESSIONS", 2)
    scenario = taken(connectors=2).given(request("s-0", connector=2, driver_id=CARLA))
    scenario.given(wait("s-2", BEN, connector=1), wait("s-3", BEN, connector=2))
    (event,) = scenario.when(wait("s-4", BEN)).events
    assert isinstance(event, e.ChargeRefused)
    assert event.reason is RefusalReason.TOO_MANY_SESSIONS


# --- order ------------------------------------------------------------------------------------------------------------


def test_first_come_first_served_but_who_has_one_comes_behind_who_has_none() -> None:
    scenario = taken().given(engine_up(OTHER, 5), boot(OTHER), request("s-0", OTHER, EMIL))
    scenario.given(wait("s-2", EMIL, connector=1), wait("s-3", BEN), wait("s-4", CARLA))
    assert names(scenario) == ["s-3", "s-4", "s-2"], "emil charges already"
    scenario.given(wait("s-5", BEN, connector=1), wait("s-6", DORA))
    assert names(scenario) == ["s-3", "s-4", "s-6", "s-2", "s-5"], "ben waits at another place as well"
    scenario.pass_time(PATIENCE_MS)
    assert names(scenario) == ["s-2", "s-3", "s-4", "s-5", "s-6"], "after an hour all have the same right"


def test_nobody_overtakes_between_the_end_and_the_offer() -> None:
    scenario = taken().given(wait("s-2", BEN))
    leaves(scenario)
    (event,) = scenario.when(request("s-3", driver_id=CARLA)).events
    assert isinstance(event, e.ChargeRefused)
    assert event.reason is RefusalReason.BUSY
    assert [one.obstacle for one in event.against] == [Obstacle.LINE]
    assert queued(scenario.when(wait("s-4", CARLA))).place == 2
    offered = scenario.when(SERVE).events[1]
    assert isinstance(offered, e.ChargeOffered) and offered.waiting_id == "s-2"


def test_who_lacks_only_power_keeps_his_connector_and_what_there_is_of_power() -> None:
    """A smaller one behind him would fit: he would wait for ever."""
    scenario = Scenario().given(site(4_000), *connected(), *charging())
    scenario.given(engine_up(OTHER, 5), c.BootChargePoint(cp_id=OTHER, connectors=_ratings(3_000, 1_400)))
    scenario.given(wait("s-2", BEN, OTHER, connector=1))
    assert queued(scenario.when(wait("s-3", CARLA, OTHER, connector=2))).reason is RefusalReason.NO_CAPACITY
    scenario.when(SERVE).then()
    leaves(scenario)
    first = scenario.when(SERVE).events[1]
    assert isinstance(first, e.ChargeOffered) and first.waiting_id == "s-2"


def _ratings(*min_w: int) -> tuple[c.ConnectorRating, ...]:
    return tuple(c.ConnectorRating(ConnectorNo(no), Watts(each), Watts(11_000)) for no, each in enumerate(min_w, 1))


def test_an_offer_is_an_authorized_session_that_holds_the_connector() -> None:
    scenario = offered()
    scenario.then_kinds(e.ChargeAuthorized, e.ChargeOffered)
    session = scenario.session("s-2")
    assert (session.status, session.requested_wh) == (SessionStatus.AUTHORIZED, 5_000)
    assert session.expires_ms == scenario.at_ms + scenario.state.site.handover_ms
    news = scenario.effect(fx.WaitingNews)
    assert isinstance(news, fx.WaitingNews)
    assert (news.waiting.state, news.waiting.session_id) == ("OFFERED", "s-2")
    assert news.waiting.offered_until_ms == session.expires_ms
    (event,) = scenario.when(request("s-9", driver_id=DORA)).events
    assert isinstance(event, e.ChargeRefused) and event.reason is RefusalReason.BUSY
    scenario.when(SERVE).then()


def test_who_plugs_in_is_served() -> None:
    scenario = offered().given(plug(), reallocate())
    scenario.when(started("s-2", 2_000)).then_kinds(e.SupplyStarted, e.QueueLeft)
    left = scenario.events[1]
    assert isinstance(left, e.QueueLeft) and left.cause is LeftCause.SERVED
    assert names(scenario) == ["s-3"]


def test_a_no_show_lets_the_next_one_pass_and_the_second_time_is_out() -> None:
    scenario = lapse(offered(), "s-2")
    scenario.then_kinds(e.AuthorizationExpired, e.OfferEnded)
    ended = scenario.events[1]
    assert isinstance(ended, e.OfferEnded)
    assert (ended.missed, ended.behind, ended.cause) == (1, "s-3", StopCause.EXPIRED)
    assert names(scenario) == ["s-3", "s-2"]
    assert any(isinstance(effect, fx.WaitingNews) for effect in scenario.effects), "he is told"
    assert scenario.when(SERVE).events[1] == e.ChargeOffered(
        waiting_id=SessionId("s-3"), session_id=SessionId("s-3"), until_ms=scenario.session("s-3").expires_ms
    )
    scenario.given(c.LeaveQueue(driver_id=CARLA, waiting_id=SessionId("s-3")))
    again = scenario.when(SERVE).events[1]
    assert isinstance(again, e.ChargeOffered)
    assert (again.waiting_id, again.session_id) == ("s-2", "s-2.2"), "another session: the first may still end"
    lapse(scenario, "s-2.2").then_kinds(e.AuthorizationExpired, e.QueueLeft)
    out = scenario.events[1]
    assert isinstance(out, e.QueueLeft) and out.cause is LeftCause.NO_SHOW
    assert not scenario.state.waiting


def test_a_charge_point_that_does_not_take_the_session_counts_as_missed() -> None:
    scenario = offered()
    command_id = scenario.session("s-2").authorize_command
    result = c.ReportResult(cp_id=CP, command_id=command_id, outcome="rejected")
    scenario.when(result).then_kinds(e.AuthorizationExpired, e.OfferEnded)
    assert scenario.state.waiting[SessionId("s-2")].missed == 1


# --- the end of waiting -----------------------------------------------------------------------------------------------


def test_leaving_the_line_and_giving_an_offer_back() -> None:
    scenario = offered()
    (left,) = scenario.when(c.LeaveQueue(driver_id=CARLA, waiting_id=SessionId("s-3"))).events
    assert isinstance(left, e.QueueLeft) and left.cause is LeftCause.LEFT
    scenario.when(c.LeaveQueue(driver_id=BEN, waiting_id=SessionId("s-2")))
    scenario.then_kinds(e.AuthorizationExpired, e.QueueLeft)
    assert not scenario.state.waiting
    assert scenario.cp().connectors[ConnectorNo(1)].session_id is None


def test_a_place_of_somebody_else_cannot_be_given_up() -> None:
    scenario = taken().given(wait("s-2", BEN))
    for waiting_id, obstacle in (("s-2", Obstacle.FOREIGN), ("s-9", Obstacle.UNKNOWN)):
        (no,) = scenario.when(c.LeaveQueue(driver_id=CARLA, waiting_id=SessionId(waiting_id))).events
        assert isinstance(no, e.RequestRefused)
        assert (no.reason, no.against[0].obstacle) == (RefusalReason.UNKNOWN_WAITING, obstacle)


def test_a_hold_ends_waiting_once_and_for_all() -> None:
    scenario = offered().when(c.StopChargePoints(cp_id=CP))
    left = [event for event in scenario.events if isinstance(event, e.QueueLeft)]
    assert sorted((event.waiting_id, event.cause) for event in left) == [
        ("s-2", LeftCause.HELD),
        ("s-3", LeftCause.HELD),
    ]
    assert not any(isinstance(event, e.OfferEnded) for event in scenario.events)
    assert not scenario.state.waiting


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (c.ReportFault(cp_id=CP, code="ko"), "out_of_order"),
        (c.RaiseDuplicate(role=Role.ENGINE, entity=CP), "duplicate_id"),
    ],
    ids=["fault", "duplicate"],
)
def test_what_may_be_over_in_a_moment_keeps_the_line(command: AnyCommand, reason: str) -> None:
    scenario = offered().when(command)
    assert not any(isinstance(event, e.QueueLeft) for event in scenario.events)
    views = all_waiting(scenario.state, scenario.at_ms)
    assert [(view.waiting_id, view.reason, view.eta_ms) for view in views] == [
        ("s-2", reason, None),
        ("s-3", reason, None),
    ]
    assert scenario.state.waiting[SessionId("s-2")].missed == 0, "it was not his fault"


def test_after_a_fault_the_first_in_line_is_served() -> None:
    scenario = offered().given(c.ReportFault(cp_id=CP, code="ko"), SERVE, c.ReportRecovery(cp_id=CP))
    scenario.when(SERVE).then_kinds(e.ChargeAuthorized, e.ChargeOffered)
    assert scenario.session("s-2.2").driver_id == BEN


def test_a_lost_charge_point_ends_nothing_and_costs_no_turn() -> None:
    scenario = Scenario().given(site(), *connected(), monitor_up(), *charging(), wait("s-2", BEN))
    leaves(scenario).given(SERVE)
    scenario.when(monitor_down()).then_kinds(e.PeerDisconnected, e.AuthorizationExpired, e.OfferEnded)
    assert scenario.state.waiting[SessionId("s-2")].missed == 0
    scenario.given(engine_down())
    scenario.when(SERVE).then()
    (view,) = all_waiting(scenario.state, scenario.at_ms)
    assert (view.reason, view.eta_ms) == ("disconnected", None)
    scenario.given(engine_up(fence=7), boot(), monitor_up(fence=8))
    scenario.when(SERVE).then_kinds(e.ChargeAuthorized, e.ChargeOffered)


def test_a_revoked_driver_waits_for_nothing() -> None:
    scenario = taken().given(wait("s-2", BEN))
    scenario.when(c.RevokePeer(role=Role.DRIVER, entity=BEN, username="b")).then_kinds(e.PeerRevoked, e.QueueLeft)
    assert not scenario.state.waiting


@pytest.mark.parametrize(
    ("depart_in_ms", "after_ms", "cause"),
    [(60_000, 60_000, LeftCause.DEPARTED), (None, MAX_WAIT_MS, LeftCause.TOO_LONG)],
)
def test_waiting_that_brings_nothing_any_more(depart_in_ms: int | None, after_ms: int, cause: LeftCause) -> None:
    depart_by_ms = None if depart_in_ms is None else SITE_MS + depart_in_ms
    scenario = taken().when(wait("s-2", BEN, depart_by_ms=depart_by_ms))
    wake = scenario.effect(fx.Wake)
    assert isinstance(wake, fx.Wake)
    scenario.pass_time(after_ms - 1)
    scenario.when(SERVE).then()
    scenario.pass_time(1)
    assert wake.at_ms == scenario.at_ms
    scenario.when(c.PassDeadline(session_id=wake.session_id)).then().told(fx.Dirty)
    (left,) = scenario.when(SERVE).events
    assert isinstance(left, e.QueueLeft) and left.cause is cause


# --- how long ---------------------------------------------------------------------------------------------------------


def test_the_time_is_that_of_the_session_that_ends_first() -> None:
    scenario = Scenario().given(site(), *connected(connectors=2), *charging())
    scenario.given(request("s-2", driver_id=BEN, connector=2, depart_by_ms=SITE_MS + 600_000))
    event = queued(scenario.when(wait("s-3", CARLA)))
    assert event.eta_ms == SITE_MS + 600_000, "ben has said when he leaves"
    assert event.inputs_age_ms == 0
    scenario.pass_time(10_000)
    event = queued(scenario.when(wait("s-4", DORA)))
    assert event.place == 2
    assert event.eta_ms == SITE_MS + TYPICAL_STAY_MS, "the next one is anna, who said nothing"
    assert event.inputs_age_ms == 10_000, "her meter was read when she began"


def test_the_energy_that_is_missing_at_the_present_limit() -> None:
    scenario = Scenario().given(site(), *connected(), request("s-1", energy_wh=11_040), plug(), reallocate())
    scenario.given(started("s-1"))
    limit_w = scenario.session().lease.newest.limit_w  # type: ignore[union-attr]  # it has one
    event = queued(scenario.when(wait("s-2", BEN)))
    assert event.eta_ms == SITE_MS + 11_040 * 3_600_000 // limit_w


def test_nothing_of_it_is_lost_in_a_restart() -> None:
    scenario = offered()
    scenario.given(wait("s-5", DORA))
    again = Scenario()
    again.state, again.at_ms, again.clock_ms = replayed(scenario.log), scenario.at_ms, scenario.clock_ms
    assert again.state.waiting == scenario.state.waiting
    again.when(c.StartCentral(site=again.state.site))
    woken = {effect.session_id for effect in again.effects if isinstance(effect, fx.Wake)}
    assert {"s-2", "s-3", "s-5"} <= woken
    assert names(again) == names(scenario) == ["s-3", "s-5"]
