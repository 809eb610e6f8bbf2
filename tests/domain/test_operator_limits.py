"""An operator limits a charge point: what runs there falls at once, nothing is given twice for it, and why is said."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evcharge.audit.event_codec import decode
from evcharge.audit.why import Inquiry
from evcharge.domain import commands as c
from evcharge.domain import effects as fx
from evcharge.domain import events as e
from evcharge.domain.limits import MAX_LIMIT_W, most_w
from evcharge.domain.reasons import Constraint, Objection, Obstacle, objection_sentence, sentence
from evcharge.domain.refusals import RefusalReason
from evcharge.domain.routing import spots_of
from evcharge.domain.stations import find_stations
from evcharge.domain.views import view_charge_point
from evcharge.domain.words import LimitReason, ReservationState
from evcharge.energy.allocate import CALM_MS
from evcharge.energy.recommend import Occupancy
from evcharge.ids import ANYWHERE, ChargePointId, ConnectorNo, DriverId, SessionId
from evcharge.units import Watts
from tests.domain.test_grid import acknowledge, limits, one, share, share_events, steady, two
from tests.support.scenario import (
    ANNA,
    BEN,
    CP,
    MAIN,
    MAX_W,
    MIN_W,
    OTHER,
    Scenario,
    boot,
    connected,
    engine_down,
    engine_up,
    plug,
    reallocate,
    replayed,
    request,
    site,
)

PLENTY_W = 100_000


def limit(watts: int | None, cp_id: ChargePointId = CP) -> c.LimitChargePoint:
    return c.LimitChargePoint(cp_id=cp_id, limit_w=watts)


def ready() -> Scenario:
    """A charge point that is up, nobody there."""
    return Scenario().given(site(), *connected())


# --- the order --------------------------------------------------------------------------------------------------------


def test_a_limit_is_an_event_and_shares_anew() -> None:
    scenario = one().when(limit(7_000))
    scenario.then(e.ChargePointLimited(cp_id=CP, limit_w=Watts(7_000))).told(fx.Dirty)
    assert scenario.effects == [fx.Dirty(node_id=MAIN)]
    assert view_charge_point(scenario.state, scenario.cp()).limit_w == 7_000
    scenario.when(limit(None)).then(e.ChargePointLimited(cp_id=CP)).told(fx.Dirty)
    assert view_charge_point(scenario.state, scenario.cp()).limit_w is None


def test_the_same_limit_again_is_no_news() -> None:
    scenario = ready().when(limit(None)).then()
    scenario.given(limit(7_000)).when(limit(7_000)).then()


@pytest.mark.parametrize("watts", [-1, MAX_LIMIT_W + 1, 2**62])
def test_nonsense_is_refused(watts: int) -> None:
    scenario = ready().when(limit(watts))
    (refused,) = scenario.events
    assert isinstance(refused, e.RequestRefused)
    assert (refused.request, refused.subject) == ("limit_charge_point", CP)
    assert refused.reason is RefusalReason.LIMIT_OUT_OF_RANGE
    assert refused.against == (Objection(Obstacle.RANGE, "limit_w", value=watts, limit=MAX_LIMIT_W),)


@pytest.mark.parametrize("watts", [0, MAX_LIMIT_W])
def test_the_first_and_the_last_watt_are_none(watts: int) -> None:
    ready().when(limit(watts)).then_kinds(e.ChargePointLimited)


def test_a_charge_point_that_there_is_not() -> None:
    scenario = ready().when(limit(7_000, ChargePointId("moon")))
    (refused,) = scenario.events
    assert isinstance(refused, e.RequestRefused)
    assert refused.reason is RefusalReason.UNKNOWN_CHARGE_POINT


def test_it_holds_over_restarts_and_over_other_links_and_ratings() -> None:
    scenario = one().given(limit(7_000))
    assert replayed(scenario.log).charge_points[CP].limit_w == 7_000
    scenario.given(site(9_200), engine_down(), engine_up(fence=8), boot(max_w=22_000))
    assert scenario.cp().limit_w == 7_000


# --- what charges -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("capacity_w", [PLENTY_W, 9_200])
def test_what_charges_falls_at_once_and_is_told_why(capacity_w: int) -> None:
    """Where there is power for all, and where it is shared."""
    scenario = one(capacity_w).given(limit(7_000))
    (event,) = share_events(scenario)
    assert (event.grant.limit_w, event.grant.fallback_w, event.reason) == (7_000, MIN_W, LimitReason.OPERATOR)
    assert event.basis is not None
    assert event.basis.bound.constraint is Constraint.OPERATOR
    assert sentence(event.basis, MIN_W).startswith("an operator limits cp-1 to 7 kW")
    acknowledge(scenario, "s-1")
    steady(scenario, 120)
    assert limits(scenario) == {"s-1": 7_000}


@pytest.mark.parametrize("capacity_w", [PLENTY_W, 9_200])
def test_what_is_lifted_comes_back_at_once(capacity_w: int) -> None:
    scenario = one(capacity_w).given(limit(7_000))
    share(scenario)
    acknowledge(scenario, "s-1")
    scenario.pass_time(CALM_MS // 6)
    assert share(scenario.given(limit(None))) == {"s-1": min(capacity_w, MAX_W)}
    assert scenario.session().limit_reason in (LimitReason.RATING, LimitReason.SHARED)


@pytest.mark.parametrize("watts", [MAX_W, MAX_W + 1])
def test_a_limit_that_is_not_below_the_rating_is_the_rating(watts: int) -> None:
    scenario = one(PLENTY_W).given(limit(watts))
    assert share(scenario) == {}
    steady(scenario, 30)
    assert scenario.session().limit_reason is LimitReason.RATING


@pytest.mark.parametrize("capacity_w", [PLENTY_W, 9_200])
@pytest.mark.parametrize("watts", [0, 1, MIN_W - 1])
def test_one_below_the_smallest_current_pauses(capacity_w: int, watts: int) -> None:
    scenario = one(capacity_w).given(limit(watts))
    (event,) = share_events(scenario)
    assert (event.grant.limit_w, event.grant.fallback_w, event.reason) == (0, 0, LimitReason.OPERATOR)
    assert event.basis is not None
    assert "and the smallest current is 1.38 kW" in sentence(event.basis, MIN_W)
    acknowledge(scenario, "s-1")
    steady(scenario, 120)
    assert (limits(scenario), scenario.session().limit_reason) == ({"s-1": 0}, LimitReason.OPERATOR)
    assert share(scenario.given(limit(MIN_W))) == {"s-1": MIN_W}


@pytest.mark.parametrize("capacity_w", [PLENTY_W, 9_200])
def test_who_was_authorized_before_begins_paused(capacity_w: int) -> None:
    """Half-way to the lapse of the authorization, as where there is no power."""
    scenario = Scenario().given(site(capacity_w), *connected(), request(), plug(), limit(0))
    assert share(scenario) == {}
    session = scenario.session()
    scenario.pass_time((session.expires_ms - session.authorized_ms) // 2)
    assert share(scenario) == {"s-1": 0}
    assert scenario.session().limit_reason is LimitReason.OPERATOR


def test_nobody_is_given_what_another_may_still_draw() -> None:
    """Both ratings do not fit, what both may have does: the second rises only when the first has confirmed less."""
    capacity_w = MAX_W + 2_000
    scenario = one(capacity_w).given(request("s-2", OTHER), limit(2_000))
    assert share(scenario) == {"s-1": 2_000}
    assert share(scenario.given(plug(OTHER))) == {"s-2": 1_840}
    assert scenario.worst_w() <= capacity_w
    acknowledge(scenario, "s-1")
    assert share(scenario) == {"s-2": MAX_W}
    assert scenario.worst_w() <= capacity_w


def test_what_one_may_not_have_is_the_others() -> None:
    scenario = two().given(limit(2_000))
    assert share(scenario) == {"s-1": 2_000}
    acknowledge(scenario, "s-1")
    scenario.pass_time(CALM_MS)
    share(scenario)
    acknowledge(scenario, "s-2")
    assert limits(scenario) == {"s-1": 2_000, "s-2": 7_130}


WATTS = st.one_of(st.none(), st.integers(0, 14_000), st.sampled_from([0, MIN_W - 1, MIN_W, MIN_W + 1, MAX_W]))


@given(
    capacity_w=st.sampled_from([2_000, 5_000, 9_200, 16_000, PLENTY_W]),
    told=st.lists(st.tuples(st.sampled_from([CP, OTHER]), WATTS, st.integers(0, 90_000), st.booleans())),
)
def test_nobody_is_told_or_may_draw_more_than_is_allowed(
    capacity_w: int, told: list[tuple[ChargePointId, int | None, int, bool]]
) -> None:
    """Whatever is told: no set-point is above the limit, no sum above the capacity, and with all confirmed nobody may
    draw more than the limit even at worst.
    """
    scenario = two(9_200).given(c.SetCapacity(node_id=MAIN, capacity_w=capacity_w))
    allowed_w = scenario.worst_w()
    for cp_id, watts, pause_ms, answered in told:
        scenario.pass_time(pause_ms)
        scenario.given(limit(watts, cp_id))
        for event in share_events(scenario):
            session = scenario.state.sessions[event.session_id]
            assert event.grant.fallback_w <= event.grant.limit_w <= most_w(scenario.state, session)
            if answered:
                acknowledge(scenario, event.session_id)
        allowed_w = max(capacity_w, min(allowed_w, scenario.worst_w()))
        assert scenario.worst_w() <= allowed_w
    for _ in range(3):
        for session_id in share(scenario):
            acknowledge(scenario, session_id)
    for session in scenario.state.sessions.values():
        limit_w = scenario.cp(session.cp_id).limit_w
        newest = session.lease.newest
        assert newest is not None
        assert limit_w is None or newest.limit_w <= limit_w


# --- what would begin -------------------------------------------------------------------------------------------------


def test_nothing_begins_where_too_little_is_allowed() -> None:
    scenario = ready().given(limit(1_000)).when(request())
    (refused,) = scenario.events
    assert isinstance(refused, e.ChargeRefused)
    assert refused.reason is RefusalReason.LIMITED
    assert refused.against == (Objection(Obstacle.LIMIT, "cp-1/1", value=1_000, limit=MIN_W),)
    assert objection_sentence(refused.against[0]) == (
        "cp-1/1 is limited by the operator to 1 kW, and the least it charges with is 1.38 kW"
    )
    scenario.given(limit(MIN_W)).when(request()).then_kinds(e.ChargeAuthorized)


def test_who_may_wait_waits_until_more_is_allowed() -> None:
    scenario = ready().given(limit(0)).when(request(wait=True))
    (queued,) = scenario.events
    assert isinstance(queued, e.ChargeQueued)
    assert (queued.reason, queued.eta_ms) == (RefusalReason.LIMITED, None)
    scenario.when(c.ServeWaiting()).then()
    scenario.when(limit(None)).told(fx.Dirty)
    scenario.when(c.ServeWaiting()).then_kinds(e.ChargeAuthorized, e.ChargeOffered)


def test_a_connector_that_may_not_charge_shortens_no_wait() -> None:
    """One of two is in use; the other one has no vehicle, and needs more than is allowed."""
    ratings = (
        c.ConnectorRating(ConnectorNo(1), MIN_W, MAX_W),
        c.ConnectorRating(ConnectorNo(2), Watts(4_140), MAX_W),
    )
    scenario = Scenario().given(site(), engine_up(), c.BootChargePoint(cp_id=CP, connectors=ratings), limit(2_000))
    scenario.given(request(connector=1), plug(), reallocate()).when(request("s-2", driver_id=BEN, wait=True))
    (queued,) = scenario.events
    assert isinstance(queued, e.ChargeQueued)
    assert queued.reason is RefusalReason.BUSY
    assert queued.eta_ms is not None
    assert queued.eta_ms > scenario.at_ms


def test_who_goes_anywhere_is_not_sent_there() -> None:
    scenario = Scenario().given(site(), *connected(), *connected(OTHER, fence=5))
    scenario.when(request(cp_id=ANYWHERE))
    (granted,) = scenario.events
    assert isinstance(granted, e.ChargeAuthorized)
    assert granted.cp_id == CP
    scenario = Scenario().given(site(), *connected(), *connected(OTHER, fence=5), limit(0))
    scenario.when(request(cp_id=ANYWHERE))
    (granted,) = scenario.events
    assert isinstance(granted, e.ChargeAuthorized)
    assert granted.cp_id == OTHER


def test_who_wants_power_is_sent_where_it_is_allowed() -> None:
    scenario = Scenario().given(site(), *connected(), *connected(OTHER, fence=5))
    assert {spot.max_w for spot in spots_of(scenario.state).free[MAIN]} == {MAX_W}
    scenario.given(limit(5_000))
    assert {spot.cp_id: spot.max_w for spot in spots_of(scenario.state).free[MAIN]} == {CP: 5_000, OTHER: MAX_W}


def test_a_recommendation_reckons_with_it() -> None:
    scenario = Scenario().given(site(PLENTY_W), *connected(), *connected(OTHER, fence=5), limit(5_000))
    limited, free = find_stations(scenario.state, scenario.stamp(), {}, None, None).stations
    assert (limited.connectors[0].max_w, limited.periods[0].power_w) == (5_000, 5_000)
    assert (free.connectors[0].max_w, free.periods[0].power_w) == (MAX_W, MAX_W)
    scenario.given(limit(0))
    stations = find_stations(scenario.state, scenario.stamp(), {}, None, None).stations
    (limited,) = (each for each in stations if each.station_id == CP)
    assert (limited.connectors[0].occupancy, limited.periods[0].power_w) == (Occupancy.OUT, 0)


def _reserve(scenario: Scenario, driver_id: DriverId = BEN) -> c.Reserve:
    return c.Reserve(
        reservation_id=SessionId("r-1"),
        driver_id=driver_id,
        cp_id=CP,
        connector=ConnectorNo(0),
        from_ms=scenario.at_ms + 3_600_000,
        until_ms=scenario.at_ms + 7_200_000,
        energy_wh=None,
    )


def test_nothing_is_promised_where_too_little_is_allowed() -> None:
    scenario = ready().given(limit(0))
    scenario.when(_reserve(scenario))
    (refused,) = scenario.events
    assert isinstance(refused, e.RequestRefused)
    assert refused.reason is RefusalReason.LIMITED


def test_a_reservation_waits_until_more_is_allowed() -> None:
    scenario = ready()
    scenario.given(_reserve(scenario), limit(0)).pass_time(3_600_000)
    scenario.when(c.ServeWaiting())
    (late,) = scenario.events
    assert isinstance(late, e.ReservationDelayed)
    assert late.reason is RefusalReason.LIMITED
    assert scenario.state.reservations[SessionId("r-1")].status is ReservationState.LATE
    scenario.given(limit(None)).when(c.ServeWaiting()).then_kinds(e.ChargeAuthorized, e.ReservationOpened)


# --- the log ----------------------------------------------------------------------------------------------------------


def test_why_tells_it() -> None:
    scenario = ready().given(limit(7_000), request(driver_id=ANNA), plug(), reallocate(), limit(None))
    inquiry = Inquiry(CP)
    told = []
    for seq, body in enumerate(scenario.log):
        logged = decode(body)
        assert logged is not None
        told += [step.told for step in inquiry.take(seq, logged)]
    assert "an operator limited cp-1 to 7 kW" in told
    assert "the operator's limit of cp-1 was lifted" in told
    assert any(each.startswith("set-point 7 kW (1.38 kW if Central is lost): an operator limits") for each in told)
