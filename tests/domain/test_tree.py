"""Limits above and below each other: site, substations, feeders, phases, base loads, plans and rules."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evcharge.domain import commands as c
from evcharge.domain import events as e
from evcharge.domain.demand import planned_nodes
from evcharge.domain.headroom import BadTree, check_tree, measured_all_over, tight_nodes
from evcharge.domain.reasons import Basis, Bound, Constraint, Rejected, sentence
from evcharge.domain.site import NodeConfig, SiteConfig
from evcharge.domain.state import Ruled, RuleInput
from evcharge.domain.words import LimitReason
from evcharge.energy.model import Input, Plan, Policy
from evcharge.energy.rules import ChargingMode, Rule
from evcharge.ids import ChargePointId, NodeId, SessionId
from evcharge.units import Watts
from tests.support.scenario import SITE_MS, Scenario, boot, connected, engine_up, plug, request, started

TOP, NORTH, SOUTH, ROW = (NodeId(name) for name in ("top", "north", "south", "row"))
CPS = [ChargePointId(f"cp-{i}") for i in range(1, 5)]


def tree(**changed: object) -> c.StartCentral:
    """13 kW for the site, 9.2 kW for each substation, 4.6 kW for a feeder of the north; a charge point at each."""
    about: dict[str, object] = {
        "capacities": {TOP: Watts(13_000), NORTH: Watts(9_200), SOUTH: Watts(9_200), ROW: Watts(4_600)},
        "nodes": {NORTH: NodeConfig(TOP), SOUTH: NodeConfig(TOP), ROW: NodeConfig(NORTH)},
        "assignments": dict(zip(CPS, (NORTH, SOUTH, ROW, ROW), strict=True)),
        "policy": Policy.SLLF,
    }
    return c.StartCentral(site=SiteConfig(**(about | changed)))  # type: ignore[arg-type]


def site(*which: int, config: c.StartCentral | None = None, **more: int) -> Scenario:
    """A vehicle with a request at each of these charge points."""
    scenario = Scenario().given(config or tree())
    for i in which:
        cp_id = CPS[i - 1]
        scenario.given(*connected(cp_id, fence=i), request(f"s-{i}", cp_id, **more), plug(cp_id))
    return scenario


def shared(
    scenario: Scenario,
    measured_w: dict[NodeId, int] | None = None,
    node_id: NodeId = ROW,
) -> None:
    """Share anew until nothing changes, everything acknowledged."""
    for _ in range(8):
        scenario.when(c.Reallocate(node_id=node_id, measured_w=measured_w or {}))
        for event in list(scenario.events):
            assert isinstance(event, e.SetPointIssued)
            session = scenario.session(event.session_id)
            number = event.grant.command_id
            scenario.given(c.ReportResult(cp_id=session.cp_id, command_id=number, outcome="done"))  # type: ignore[arg-type]
            if session.start_ms is None:
                scenario.given(started(event.session_id, cp_id=session.cp_id))


def limits(scenario: Scenario) -> dict[str, int]:
    return {sid: s.lease.newest.limit_w for sid, s in scenario.state.sessions.items() if s.lease.newest is not None}


def test_each_limit_on_the_way_up_binds() -> None:
    scenario = site(1, 2, 3, 4)
    shared(scenario)
    found = limits(scenario)
    assert found["s-3"] + found["s-4"] <= 4_600
    assert found["s-1"] + found["s-3"] + found["s-4"] <= 9_200
    assert sum(found.values()) <= 13_000
    assert sum(found.values()) > 13_000 - 230, "nothing that fits is left over"


def test_the_lowest_limit_that_binds_is_the_reason() -> None:
    scenario = site(3, 4)
    shared(scenario)
    assert limits(scenario) == {"s-3": 2_300, "s-4": 2_300}
    issued = [event for event in scenario.when(c.Reallocate(node_id=TOP)).events if isinstance(event, e.SetPointIssued)]
    assert not issued
    assert scenario.session("s-3").limit_reason is LimitReason.SHARED


def test_a_request_needs_room_for_its_smallest_current_all_the_way_up() -> None:
    config = tree(capacities={TOP: Watts(2_759), NORTH: Watts(9_200), SOUTH: Watts(9_200), ROW: Watts(4_600)})
    scenario = site(1, config=config).given(*connected(CPS[1], fence=2)).when(request("s-2", CPS[1]))
    (refused,) = scenario.events
    assert isinstance(refused, e.ChargeRefused)
    assert refused.reason == "no_capacity"
    assert refused.basis is not None
    assert refused.basis.bound == Bound(Constraint.MINIMA, "top", 2_759, 1_380)


def test_reservations_are_counted_at_every_node_and_given_back() -> None:
    scenario = site(1, 3)
    reserved = {node_id: node.reserved_w for node_id, node in scenario.state.nodes.items()}
    assert reserved == {TOP: 2_760, NORTH: 2_760, SOUTH: 0, ROW: 1_380}
    scenario.given(c.EndCharge(driver_id=scenario.session("s-3").driver_id, session_id=SessionId("s-3")))
    assert {node_id: node.reserved_w for node_id, node in scenario.state.nodes.items()} == {
        TOP: 1_380,
        NORTH: 1_380,
        SOUTH: 0,
        ROW: 0,
    }


def test_a_restart_with_another_tree_moves_the_reservations() -> None:
    scenario = site(3).given(tree(nodes={ROW: NodeConfig(SOUTH), SOUTH: NodeConfig(TOP)}))
    assert {node_id: node.reserved_w for node_id, node in scenario.state.nodes.items()} == {
        TOP: 1_380,
        NORTH: 0,
        SOUTH: 1_380,
        ROW: 1_380,
    }


def test_the_base_load_is_kept_free_whatever_a_meter_says() -> None:
    nodes = {NORTH: NodeConfig(TOP, base_w=Watts(4_600)), SOUTH: NodeConfig(TOP), ROW: NodeConfig(NORTH)}
    scenario = site(1, config=tree(nodes=nodes))
    shared(scenario, {NORTH: 0})
    assert limits(scenario) == {"s-1": 4_600}


def test_a_meter_that_shows_more_lowers_at_once_and_its_age_is_in_the_log() -> None:
    scenario = site(1)
    shared(scenario)
    assert limits(scenario) == {"s-1": 9_200}
    scenario.when(c.Reallocate(node_id=NORTH, measured_w={NORTH: 3_000}, ages_ms={NORTH: 40}))
    (event,) = scenario.events
    assert isinstance(event, e.SetPointIssued)
    assert event.grant.limit_w == 5_980
    assert event.basis is not None
    assert Input("base load of north", 40) in event.basis.inputs
    # The worst case of the session itself still counts until it has confirmed less.
    assert event.basis.bound == Bound(Constraint.CAPACITY, "north", 9_200, 0, 1, base_w=3_000)


@pytest.mark.parametrize("told", ["the file", "meters"])
def test_base_load_below_a_node_flows_through_it_too(told: str) -> None:
    """4 kW at the row and 1 kW at the south are 5 kW of the site's 13; the north carries the row's."""
    base_w = {ROW: Watts(4_000), SOUTH: Watts(1_000)}
    filed = base_w if told == "the file" else {}
    parents = {NORTH: TOP, SOUTH: TOP, ROW: NORTH}
    nodes = {name: NodeConfig(parent, base_w=filed.get(name, Watts(0))) for name, parent in parents.items()}
    scenario = site(1, 2, config=tree(nodes=nodes))
    measured_w = {name: int(watts) for name, watts in base_w.items() if not filed}
    shared(scenario, measured_w)
    found = limits(scenario)
    assert sum(found.values()) <= 13_000 - 5_000
    assert sum(found.values()) > 13_000 - 5_000 - 460, "and counts once"
    assert found["s-1"] <= 9_200 - 4_000
    planned = {node.id: node.base_w for node in planned_nodes(scenario.state, TOP, measured_w)}
    assert planned == {TOP: 5_000, NORTH: 4_000, SOUTH: 1_000, ROW: 4_000}
    assert tight_nodes(scenario.state, measured_w) >= {TOP}


def test_a_base_load_that_a_parent_knows_of_holds_all_below_it() -> None:
    """What is measured at the site is not added to what is measured below it."""
    nodes = {NORTH: NodeConfig(TOP, base_w=Watts(2_000)), SOUTH: NodeConfig(TOP), TOP: NodeConfig(base_w=Watts(3_000))}
    scenario = Scenario().given(tree(nodes=nodes))
    assert {node_id: node.base_w for node_id, node in scenario.state.nodes.items()} == {
        TOP: 3_000,
        NORTH: 2_000,
        SOUTH: 0,
        ROW: 0,
    }
    all_over_w = measured_all_over(scenario.state, {NORTH: 4_000, TOP: 3_500, SOUTH: -5})
    assert (all_over_w[TOP], all_over_w[NORTH], all_over_w[SOUTH]) == (4_000, 4_000, 0)
    assert measured_all_over(scenario.state, all_over_w) == all_over_w


def test_phases_are_limits_of_their_own() -> None:
    nodes = {NORTH: NodeConfig(TOP, phase_w=(Watts(2_300),) * 3), SOUTH: NodeConfig(TOP), ROW: NodeConfig(NORTH)}
    config = tree(nodes=nodes, phases={CPS[0]: (0,), CPS[2]: (0, 1, 2), CPS[3]: (1,)})
    scenario = site(1, 3, 4, config=config)
    shared(scenario)
    found = limits(scenario)
    assert found["s-1"] + found["s-3"] / 3 <= 2_300
    assert found["s-4"] + found["s-3"] / 3 <= 2_300
    alone = site(3, config=config)
    shared(alone)
    assert limits(alone) == {"s-3": 4_600}, "spread over three phases it gets more than one of them holds"


def test_where_the_phase_is_not_known_each_has_to_hold_it() -> None:
    nodes = {NORTH: NodeConfig(TOP, phase_w=(Watts(9_000), Watts(9_000), Watts(2_300))), SOUTH: NodeConfig(TOP)}
    scenario = site(1, config=tree(nodes=nodes))
    scenario.when(c.Reallocate(node_id=NORTH))
    (event,) = scenario.events
    assert isinstance(event, e.SetPointIssued)
    assert event.grant.limit_w == 2_300
    assert event.basis is not None
    assert event.basis.bound.node == "north/L3"


def planned() -> Scenario:
    """One car with eight hours for 10 kWh, at a site that plans."""
    scenario = Scenario().given(tree(policy=Policy.PLAN), *connected(CPS[0], fence=1))
    depart_ms = scenario.at_ms + 8 * 3_600_000
    scenario.given(request("s-1", CPS[0], energy_wh=10_000, depart_by_ms=depart_ms), plug(CPS[0]))
    shared(scenario)
    scenario.given(started("s-1", cp_id=CPS[0]))
    scenario.pass_time(1)
    return scenario


def test_a_plan_holds_back_until_it_is_too_old() -> None:
    scenario = planned()
    plan = Plan(made_ms=scenario.at_ms, starts_ms=(scenario.at_ms,), target_w={NORTH: (2_300,)})
    scenario.given(c.AdoptPlan(root_id=TOP, plan=plan))
    scenario.when(c.Reallocate(node_id=NORTH))
    (event,) = scenario.events
    assert isinstance(event, e.SetPointIssued)
    assert (event.grant.limit_w, event.reason) == (2_300, LimitReason.PLAN)
    assert event.basis is not None
    assert event.basis.bound == Bound(Constraint.PLAN, "north", 2_300, 0, 1)
    assert Input("plan", 0) in event.basis.inputs
    shared(scenario)
    for _ in range(100):
        scenario.pass_time(10_000)
        shared(scenario)
    assert limits(scenario) == {"s-1": 9_200}


def test_who_was_held_at_nothing_by_a_plan_that_is_withdrawn_goes_on_at_once() -> None:
    """Calm is for those who have something: a minute at 0 W saves no flash."""
    scenario = planned()
    nothing = Plan(made_ms=scenario.at_ms, starts_ms=(scenario.at_ms,), target_w={NORTH: (0,)})
    scenario.given(c.AdoptPlan(root_id=TOP, plan=nothing))
    shared(scenario)
    assert limits(scenario) == {"s-1": 0}
    scenario.pass_time(1)
    withdrawn = Plan(made_ms=scenario.at_ms, life_ms=0, starts_ms=(), target_w={})
    scenario.given(c.AdoptPlan(root_id=TOP, plan=withdrawn))
    shared(scenario)
    assert limits(scenario)["s-1"] >= 9_200


def limited(scenario: Scenario) -> Basis:
    """What the newest set-point of this look stands on."""
    (*_, event) = [event for event in scenario.events if isinstance(event, e.SetPointIssued)]
    assert event.basis is not None
    return event.basis


@pytest.mark.parametrize(
    ("planned_w", "top_w", "bound", "said"),
    [
        # The plan gives nothing because the site has nothing to give.
        (
            *(0, 5_000, Bound(Constraint.MINIMA, "top", 5_000, 0, 1, base_w=10_000)),
            "top has 5 kW and a base load of 10 kW, which takes all of it: nothing is left to charge with",
        ),
        # The plan gives all that the site has beside its base load.
        (
            *(4_100, 14_100, Bound(Constraint.CAPACITY, "top", 14_100, 0, 1, base_w=10_000)),
            "top has 14.1 kW and a base load of 10 kW, 4.1 kW of it for this session",
        ),
        # There is more, and the plan leaves it.
        (2_300, 14_100, Bound(Constraint.PLAN, "row", 2_300, 0, 1), "the plan gives row 2.3 kW now, shared by 1"),
        (0, 14_100, Bound(Constraint.PLAN, "row", 0, 0, 1), "the plan gives row 0 kW now, shared by 1"),
    ],
)
def test_a_plan_that_gives_what_a_limit_leaves_is_not_the_reason(
    planned_w: int, top_w: int, bound: Bound, said: str
) -> None:
    base = {TOP: NodeConfig(base_w=Watts(10_000)), NORTH: NodeConfig(TOP), SOUTH: NodeConfig(TOP)}
    capacities = {TOP: Watts(60_000), NORTH: Watts(40_000), SOUTH: Watts(40_000), ROW: Watts(20_000)}
    nodes = base | {ROW: NodeConfig(NORTH)}
    scenario = Scenario().given(tree(policy=Policy.PLAN, nodes=nodes, capacities=capacities))
    depart_ms = scenario.at_ms + 8 * 3_600_000
    wish = request("s-3", CPS[2], energy_wh=10_000, depart_by_ms=depart_ms)
    scenario.given(*connected(CPS[2], fence=3), wish, plug(CPS[2]))
    shared(scenario)
    assert limits(scenario) == {"s-3": 11_040}
    scenario.given(e.CapacityChanged(substation_id=TOP, capacity_w=Watts(top_w)))
    scenario.pass_time(1)
    plan = Plan(made_ms=scenario.at_ms, starts_ms=(scenario.at_ms,), target_w={ROW: (planned_w,)})
    scenario.given(c.AdoptPlan(root_id=TOP, plan=plan)).when(c.Reallocate(node_id=ROW))
    basis = limited(scenario)
    assert basis.bound == bound
    assert basis.rejected == (Rejected(11_040, bound.constraint),)
    assert sentence(basis).startswith(f"{said}; ")


def test_base_load_is_nothing_that_others_may_draw() -> None:
    capacities = {TOP: Watts(60_000), NORTH: Watts(14_000), SOUTH: Watts(40_000), ROW: Watts(20_000)}
    scenario = site(1, config=tree(capacities=capacities))
    shared(scenario, {NORTH: 1_000})
    assert limits(scenario) == {"s-1": 11_040}
    scenario.given(*connected(CPS[2], fence=3), request("s-3", CPS[2]), plug(CPS[2]))
    scenario.when(c.Reallocate(node_id=NORTH, measured_w={NORTH: 1_000}))
    (newcomer,) = [it for it in scenario.events if isinstance(it, e.SetPointIssued) and it.session_id == "s-3"]
    assert newcomer.basis is not None
    assert newcomer.grant.limit_w == 1_840
    assert newcomer.basis.bound == Bound(Constraint.WORST_CASE, "north", 14_000, 11_040, 2, 1_000)


@given(st.integers(0, 20_000), st.integers(0, 20_000))
def test_what_binds_is_never_more_than_the_limit_holds(base_w: int, top_w: int) -> None:
    """Base load and others are parts of the limit, each counted once; a limit that was cut is all that may be less."""
    nodes = {TOP: NodeConfig(base_w=Watts(base_w)), NORTH: NodeConfig(TOP), SOUTH: NodeConfig(TOP)}
    capacities = {TOP: Watts(60_000), NORTH: Watts(40_000), SOUTH: Watts(40_000), ROW: Watts(20_000)}
    scenario = site(1, 2, config=tree(nodes=nodes | {ROW: NodeConfig(NORTH)}, capacities=capacities))
    shared(scenario)
    scenario.given(e.CapacityChanged(substation_id=TOP, capacity_w=Watts(top_w))).when(c.Reallocate(node_id=TOP))
    for event in scenario.events:
        assert isinstance(event, e.SetPointIssued)
        assert event.basis is not None
        bound = event.basis.bound
        if bound.constraint in (Constraint.CAPACITY, Constraint.MINIMA):
            assert (bound.node, bound.limit_w, bound.base_w) == (TOP, top_w, base_w)
            others_w = sum(it.lease.worst_w(scenario.clock_ms) for it in scenario.state.sessions.values())
            assert bound.others_w <= others_w


def test_a_plan_that_was_overtaken_says_nothing() -> None:
    scenario = Scenario().given(tree())
    newer = Plan(made_ms=2_000, starts_ms=(2_000,), target_w={})
    scenario.given(c.AdoptPlan(root_id=TOP, plan=newer))
    older = Plan(made_ms=1_999, starts_ms=(1_999,), target_w={NORTH: (0,)})
    scenario.when(c.AdoptPlan(root_id=TOP, plan=older)).then()
    assert scenario.state.plans == {TOP: newer}


def test_a_plan_of_a_clock_that_was_ahead_once_does_not_end_planning() -> None:
    scenario = Scenario().given(tree())
    ahead_ms, now_ms = scenario.at_ms + 86_400_000, scenario.at_ms
    for made_ms in (ahead_ms, now_ms):
        plan = Plan(made_ms=made_ms, starts_ms=(made_ms,), target_w={SOUTH: (2_300,)})
        scenario.when(c.AdoptPlan(root_id=TOP, plan=plan)).then(e.PlanAdopted(root_id=TOP, plan=plan))
    assert scenario.state.plans[TOP].holds(now_ms)


def ruling(ceiling_w: int, rule: Rule = Rule.SOLAR_LOW) -> c.Rule:
    mode = ChargingMode.PAUSE if ceiling_w == 0 else ChargingMode.SLOW
    inputs = (RuleInput(name="grid_percent", milli=40_000, age_ms=700),)
    return c.Rule(ruling=Ruled(mode=mode, rule=rule, ceiling_w=ceiling_w, wanted_w=ceiling_w, inputs=inputs))


def test_a_rule_limits_a_real_session_and_is_its_reason() -> None:
    scenario = site(2, config=tree(rules=True)).given(ruling(5_000))
    scenario.when(c.Reallocate(node_id=SOUTH))
    (event,) = scenario.events
    assert isinstance(event, e.SetPointIssued)
    assert (event.grant.limit_w, event.reason) == (5_000, LimitReason.RULE)
    assert event.basis is not None
    assert event.basis.bound == Bound(Constraint.RULE, "solar_low", 5_000)
    assert event.basis.inputs == (Input("grid_percent", 700),)
    assert event.basis.rejected == (Rejected(11_040, Constraint.RULE),)


def test_a_pause_of_the_rules_is_0_watts_in_a_session_that_goes_on() -> None:
    scenario = site(2, config=tree(rules=True)).given(ruling(5_000))
    shared(scenario)
    scenario.given(ruling(0, Rule.GRID_HIGH))
    shared(scenario)
    assert limits(scenario) == {"s-2": 0}
    assert scenario.session("s-2").stop is None


def test_a_word_about_a_hurry_gives_the_smallest_current_in_a_pause() -> None:
    hurry = request("s-2", CPS[1], energy_wh=1_000_000, depart_by_ms=SITE_MS + 3_600_000)
    scenario = Scenario().given(tree(rules=True), *connected(CPS[1]), hurry, plug(CPS[1]))
    scenario.given(ruling(0, Rule.GRID_HIGH))
    shared(scenario)
    assert limits(scenario) == {"s-2": 1_380}


def test_who_stays_longer_than_he_said_is_not_more_urgent_for_it() -> None:
    """Both want more than they can get; one said that he leaves in a second."""
    about = tree(capacities={TOP: Watts(11_040)}, nodes={}, assignments=dict.fromkeys(CPS, TOP))
    scenario = Scenario().given(about)
    for i, depart_by_ms in ((1, SITE_MS + 1_000), (2, SITE_MS + 8 * 3_600_000)):
        asked = request(f"s-{i}", CPS[i - 1], energy_wh=1_000_000, depart_by_ms=depart_by_ms)
        scenario.given(*connected(CPS[i - 1], fence=i), asked, plug(CPS[i - 1]))
    for _ in range(8):
        scenario.pass_time(61_000)
        shared(scenario, node_id=TOP)
    assert limits(scenario) == {"s-1": 5_520, "s-2": 5_520}


@pytest.mark.parametrize("most_w", [1_400, 1_402, 1_404, 1_500])
def test_a_connector_that_can_do_its_smallest_current_only_is_served_where_power_is_short(most_w: int) -> None:
    """1,400 W are no whole amperes: six of them are 1,404 W."""
    scenario = Scenario().given(tree())
    for i in (3, 4):
        cp_id = CPS[i - 1]
        smallest = 1_400 if i == 3 else 1_380
        ratings = boot(cp_id, min_w=smallest, max_w=most_w if i == 3 else 11_040)
        scenario.given(engine_up(cp_id, fence=i), ratings, request(f"s-{i}", cp_id), plug(cp_id))
    shared(scenario)
    found = limits(scenario)
    assert 1_400 <= found["s-3"] <= most_w
    assert found["s-3"] + found["s-4"] <= 4_600


def test_before_anything_is_known_rules_give_nothing() -> None:
    scenario = site(2, config=tree(rules=True))
    scenario.when(c.Reallocate(node_id=SOUTH)).then()


def test_the_same_ruling_again_is_no_news() -> None:
    scenario = Scenario().given(tree(rules=True), ruling(5_000))
    scenario.when(ruling(5_000)).then()
    assert scenario.given(tree()).state.ruling is None, "rules that were switched off rule no more"


BAD = {
    "slash": (
        {"capacities": {NodeId("row/L1"): Watts(9_200)}, "nodes": {}, "assignments": {}},
        "row/L1 holds a slash",
    ),
    "no parent": ({"nodes": {NORTH: NodeConfig(NodeId("moon"))}}, "north is fed from moon, which there is not"),
    "cycle": (
        {"nodes": {NORTH: NodeConfig(SOUTH), SOUTH: NodeConfig(NORTH)}},
        "fed from itself: north < south < north",
    ),
    "no capacity": ({"nodes": {NodeId("moon"): NodeConfig()}}, "moon has no capacity"),
    "all base": ({"nodes": {NORTH: NodeConfig(base_w=Watts(9_201))}}, "nothing is left to charge with"),
    "all base below": (
        {
            "nodes": {
                NORTH: NodeConfig(TOP, base_w=Watts(7_000)),
                SOUTH: NodeConfig(TOP, base_w=Watts(7_000)),
                ROW: NodeConfig(NORTH),
            }
        },
        "top has a capacity of 13000 W, and what is below it a base load of 14000 W: nothing is left",
    ),
    "nowhere": ({"assignments": {CPS[0]: NodeId("moon")}}, "stands at moon, which there is not"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_tree(kind: str) -> None:
    changed, sentence = BAD[kind]
    with pytest.raises(BadTree, match=sentence):
        check_tree(tree(**changed).site)
