"""Sharing a substation: decreases first, raises only into room that is really there, and nothing without need."""

from __future__ import annotations

import pytest

from evcharge.domain import commands as c
from evcharge.domain import effects as fx
from evcharge.domain import events as e
from evcharge.domain.decide import AnyCommand
from evcharge.domain.site import NodeConfig, SiteConfig
from evcharge.domain.words import Hold, LimitReason
from evcharge.energy.leases import MARGIN_MS, Grant
from evcharge.ids import ChargePointId, ConnectorNo, NodeId, SessionId
from evcharge.units import Watts
from tests.support.scenario import (
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
    monitor_up,
    plug,
    reallocate,
    request,
    site,
    started,
)

THIRD = ChargePointId("cp-3")
LEASE_MS = 30_000


def set_capacity(watts: int) -> c.SetCapacity:
    return c.SetCapacity(node_id=MAIN, capacity_w=watts)


def acknowledge(scenario: Scenario, session_id: str) -> None:
    """The charge point applied the newest set-point."""
    session = scenario.session(session_id)
    assert session.lease.newest is not None
    number = session.lease.newest.command_id
    scenario.given(c.ReportResult(cp_id=session.cp_id, command_id=number, outcome="done"))


def share(scenario: Scenario) -> dict[str, int]:
    """Share anew; the limits that are sent."""
    scenario.when(reallocate())
    assert all(isinstance(event, e.SetPointIssued) for event in scenario.events)
    return {event.session_id: event.grant.limit_w for event in scenario.events}


def share_events(scenario: Scenario) -> list[e.SetPointIssued]:
    scenario.when(reallocate())
    return [event for event in scenario.events if isinstance(event, e.SetPointIssued)]


def limits(scenario: Scenario) -> dict[str, int]:
    """The newest limit of each session."""
    return {sid: s.lease.newest.limit_w for sid, s in scenario.state.sessions.items() if s.lease.newest is not None}


