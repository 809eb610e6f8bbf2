"""Connectors kept free for people who do not come: how many, and for how long none any more."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evcharge.domain import commands as c
from evcharge.domain import effects as fx
from evcharge.domain import events as e
from evcharge.domain.no_shows import MAX_ON_THE_WAY, MAX_PAUSE_MS, MOST_NO_SHOWS, PAUSE_MS, paused_until_ms
from evcharge.domain.reasons import Obstacle, objection_sentence
from evcharge.domain.refusals import RefusalReason
from evcharge.domain.sessions import ON_THE_WAY_MS
from evcharge.domain.state import Driver
from evcharge.ids import ChargePointId, ConnectorNo, SessionId
from tests.support.scenario import (
    ANNA,
    BEN,
    CP,
    Scenario,
    boot,
    engine_down,
    engine_up,
    plug,
    reallocate,
    replayed,
    request,
    site,
    started,
)

SERVE = c.ServeWaiting()


def a_park(charge_points: int = 5) -> Scenario:
    scenario = Scenario().given(site(500_000))
    for number in range(1, charge_points + 1):
        cp_id = ChargePointId(f"cp-{number}")
        scenario.given(engine_up(cp_id, number), boot(cp_id))
    return scenario


def coming(session_id: str, cp_id: str = c.ANYWHERE, driver_id: str = ANNA) -> c.RequestCharge:
    asked = request(session_id, cp_id, driver_id)  # type: ignore[arg-type]  # names in a test
    return msgspec.structs.replace(asked, on_the_way=True)


def nobody_came(scenario: Scenario, *names: str) -> Scenario:
    """The way there is over."""
    scenario.pass_time(ON_THE_WAY_MS)
    for name in names:
        scenario.given(c.PassDeadline(session_id=SessionId(name)))
    return scenario


def refused(scenario: Scenario, obstacle: Obstacle) -> fx.Denied:
    (event,) = scenario.events
    assert isinstance(event, e.ChargeRefused | e.RequestRefused), event
    assert (event.reason, [one.obstacle for one in event.against]) == (RefusalReason.TOO_MANY_RESERVATIONS, [obstacle])
    denied = scenario.effect(fx.Denied)
    assert isinstance(denied, fx.Denied)
    return denied


@pytest.mark.parametrize("cp_id", [c.ANYWHERE, "cp-3"])
def test_one_account_keeps_two_connectors_for_the_way_there(cp_id: str) -> None:
    scenario = a_park().given(coming("s-1"), coming("s-2"))
    refused(scenario.when(coming("s-3", cp_id)), Obstacle.COUNT)
    scenario.when(request("s-3", ChargePointId("cp-3"))).then_kinds(e.ChargeAuthorized)
    scenario.when(coming("s-4", driver_id=BEN)).then_kinds(e.ChargeAuthorized)


def test_who_has_come_may_announce_the_next_one() -> None:
    scenario = a_park().given(coming("s-1", "cp-1"), coming("s-2", "cp-2"))
    scenario.pass_time(60_000)
    scenario.given(plug(ChargePointId("cp-1")))
    scenario.when(coming("s-3", "cp-3")).then_kinds(e.ChargeAuthorized)


def test_a_vehicle_that_stood_there_before_is_nobody_who_came() -> None:
    scenario = a_park().given(plug(ChargePointId("cp-1")), plug(ChargePointId("cp-2")))
    scenario.given(coming("s-1", "cp-1"), coming("s-2", "cp-2"))
    refused(scenario.when(coming("s-3", "cp-3")), Obstacle.COUNT)


def reserve(name: str, scenario: Scenario) -> c.Reserve:
    return c.Reserve(
        reservation_id=SessionId(name),
        driver_id=ANNA,
        cp_id=CP,
        connector=ConnectorNo(0),
        from_ms=scenario.at_ms + 1,
        until_ms=scenario.at_ms + 7_200_000,
        energy_wh=None,
    )


def test_after_two_times_in_a_row_nothing_is_kept_for_a_while_and_that_is_told() -> None:
    scenario = a_park().given(coming("s-1"))
    nobody_came(scenario, "s-1").given(coming("s-2"))
    nobody_came(scenario, "s-2")
    for command in (coming("s-3"), reserve("r-1", scenario)):
        denied = refused(scenario.when(command), Obstacle.ABSENT)
        assert denied.retry_after_s == PAUSE_MS // 1_000
        assert "2 times in a row" in objection_sentence(denied.against[0])
    scenario.when(request("s-3")).then_kinds(e.ChargeAuthorized)
    scenario.given(c.EndCharge(driver_id=ANNA, session_id=SessionId("s-3")))
    scenario.pass_time(PAUSE_MS - 1)
    refused(scenario.when(coming("s-4")), Obstacle.ABSENT)
    scenario.pass_time(1)
    scenario.when(coming("s-4")).then_kinds(e.ChargeAuthorized)
    assert replayed(scenario.log).drivers[ANNA] == scenario.state.drivers[ANNA]


def test_the_next_pause_is_longer_and_whoever_comes_has_none() -> None:
    scenario = a_park()
    for number in range(3):
        scenario.given(coming(f"s-{number}", "cp-1"))
        nobody_came(scenario, f"s-{number}").pass_time(PAUSE_MS)
    refused(scenario.when(coming("s-9")), Obstacle.ABSENT)
    scenario.given(request("s-8"), plug(), reallocate(), started("s-8"))
    scenario.when(coming("s-9")).then_kinds(e.ChargeAuthorized)


def test_a_reservation_counts_like_the_way_there() -> None:
    scenario = a_park(1)
    for name in ("r-1", "r-2"):
        scenario.given(reserve(name, scenario)).pass_time(1)
        scenario.given(SERVE)
        nobody_came(scenario, name)
    refused(scenario.when(reserve("r-3", scenario)), Obstacle.ABSENT)
    scenario.when(request("s-1", CP, BEN)).then_kinds(e.ChargeAuthorized)


@pytest.mark.parametrize("how", ["ends it", "plugged in", "lost"])
def test_what_is_nobody_s_fault_does_not_count(how: str) -> None:
    scenario = a_park(1)
    for number in range(MOST_NO_SHOWS + 1):
        scenario.given(coming(f"s-{number}", CP))
        if how == "ends it":
            scenario.given(c.EndCharge(driver_id=ANNA, session_id=SessionId(f"s-{number}")))
            continue
        scenario.given(engine_down(CP, number + 1) if how == "lost" else plug())
        nobody_came(scenario, f"s-{number}")
        scenario.given(engine_up(CP, number + 2), boot(CP), plug(plugged=False))
    assert scenario.state.drivers[ANNA].no_shows == 0


@given(st.integers(MOST_NO_SHOWS, 10_000))
def test_a_pause_has_an_end(no_shows: int) -> None:
    until_ms = paused_until_ms(Driver(no_shows=min(no_shows, 60), no_show_ms=0))  # type: ignore[arg-type]  # a number
    assert until_ms is not None and PAUSE_MS <= until_ms <= MAX_PAUSE_MS


def test_one_account_does_not_take_a_site() -> None:
    scenario = a_park(20)
    for number in range(20):
        scenario.execute(coming(f"s-{number}"))
    assert len(scenario.state.sessions) == MAX_ON_THE_WAY
    scenario.when(request("s-b", c.ANYWHERE, BEN)).then_kinds(e.ChargeAuthorized)
