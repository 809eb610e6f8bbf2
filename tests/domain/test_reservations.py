"""Reservations: what is promised, what is refused and why, and what comes of it at its time."""

from __future__ import annotations

import pytest

from evcharge.domain import commands as c
from evcharge.domain import effects as fx
from evcharge.domain import events as e
from evcharge.domain import reservations as module
from evcharge.domain.openings import TYPICAL_STAY_MS
from evcharge.domain.reasons import Objection, Obstacle, objection_sentence
from evcharge.domain.refusals import RefusalReason
from evcharge.domain.reservations import GRACE_MS, MAX_AHEAD_MS, MAX_LENGTH_MS, MIN_LENGTH_MS
from evcharge.domain.words import ReservationEnd, ReservationState, Role, SessionStatus, StopCause
from evcharge.ids import ChargePointId, ConnectorNo, SessionId
from evcharge.units import WattHours
from tests.support.in_line import CARLA, SERVE
from tests.support.one_session import ended, ready
from tests.support.reserving import HOUR, R, at, reserve
from tests.support.scenario import (
    ANNA,
    BEN,
    CP,
    MAIN,
    MIN_W,
    OTHER,
    SITE_MS,
    Scenario,
    boot,
    charging,
    engine_up,
    plug,
    reallocate,
    replayed,
    request,
    started,
)

THIRD = ChargePointId("cp-3")


def refused(scenario: Scenario, reason: RefusalReason) -> tuple[Objection, ...]:
    (event,) = scenario.events
    assert isinstance(event, e.RequestRefused), event
    assert (event.request, event.reason) == ("reserve", reason)
    denied = scenario.effect(fx.Denied)
    assert isinstance(denied, fx.Denied)
    numbers = (Obstacle.RANGE, Obstacle.COUNT, Obstacle.UNKNOWN)
    assert denied.against == tuple(one for one in event.against if one.obstacle not in numbers), "the driver is told"
    return event.against


def made(scenario: Scenario) -> e.ReservationMade:
    (event,) = scenario.events
    assert isinstance(event, e.ReservationMade), event
    return event


# --- what is promised -------------------------------------------------------------------------------------------------


def test_a_reservation_is_made_for_one_connector_and_shown() -> None:
    scenario = ready(connectors=2).when(reserve(energy_wh=9_000))
    event = made(scenario)
    assert (event.connector, event.min_w, event.energy_wh) == (1, MIN_W, 9_000)
    scenario.told(fx.Booked, fx.Wake)
    assert made(scenario.when(reserve("r-2", CARLA))).connector == 2, "the other one, at the same time"


@pytest.mark.parametrize(
    ("from_ms", "length_ms", "field"),
    [
        (0, HOUR, "from_ms"),
        (-1, HOUR, "from_ms"),
        (MAX_AHEAD_MS + 1, HOUR, "from_ms"),
        (HOUR, MIN_LENGTH_MS - 1, "until_ms"),
        (HOUR, -HOUR, "until_ms"),
        (HOUR, MAX_LENGTH_MS + 1, "until_ms"),
    ],
)
def test_the_borders_of_its_time(from_ms: int, length_ms: int, field: str) -> None:
    command = reserve(from_h=from_ms / HOUR, hours=length_ms / HOUR)
    (objection,) = refused(ready().when(command), RefusalReason.RESERVATION_OUT_OF_RANGE)
    assert (objection.obstacle, objection.at) == (Obstacle.RANGE, field)


def test_the_last_that_is_possible() -> None:
    made(ready().when(reserve(from_h=MAX_AHEAD_MS / HOUR, hours=MAX_LENGTH_MS / HOUR)))
    made(ready().when(reserve(from_h=1 / HOUR, hours=MIN_LENGTH_MS / HOUR)))