def steady(scenario: Scenario, seconds: int) -> None:
    """Time passes, leases are renewed, everything is acknowledged."""
    for _ in range(seconds // 10):
        scenario.pass_time(10_000)
        for session_id in share(scenario):
            acknowledge(scenario, session_id)


def one(capacity_w: int = 9_200) -> Scenario:
    """One vehicle charges, its set-point is acknowledged; a second charge point stands by."""
    scenario = Scenario().given(site(capacity_w), *connected(), *connected(OTHER, fence=5), *charging())
    acknowledge(scenario, "s-1")
    return scenario


def two(capacity_w: int = 9_200) -> Scenario:
    """Two vehicles charge, half the capacity each, all acknowledged."""
    scenario = one(capacity_w).given(request("s-2", OTHER), plug(OTHER))
    for _ in range(3):
        for session_id in share(scenario):
            acknowledge(scenario, session_id)
    return scenario.given(started("s-2", cp_id=OTHER))


# --- the rule ---------------------------------------------------------------------------------------------------------


def test_one_gets_what_it_can_use() -> None:
    scenario = Scenario().given(site(), *connected(), request(), plug()).when(reallocate())
    scenario.then(
        e.SetPointIssued(
            session_id=SessionId("s-1"),
            grant=Grant(command_id=2, limit_w=11_040, fallback_w=1_380, expires_ms=scenario.clock_ms + LEASE_MS),
            reason=LimitReason.RATING,
            start_valid_ms=scenario.clock_ms + 10_000,
        )
    ).told(fx.SetPoint, fx.SessionNews)
    assert share(scenario) == {}


def test_lower_first_raise_after_the_acknowledgement() -> None:
    """The second may start with what is free at once: nothing, until the first has come down."""
    scenario = one().given(request("s-2", OTHER), plug(OTHER))
    assert share(scenario) == {"s-1": 4_600}
    assert scenario.worst_w() == 9_200
    assert share(scenario) == {}
    acknowledge(scenario, "s-1")
    assert share(scenario) == {"s-2": 4_600}
    assert scenario.worst_w() == 9_200


def test_a_capacity_that_holds_already_is_no_news() -> None:
    scenario = one().given(set_capacity(9_000)).when(set_capacity(9_000)).then()
    scenario.when(set_capacity(9_001)).then_kinds(e.CapacityChanged)


@pytest.mark.parametrize("name", ["main/L1", "main/L9"])
def test_a_node_of_a_log_may_be_called_like_a_phase(name: str) -> None:
    """No configuration may any more (``check_tree``); one that is in a log already is lived with."""
    node_id, cp_ids = NodeId(name), (CP, OTHER)
    config = SiteConfig(
        capacities={MAIN: Watts(22_000), node_id: Watts(6_000)},
        nodes={MAIN: NodeConfig(phase_w=(Watts(9_000),) * 3), node_id: NodeConfig(parent=MAIN)},
        assignments=dict.fromkeys(cp_ids, node_id),
    )
    scenario = Scenario().given(c.StartCentral(site=config), *connected(), *connected(OTHER, fence=4))
    scenario.given(*(thing for i in (0, 1) for thing in (request(f"s-{i}", cp_ids[i]), plug(cp_ids[i]))))
    bounds = [event.basis.bound for event in share_events(scenario) if event.basis is not None]
    assert [(bound.node, bound.limit_w) for bound in bounds] == [(name, 6_000)] * 2


def test_a_vehicle_that_is_there_and_gets_nothing_begins_at_0_w_before_it_lapses() -> None:
    """There is no power for it for longer than an authorization lasts: its session begins, waits, and goes on."""
    scenario = one().given(request("s-2", OTHER), plug(OTHER), set_capacity(2_000))
    for _ in range(2):
        for session_id in share(scenario):
            acknowledge(scenario, session_id)
    session = scenario.session("s-2")
    half_ms = (session.expires_ms - session.authorized_ms) // 2
    steady(scenario, 10)
    assert session.lease.newest is None, "it may still get something"
    scenario.pass_time(half_ms - 10_000)
    (issued,) = [each for each in share_events(scenario) if each.session_id == "s-2"]
    assert (issued.grant.limit_w, issued.grant.fallback_w) == (0, 0)
    assert issued.start_valid_ms is not None, "it starts the session"
    assert issued.basis is not None and issued.basis.bound.node == "main"
    acknowledge(scenario, "s-2")
    scenario.given(started("s-2", cp_id=OTHER))
    steady(scenario, 300)
    scenario.when(c.PassDeadline(session_id=SessionId("s-2"))).then()
    assert scenario.worst_w() <= 2_000
    scenario.given(set_capacity(22_000))
    steady(scenario, 70)
    assert limits(scenario)["s-2"] > 0


def test_where_no_vehicle_is_nothing_begins() -> None:
    scenario = one().given(request("s-2", OTHER), set_capacity(2_000))
    steady(scenario, 50)
    assert "s-2" not in limits(scenario)
    scenario.pass_time(20_000)
    scenario.when(c.PassDeadline(session_id=SessionId("s-2"))).then_kinds(e.AuthorizationExpired)


def test_an_ampere_that_is_left_over_goes_to_one_of_them() -> None:
    scenario = two(9_000)
    steady(scenario, 60)
    assert sorted(limits(scenario).values()) == [4_370, 4_600]


def test_without_an_acknowledgement_the_lease_has_to_run_out() -> None:
    scenario = one().given(request("s-2", OTHER), plug(OTHER))
    assert share(scenario) == {"s-1": 4_600}
    scenario.pass_time(LEASE_MS + MARGIN_MS)
    # Its vehicle is there, and half of the time to its lapse has passed: it begins, and waits at 0 W.
    assert share(scenario) == {"s-1": 4_600, "s-2": 0}
    scenario.pass_time(1)
    assert share(scenario)["s-2"] == 4_600
    assert scenario.worst_w() <= 9_200


def test_a_newcomer_starts_with_less_rather_than_wait() -> None:
    """2 kW are free at once, 8 A of it whole; its full share follows when the other one has come down, at once."""
    scenario = one(13_000).given(request("s-2", OTHER), plug(OTHER))
    assert share(scenario) == {"s-1": 6_440, "s-2": 1_840}
    assert scenario.session("s-2").limit_reason is LimitReason.WAITING
    assert scenario.worst_w() <= 13_000
    acknowledge(scenario, "s-1")
    acknowledge(scenario, "s-2")
    assert share(scenario) == {"s-2": 6_440}
    assert scenario.worst_w() <= 13_000


def test_less_than_the_minimum_is_no_start() -> None:
    scenario = one(11_040 + 1_379).given(request("s-2", OTHER), plug(OTHER))
    assert set(share(scenario)) == {"s-1"}


def test_those_who_charge_wait_for_one_raise_instead_of_two() -> None:
    """Two amperes more are free for the second at once, but it will be many when the first has come down."""
    scenario = one(13_000).given(request("s-2", OTHER), plug(OTHER))
    assert share(scenario) == {"s-1": 6_440, "s-2": 1_840}
    acknowledge(scenario, "s-2")
    assert share(scenario.given(set_capacity(13_500))) == {}
    acknowledge(scenario, "s-1")
    assert share(scenario) == {"s-2": 6_670}


def test_what_ends_frees_its_share() -> None:
    scenario = two()
    scenario.given(c.EndCharge(driver_id=scenario.session("s-2").driver_id, session_id=SessionId("s-2")))
    assert share(scenario) == {}
    stop = scenario.session("s-2").stop_command
    assert stop is not None
    scenario.when(c.ReportResult(cp_id=OTHER, command_id=stop, outcome="done")).told(fx.Dirty, fx.Wake)
    steady(scenario, 50)
    assert limits(scenario)["s-1"] == 4_600, "frequent raises wear out its flash"
    steady(scenario, 10)
    assert limits(scenario)["s-1"] == 9_200


@pytest.mark.parametrize(("more_w", "limit_w"), [(459, 4_600), (460, 4_830)])
def test_a_raise_is_at_least_an_ampere(more_w: int, limit_w: int) -> None:
    scenario = two().given(set_capacity(9_200 + more_w))
    steady(scenario, 60)
    assert min(limits(scenario).values()) == limit_w


def test_a_decrease_waits_for_nothing() -> None:
    assert share(two().given(set_capacity(8_740))) == {"s-1": 4_370, "s-2": 4_370}


def test_the_reason_names_what_binds() -> None:
    scenario = one(22_000)
    assert scenario.session().limit_reason is LimitReason.RATING
    share(scenario.given(set_capacity(9_200)))
    assert scenario.session().limit_reason is LimitReason.SHARED
    share(scenario.given(set_capacity(1_000)))
    assert scenario.session().limit_reason is LimitReason.NO_CAPACITY


def test_an_unknown_or_empty_substation() -> None:
    scenario = Scenario().given(site())
    scenario.when(reallocate()).then()
    scenario.when(reallocate(NodeId("moon"))).then()


# --- renewal ----------------------------------------------------------------------------------------------------------


def test_a_lease_is_renewed_in_its_second_half() -> None:
    scenario = one()
    scenario.pass_time(LEASE_MS // 2)
    assert share(scenario) == {}
    scenario.pass_time(1)
    assert share(scenario) == {"s-1": 9_200}
    assert scenario.session().lease.newest.expires_ms == scenario.clock_ms + LEASE_MS


def test_a_start_is_repeated_when_its_validity_has_passed() -> None:
    scenario = Scenario().given(site(), *connected(), request(), plug(), reallocate())
    scenario.pass_time(10_000)
    assert share(scenario) == {}
    scenario.pass_time(1)
    assert share(scenario) == {"s-1": 11_040}
    assert scenario.effect(fx.SetPoint).start_valid_ms == scenario.clock_ms + 10_000


def test_after_a_long_silence_the_fallback_is_what_can_be_renewed() -> None:
    """Its old share is another's now: it goes on from the fallback and is raised when there is room."""
    scenario = two(4_140).given(engine_down())
    assert limits(scenario) == {"s-1": 2_070, "s-2": 2_070}
    steady(scenario, 60)
    assert limits(scenario)["s-2"] == 2_760
    scenario.given(engine_up(fence=8), boot())
    assert share(scenario)["s-1"] == 1_380
    assert scenario.worst_w() <= 4_140
    for _ in range(3):
        for session_id in ("s-1", "s-2"):
            acknowledge(scenario, session_id)
        share(scenario)
        assert scenario.worst_w() <= 4_140
    assert limits(scenario) == {"s-1": 2_070, "s-2": 2_070}


def test_who_fell_to_its_fallback_is_raised_at_once_when_it_is_back() -> None:
    scenario = one().given(engine_down())
    scenario.pass_time(LEASE_MS + MARGIN_MS + 1)
    scenario.given(engine_up(fence=8), boot())
    assert share(scenario) == {"s-1": 9_200}


# --- who can be told --------------------------------------------------------------------------------------------------


def test_an_offline_session_keeps_its_worst_case() -> None:
    scenario = two().given(engine_down(OTHER, fence=5), set_capacity(11_960))
    scenario.pass_time(LEASE_MS + MARGIN_MS)
    assert limits(scenario)["s-1"] == 4_600
    assert share(scenario) == {"s-1": 4_600}, "renewed, and nothing more"
    acknowledge(scenario, "s-1")
    steady(scenario, 60)
    assert limits(scenario)["s-1"] == 10_580


def test_what_charges_is_not_paused_so_that_another_can_start() -> None:
    """The older request gets its vehicle late, while an offline session still holds most of the power."""
    scenario = Scenario().given(site(4_300), *connected(), *connected(OTHER, fence=5), *connected(THIRD, fence=7))
    scenario.given(request("s-3", THIRD))
    for session_id, cp_id in (("s-1", CP), ("s-2", OTHER)):
        scenario.given(request(session_id, cp_id), plug(cp_id))
    share(scenario)
    scenario.given(started("s-1"), started("s-2", cp_id=OTHER))
    assert limits(scenario) == {"s-1": 2_070, "s-2": 2_070}
    scenario.given(engine_down(OTHER, fence=5), plug(THIRD))
    assert share(scenario) == {}
    scenario.pass_time(LEASE_MS + MARGIN_MS + 1)
    assert share(scenario) == {"s-1": 1_380, "s-3": 1_380}


NOT_READY: dict[str, list[AnyCommand | e.Event]] = {
    "no vehicle": [plug(plugged=False)],
    "engine away": [engine_down()],
    "engine not booted": [engine_down(), engine_up(fence=3)],
    "broken": [c.ReportStatus(cp_id=CP, connector=ConnectorNo(1), occupied=True, error="hot")],
    "hold": [e.HoldPlaced(cp_id=CP, hold=Hold.WEATHER)],
    "monitor awaited": [monitor_up(), site(), engine_up(fence=3), boot()],
}
READY: dict[str, list[AnyCommand | e.Event]] = {
    "no vehicle": [plug()],
    "engine away": [engine_up(fence=3), boot()],
    "engine not booted": [boot()],
    "broken": [c.ReportStatus(cp_id=CP, connector=ConnectorNo(1), occupied=True)],
    "hold": [e.HoldLifted(cp_id=CP, hold=Hold.WEATHER)],
    "monitor awaited": [monitor_up(fence=4)],
}


@pytest.mark.parametrize("why", NOT_READY)
def test_nothing_starts_where_it_must_not(why: str) -> None:
    scenario = Scenario().given(site(), *connected(), plug(), request(), *NOT_READY[why])
    assert share(scenario) == {}
    *before, last = READY[why]
    scenario.given(*before)
    effects = scenario.apply(last) if isinstance(last, e.Event) else scenario.when(last).effects
    assert fx.Dirty(node_id=MAIN) in effects
    assert share(scenario) == {"s-1": 11_040}


def test_a_session_that_was_stopped_is_not_steered() -> None:
    scenario = one().given(monitor_up(), monitor_down())
    scenario.pass_time(LEASE_MS)
    assert share(scenario) == {}


# --- the capacity changes ---------------------------------------------------------------------------------------------


def test_a_cut_below_the_minima_pauses_the_last_ones() -> None:
    scenario = two().given(set_capacity(2_759))
    assert share(scenario) == {"s-1": 2_530, "s-2": 0}
    assert scenario.session("s-2").lease.newest.fallback_w == 0
    acknowledge(scenario, "s-1")
    acknowledge(scenario, "s-2")
    assert scenario.worst_w() == 2_530
    steady(scenario.given(set_capacity(2_760)), 60)
    assert limits(scenario) == {"s-1": 1_380, "s-2": 1_380}


def test_where_not_all_can_charge_they_take_turns() -> None:
    scenario = two().given(set_capacity(2_759))
    seen = set()
    for _ in range(4):
        steady(scenario, 600)
        seen |= {session_id for session_id, watts in limits(scenario).items() if watts}
        assert scenario.worst_w() <= 2_759
    assert seen == {"s-1", "s-2"}


def test_a_cut_holds_at_the_latest_when_leases_have_run_out() -> None:
    """Until the decreases are acknowledged or the leases have run out, the old limits may still rule; not longer."""
    scenario = two().given(set_capacity(3_000))
    assert share(scenario) == {"s-1": 1_610, "s-2": 1_380}
    assert scenario.worst_w() == 9_200
    acknowledge(scenario, "s-1")
    assert scenario.worst_w() == 6_210
    scenario.pass_time(LEASE_MS + MARGIN_MS + 1)
    assert scenario.worst_w() <= 3_000


def test_a_cut_of_what_nobody_can_be_told_ends_at_the_fallbacks() -> None:
    """Two offline charge points go on at their minima: what was reserved, and no more."""
    scenario = two().given(engine_down(), engine_down(OTHER, fence=5), set_capacity(0))
    assert share(scenario) == {}
    scenario.pass_time(LEASE_MS + MARGIN_MS + 1)
    assert scenario.worst_w() == 2_760 == scenario.state.nodes[MAIN].reserved_w


def test_capacity_0() -> None:
    scenario = one().given(set_capacity(0))
    assert share(scenario) == {"s-1": 0}
    scenario.pass_time(LEASE_MS // 2 + 1)
    assert share(scenario) == {"s-1": 0}


# --- the configuration ------------------------------------------------------------------------------------------------


def configured(**capacities: int) -> c.StartCentral:
    return c.StartCentral(
        site=SiteConfig(capacities={NodeId(name): Watts(watts) for name, watts in capacities.items()})
    )


def capacities(scenario: Scenario) -> dict[str, int]:
    return {name: substation.capacity_w for name, substation in scenario.state.nodes.items()}


def test_an_operators_capacity_survives_a_restart_until_the_configured_one_changes() -> None:
    scenario = Scenario().given(configured(main=9_000, side=4_000), set_capacity(7_000))
    assert capacities(scenario.given(configured(main=9_000, side=4_000))) == {"main": 7_000, "side": 4_000}
    assert capacities(scenario.given(configured(main=8_000, side=4_000))) == {"main": 8_000, "side": 4_000}


def test_a_substation_that_is_gone_serves_nobody_new_until_it_is_back() -> None:
    scenario = Scenario().given(configured(main=9_000, side=4_000), configured(side=4_000))
    assert capacities(scenario) == {"main": 0, "side": 4_000}
    assert capacities(scenario.given(configured(main=9_000, side=4_000)))["main"] == 9_000


def test_charge_points_belong_to_the_first_substation_or_the_one_that_names_them() -> None:
    """First as the operator wrote them, not by the alphabet."""
    first, second = NodeId("zoo"), NodeId("alpha")
    site_config = SiteConfig(capacities={first: Watts(5_000), second: Watts(5_000)}, assignments={OTHER: second})
    scenario = Scenario().given(c.StartCentral(site=site_config), *connected(), *connected(OTHER, fence=5))
    assert (scenario.cp().node_id, scenario.cp(OTHER).node_id) == (first, second)


def test_a_charge_point_moves_only_while_nothing_is_open_there() -> None:
    scenario = Scenario().given(configured(main=9_000), *connected(), request(), *connected(OTHER, fence=5))
    moved = SiteConfig(
        capacities={MAIN: Watts(9_000), NodeId("side"): Watts(5_000)},
        assignments={CP: NodeId("side"), OTHER: NodeId("side")},
    )
    scenario.given(c.StartCentral(site=moved))
    assert (scenario.cp().node_id, scenario.cp(OTHER).node_id) == ("main", "side")


def test_an_assignment_to_a_substation_that_is_not_there_gets_no_power() -> None:
    site_config = SiteConfig(capacities={MAIN: Watts(9_000)}, assignments={CP: NodeId("typo")})
    scenario = Scenario().given(c.StartCentral(site=site_config), *connected()).when(request())
    assert isinstance(scenario.events[0], e.ChargeRefused)
    assert scenario.events[0].reason == "no_capacity"