def test_two_of_one_driver_and_so_many_of_a_site(monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = ready().given(reserve(), reserve("r-2", from_h=6))
    (own,) = refused(scenario.when(reserve("r-3", from_h=9)), RefusalReason.TOO_MANY_RESERVATIONS)
    assert (own.at, own.value, own.limit) == ("driver ben", 2, 2)
    monkeypatch.setattr(module, "MAX_SITE_RESERVATIONS", 2)
    (all_of_them,) = refused(scenario.when(reserve("r-3", CARLA, from_h=9)), RefusalReason.TOO_MANY_RESERVATIONS)
    assert all_of_them.at == "the site"


def test_what_is_taken_by_whom_is_said_without_the_name_and_with_the_time() -> None:
    scenario = ready().given(reserve())
    (objection,) = refused(scenario.when(reserve("r-2", CARLA, from_h=4)), RefusalReason.RESERVED)
    assert objection == Objection(Obstacle.BOOKED, f"{CP}/1", value=SITE_MS + 3 * HOUR, limit=SITE_MS + 5 * HOUR)
    assert objection_sentence(objection) == f"{CP}/1 is reserved from 2023-11-15 01:13 UTC until 2023-11-15 03:13 UTC"
    made(scenario.when(reserve("r-2", CARLA, from_h=5))), "one begins when the other one ends"


def test_a_session_that_will_be_gone_and_one_that_will_not() -> None:
    scenario = ready().given(request(depart_by_ms=SITE_MS + 3 * HOUR))
    made(scenario.when(reserve()))
    late = ready().given(request(depart_by_ms=SITE_MS + 3 * HOUR + 1))
    (objection,) = refused(late.when(reserve()), RefusalReason.BUSY)
    assert objection.obstacle is Obstacle.IN_USE
    silent = ready().given(request())
    refused(silent.when(reserve(from_h=1.9)), RefusalReason.BUSY)
    made(silent.when(reserve(from_h=TYPICAL_STAY_MS / HOUR)))


def test_who_waits_now_is_not_overtaken_by_a_reservation_for_the_next_moment() -> None:
    scenario = ready().given(request(depart_by_ms=SITE_MS + HOUR), request("s-2", driver_id=CARLA, wait=True))
    (objection,) = refused(scenario.when(reserve(from_h=1)), RefusalReason.BUSY)
    assert (objection.obstacle, objection.value) == (Obstacle.LINE, 1)
    made(scenario.when(reserve(from_h=2)))


def line_for_power(depart_h: float | None = None) -> Scenario:
    """Power for one: Anna charges for another 10 minutes, Ben waits for her power at the other charge point."""
    scenario = ready(MIN_W + 20).given(engine_up(OTHER, 5), boot(OTHER), engine_up(THIRD, 6), boot(THIRD))
    scenario.given(request("s-1", depart_by_ms=SITE_MS + HOUR // 6), plug(), reallocate(), started("s-1"))
    until_ms = None if depart_h is None else round(SITE_MS + depart_h * HOUR)
    return scenario.given(request("s-2", OTHER, BEN, depart_by_ms=until_ms, wait=True))


@pytest.mark.parametrize("from_h", [0.2, 1.9, 2.2, 24])
def test_nobody_reserves_the_power_that_somebody_waits_for(from_h: float) -> None:
    scenario = line_for_power().when(reserve("r-1", CARLA, from_h, cp_id=THIRD))
    (objection,) = refused(scenario, RefusalReason.NO_CAPACITY)
    assert (objection.obstacle, objection.value, objection.limit) == (Obstacle.POWER, 2 * MIN_W, MIN_W + 20)
    at(scenario, 0.17).given(ended(2_000), plug(plugged=False))
    scenario.when(SERVE).then_kinds(e.ChargeAuthorized, e.ChargeOffered)


def test_who_waits_and_will_be_gone_by_then_needs_nothing_then() -> None:
    made(line_for_power(depart_h=1).when(reserve("r-1", CARLA, 1.5, cp_id=THIRD)))
    refused(line_for_power(depart_h=2).when(reserve("r-1", CARLA, 1.5, cp_id=THIRD)), RefusalReason.NO_CAPACITY)


def test_who_waits_for_a_connector_takes_its_power_over() -> None:
    """Anna's power is the next one's, and not a second time what both need while she has not said when she leaves."""
    both = line_for_power().given(
        c.LeaveQueue(driver_id=BEN, waiting_id=SessionId("s-2")), request("s-3", CP, BEN, wait=True)
    )
    refused(both.when(reserve("r-1", CARLA, 1, cp_id=THIRD)), RefusalReason.NO_CAPACITY)
    roomy = ready(2 * MIN_W).given(engine_up(THIRD, 6), boot(THIRD), *charging(), request("s-3", CP, BEN, wait=True))
    made(roomy.when(reserve("r-1", CARLA, 1, cp_id=THIRD)))


def test_nobody_reserves_past_those_who_wait_for_any_charge_point() -> None:
    scenario = ready(44_000)
    scenario.given(request("s-1", depart_by_ms=SITE_MS + HOUR // 6), plug(), reallocate(), started("s-1"))
    scenario.given(request("s-2", c.ANYWHERE, BEN, wait=True))
    (objection,) = refused(scenario.when(reserve("r-1", CARLA, 1)), RefusalReason.BUSY)
    assert (objection.obstacle, objection.value) == (Obstacle.LINE, 1)
    made(scenario.when(reserve("r-1", CARLA, 3)))


def test_the_power_of_those_who_wait_for_any_charge_point_below_a_node() -> None:
    """They may get any connector there, so their power is kept where all of these hang."""
    scenario = line_for_power().given(c.LeaveQueue(driver_id=BEN, waiting_id=SessionId("s-2")))
    scenario.given(request("s-3", c.ANYWHERE, BEN, wait=True))
    (objection,) = refused(scenario.when(reserve("r-1", CARLA, 3, cp_id=THIRD)), RefusalReason.NO_CAPACITY)
    assert objection.value == 2 * MIN_W


def test_it_needs_what_its_connector_needs_when_its_time_comes() -> None:
    scenario = ready(3_000).given(reserve("r-1", from_h=1))
    scenario.given(boot(min_w=50_000, max_w=60_000))
    at(scenario, 1).when(SERVE).then_kinds(e.ReservationDelayed)
    assert scenario.state.nodes[MAIN].reserved_w == 0
    scenario.given(boot()).when(SERVE).then_kinds(e.ChargeAuthorized, e.ReservationOpened)


def test_what_the_node_can_carry_by_smallest_currents() -> None:
    """Two fit at one time, whoever they are."""
    scenario = ready(2 * MIN_W + 100, connectors=4).given(request(connector=4), reserve(connector=1))
    objection = refused(scenario.when(reserve("r-2", CARLA, from_h=4)), RefusalReason.NO_CAPACITY)[1]
    assert objection == Objection(Obstacle.POWER, MAIN, value=3 * MIN_W, limit=2 * MIN_W + 100)
    assert "main would have to carry 4.14 kW" in objection_sentence(objection)
    made(scenario.when(reserve("r-2", CARLA, from_h=5)))
    gone = ready(2 * MIN_W + 100, connectors=4)
    gone.given(request(connector=4, depart_by_ms=SITE_MS + HOUR), reserve(connector=1))
    made(gone.when(reserve("r-2", CARLA)))


def test_nothing_is_promised_at_a_charge_point_that_cannot() -> None:
    held = ready().given(c.StopChargePoints(cp_id=CP))
    (objection,) = refused(held.when(reserve()), RefusalReason.STOPPED)
    assert objection.obstacle is Obstacle.HOLD
    refused(ready().when(reserve(cp_id="cp-9")), RefusalReason.UNKNOWN_CHARGE_POINT)
    refused(ready().when(reserve(connector=9)), RefusalReason.UNKNOWN_CONNECTOR)
    refused(ready().when(reserve(energy_wh=0)), RefusalReason.ENERGY_OUT_OF_RANGE)


# --- what it keeps free -----------------------------------------------------------------------------------------------


def test_others_get_the_connector_only_if_they_will_be_gone() -> None:
    scenario = ready().given(reserve(from_h=1))
    for depart_by_ms in (None, SITE_MS + HOUR + 1):
        (event,) = scenario.when(request("s-2", driver_id=ANNA, depart_by_ms=depart_by_ms, wait=True)).events
        assert isinstance(event, e.ChargeRefused), "waiting does not bring it either"
        assert event.reason is RefusalReason.RESERVED
        assert event.against[-1].obstacle is Obstacle.BOOKED
    scenario.when(request("s-2", driver_id=ANNA, depart_by_ms=SITE_MS + HOUR)).then_kinds(e.ChargeAuthorized)
    far = ready().given(reserve(from_h=TYPICAL_STAY_MS / HOUR))
    far.when(request("s-2", driver_id=ANNA)).then_kinds(e.ChargeAuthorized)
    own = ready().given(reserve(from_h=1))
    own.when(request("s-2", driver_id=BEN)).then_kinds(e.ChargeAuthorized)


def test_power_is_kept_for_it_from_those_who_do_not_say_when_they_leave() -> None:
    scenario = ready(2 * MIN_W, connectors=4).given(reserve(connector=1), reserve("r-2", CARLA, connector=2))
    (event,) = scenario.when(request("s-1", connector=4)).events
    assert isinstance(event, e.ChargeRefused)
    assert event.reason is RefusalReason.NO_CAPACITY
    scenario.when(request("s-1", connector=4, depart_by_ms=SITE_MS + 3 * HOUR)).then_kinds(e.ChargeAuthorized)


# --- its time ---------------------------------------------------------------------------------------------------------


def opened() -> Scenario:
    scenario = ready().given(reserve(energy_wh=9_000))
    at(scenario, 3)
    scenario.when(c.PassDeadline(session_id=R)).then().told(fx.Dirty)
    return scenario.when(SERVE)


def test_it_becomes_a_session_at_its_time_and_not_before() -> None:
    scenario = ready().given(reserve())
    at(scenario, 2.999)
    scenario.when(SERVE).then()
    scenario = opened()
    scenario.then_kinds(e.ChargeAuthorized, e.ReservationOpened)
    session = scenario.session(R)
    assert (session.status, session.requested_wh) == (SessionStatus.AUTHORIZED, 9_000)
    assert (session.depart_by_ms, session.expires_ms) == (SITE_MS + 5 * HOUR, scenario.at_ms + GRACE_MS)
    news = scenario.effect(fx.ReservationNews)
    assert isinstance(news, fx.ReservationNews)
    assert (news.reservation.state, news.reservation.session_id) == ("OPEN", R)
    scenario.when(SERVE).then()


def ends(scenario: Scenario, cause: ReservationEnd) -> None:
    (event,) = (event for event in scenario.events if isinstance(event, e.ReservationEnded))
    assert event.cause is cause
    assert not scenario.state.reservations
    assert any(isinstance(effect, fx.ReservationNews) for effect in scenario.effects), "its driver is told"


def test_its_driver_plugs_in() -> None:
    scenario = opened().given(plug(), reallocate())
    ends(scenario.when(started(R)), ReservationEnd.KEPT)


def test_nobody_comes() -> None:
    scenario = opened()
    scenario.pass_time(GRACE_MS)
    ends(scenario.when(c.PassDeadline(session_id=R)), ReservationEnd.NO_SHOW)
    assert scenario.cp().connectors[ConnectorNo(1)].session_id is None


def test_it_is_cancelled_before_and_after_its_time() -> None:
    command = c.CancelReservation(driver_id=BEN, reservation_id=R)
    ends(ready().given(reserve()).when(command), ReservationEnd.CANCELLED)
    ends(opened().when(command), ReservationEnd.CANCELLED)
    (no,) = opened().when(c.CancelReservation(driver_id=ANNA, reservation_id=R)).events
    assert isinstance(no, e.RequestRefused)
    assert (no.reason, no.against[0].obstacle) == (RefusalReason.UNKNOWN_RESERVATION, Obstacle.FOREIGN)


def test_the_charge_point_is_lost_while_it_waits_for_its_driver() -> None:
    ends(opened().when(c.ReportFault(cp_id=CP, code="ko")), ReservationEnd.UNAVAILABLE)


@pytest.mark.parametrize(("role", "entity"), [(Role.DRIVER, BEN), (Role.ENGINE, CP)])
def test_a_revoked_credential(role: Role, entity: str) -> None:
    scenario = ready().given(reserve())
    ends(scenario.when(c.RevokePeer(role=role, entity=entity, username="u")), ReservationEnd.REVOKED)


def overstayed() -> Scenario:
    """Anna said that she would be gone by then; Carla waits."""
    scenario = ready().given(request(depart_by_ms=SITE_MS + 3 * HOUR), plug(), reallocate(), started(), reserve())
    at(scenario, 1)
    scenario.given(request("s-2", driver_id=CARLA, wait=True, depart_by_ms=SITE_MS + 9 * HOUR))
    return at(scenario, 3).when(SERVE)


def test_who_overstays_makes_it_late_and_it_is_the_next_one() -> None:
    scenario = overstayed()
    scenario.then(e.ReservationDelayed(reservation_id=R, reason=RefusalReason.BUSY))
    news = scenario.effect(fx.ReservationNews)
    assert isinstance(news, fx.ReservationNews)
    assert (news.reservation.state, news.reservation.reason) == ("LATE", "busy")
    scenario.when(SERVE).then()
    gone = c.ReportEnded(
        cp_id=CP, session_id=SessionId("s-1"), meter_wh=WattHours(2_000), reason=StopCause.UNPLUGGED, at_ms=None
    )
    scenario.given(gone, plug(plugged=False))
    (event,) = scenario.when(request("s-3", driver_id=ANNA)).events
    assert isinstance(event, e.ChargeRefused)
    scenario.when(SERVE).then_kinds(e.ChargeAuthorized, e.ReservationOpened)


def test_its_time_passes_while_somebody_overstays() -> None:
    scenario = at(overstayed(), 5)
    ends(scenario.when(SERVE), ReservationEnd.PASSED)


def test_a_vehicle_of_which_nobody_knows_whose_it_is_gets_nothing_on_its_account() -> None:
    scenario = at(ready().given(reserve(), plug()), 3).when(SERVE)
    scenario.then_kinds(e.ReservationDelayed)
    scenario.when(request("s-9", driver_id=BEN)).then_kinds(e.ChargeAuthorized)
    ends(scenario.when(SERVE), ReservationEnd.KEPT)


def left_there() -> Scenario:
    """Anna's vehicle is full and stands where Ben has reserved for now; Carla waits."""
    scenario = ready().given(reserve(from_h=3), *charging(), request("s-2", CP, CARLA, wait=True))
    return at(scenario, 3).given(SERVE, ended(2_000, StopCause.TARGET_REACHED)).when(SERVE).then()


def test_nobody_charges_the_vehicle_that_another_has_left_where_one_has_reserved() -> None:
    scenario = left_there()
    for driver_id in (ANNA, BEN, CARLA):
        (event,) = scenario.when(request("s-3", CP, driver_id)).events
        assert isinstance(event, e.ChargeRefused)
        assert event.reason is RefusalReason.BUSY
    scenario.when(plug(plugged=False)).when(SERVE).then_kinds(e.ChargeAuthorized, e.ReservationOpened)


def test_its_driver_says_that_the_vehicle_that_came_is_his_before_all_who_wait() -> None:
    scenario = left_there().given(plug(plugged=False), plug())
    scenario.when(SERVE).then()
    scenario.when(request("s-3", CP, ANNA)).then_kinds(e.ChargeRefused)
    scenario.when(request("s-3", CP, BEN)).then_kinds(e.ChargeAuthorized)


def test_whose_vehicle_stands_there_since_before_has_what_he_reserved() -> None:
    scenario = ready().given(reserve(from_h=3), *charging(driver_id=BEN))
    at(scenario, 1).given(ended(2_000, StopCause.TARGET_REACHED))
    at(scenario, 3).when(SERVE).then_kinds(e.ChargeAuthorized, e.ReservationOpened)
    (told, *_) = scenario.when(reallocate()).events
    assert isinstance(told, e.SetPointIssued) and told.start_valid_ms is not None, "it begins at once"


def test_a_capacity_that_was_cut_makes_it_late() -> None:
    scenario = at(ready().given(reserve(), c.SetCapacity(node_id=MAIN, capacity_w=1_000)), 3)
    scenario.when(SERVE).then(e.ReservationDelayed(reservation_id=R, reason=RefusalReason.NO_CAPACITY))
    scenario.given(c.SetCapacity(node_id=MAIN, capacity_w=9_000))
    scenario.when(SERVE).then_kinds(e.ChargeAuthorized, e.ReservationOpened)
    assert scenario.state.reservations[R].status is ReservationState.OPEN


def test_nothing_of_it_is_lost_in_a_restart() -> None:
    scenario = opened().given(engine_up(OTHER, 5), boot(OTHER), *charging("s-7", OTHER, driver_id=ANNA))
    scenario.given(reserve("r-2", CARLA, from_h=9))
    again = Scenario()
    again.state, again.at_ms, again.clock_ms = replayed(scenario.log), scenario.at_ms, scenario.clock_ms
    assert again.state.reservations == scenario.state.reservations
    again.when(c.StartCentral(site=again.state.site))
    woken = {effect.session_id: effect.at_ms for effect in again.effects if isinstance(effect, fx.Wake)}
    assert woken[SessionId("r-2")] == SITE_MS + 9 * HOUR
    assert woken[R] == scenario.session(R).expires_ms
