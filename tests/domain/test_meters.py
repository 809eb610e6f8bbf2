"""Meters of the base load: what is remembered of one that is silent, what is never believed, and the way down."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evcharge.domain import commands as c
from evcharge.domain import events as e
from evcharge.domain.demand import planned_nodes
from evcharge.domain.grid import MAX_CAPACITY_W
from evcharge.domain.headroom import measured_all_over, tight_nodes
from evcharge.domain.meters import ABSURD, LEAST_MARGIN_W, MARGIN_PARTS, most_believed_w
from evcharge.domain.reasons import sentence
from evcharge.domain.refusals import RefusalReason
from evcharge.domain.site import NodeConfig
from evcharge.energy.model import Input
from evcharge.ids import NodeId
from evcharge.units import Watts
from tests.domain.test_tree import NORTH, ROW, SOUTH, TOP, limits, shared, site, tree
from tests.support.scenario import Scenario, canonical, replayed


def note(node_id: NodeId, base_w: int) -> c.NoteBaseLoad:
    return c.NoteBaseLoad(node_id=node_id, base_w=base_w)


def rose(node_id: NodeId, most_w: int) -> e.BaseLoadRose:
    return e.BaseLoadRose(node_id=node_id, most_w=Watts(most_w))


# --- what is remembered -----------------------------------------------------------------------------------------------


def test_what_is_remembered_is_above_the_reading_and_rises_only() -> None:
    scenario = Scenario().given(tree()).when(note(NORTH, 6_000)).then(rose(NORTH, 6_300))
    assert scenario.state.nodes[NORTH].metered_ms == scenario.at_ms
    for base_w in (0, 5_000, 6_300):
        scenario.when(note(NORTH, base_w)).then()
    scenario.when(note(NORTH, 6_301)).then(rose(NORTH, 6_617))
    scenario.when(note(SOUTH, 1)).then(rose(SOUTH, 1 + LEAST_MARGIN_W))


@given(readings=st.lists(st.integers(-10, 40_000), max_size=60))
def test_no_believed_reading_is_above_what_is_remembered(readings: list[int]) -> None:
    scenario = Scenario().given(tree())
    believed = [base_w for base_w in readings if base_w <= most_believed_w(scenario.state, NORTH)]
    for base_w in readings:
        scenario.given(note(NORTH, base_w))
    metered_w, most_w = scenario.state.nodes[NORTH].metered_w, max([0, *believed])
    assert most_w <= metered_w <= most_w + max(LEAST_MARGIN_W, most_w // MARGIN_PARTS + 1)
    assert canonical(replayed(scenario.log)) == canonical(scenario.state)


@given(step=st.integers(1, 50_000))
def test_a_meter_that_creeps_up_fills_no_log(step: int) -> None:
    scenario = Scenario().given(tree(capacities={NORTH: Watts(MAX_CAPACITY_W)}, nodes={}, assignments={}))
    records, base_w = 0, 0
    while base_w < MAX_CAPACITY_W:
        # The next reading that is news.
        base_w = min(MAX_CAPACITY_W, max(base_w + step, scenario.state.nodes[NORTH].metered_w + 1))
        records += len(scenario.when(note(NORTH, base_w)).events)
    assert records < 300


def test_a_silent_meter_counts_until_it_speaks_and_over_a_restart() -> None:
    """3 kW of base load at the row, then silence and a restart: no more is left for the vehicle."""
    scenario = site(1, 3).given(note(ROW, 3_000))
    shared(scenario, {ROW: 3_000})
    assert limits(scenario)["s-3"] == 1_380
    before = canonical(scenario.state)
    state = replayed(scenario.log)
    assert canonical(state) == before
    scenario.state = state
    scenario.given(tree())
    assert scenario.state.nodes[ROW].metered_w == 3_230
    assert measured_all_over(scenario.state, {}) == {TOP: 3_230, NORTH: 3_230, SOUTH: 0, ROW: 3_230}
    assert measured_all_over(scenario.state, {ROW: 1_000})[NORTH] == 1_000, "it speaks again"
    planned = {node.id: node.base_w for node in planned_nodes(scenario.state, TOP, {})}
    assert planned == {TOP: 3_230, NORTH: 3_230, SOUTH: 0, ROW: 3_230}
    assert NORTH in tight_nodes(scenario.state, {})


def test_silence_gives_no_power_away() -> None:
    """A meter that spoke when the vehicle came, and not since: nothing is raised into what it showed."""
    scenario = site(3).given(note(ROW, 3_000))
    shared(scenario, {})
    assert limits(scenario) == {}, "less than the smallest current is left"
    shared(scenario, {ROW: 0})
    assert limits(scenario)["s-3"] == 4_600


def test_counting_twice_changes_nothing() -> None:
    scenario = Scenario().given(tree(), note(ROW, 3_000), note(NORTH, 1_000))
    once = measured_all_over(scenario.state, {NORTH: 500})
    assert measured_all_over(scenario.state, once) == once
    assert once[NORTH] == 3_230


# --- what is never believed -------------------------------------------------------------------------------------------


def test_more_than_a_node_can_carry_twice_is_no_reading() -> None:
    scenario = Scenario().given(tree())
    assert most_believed_w(scenario.state, NORTH) == ABSURD * 9_200
    for base_w in (ABSURD * 9_200 + 1, 1_000_000_000, -5):
        scenario.when(note(NORTH, base_w)).then()
    scenario.when(note(NodeId("nowhere"), 5)).then()
    assert scenario.state.nodes[NORTH].metered_w == 0
    scenario.when(note(NORTH, ABSURD * 9_200)).then_kinds(e.BaseLoadRose)


def test_a_limit_that_was_cut_makes_no_reading_absurd() -> None:
    """What else draws there knows nothing of an operator's cut; of one that was raised the higher limit counts."""
    scenario = Scenario().given(tree(), c.SetCapacity(node_id=NORTH, capacity_w=0))
    assert most_believed_w(scenario.state, NORTH) == ABSURD * 9_200
    scenario.given(c.SetCapacity(node_id=NORTH, capacity_w=20_000))
    assert most_believed_w(scenario.state, NORTH) == ABSURD * 20_000


def test_where_no_limit_is_known_that_above_says_what_is_absurd() -> None:
    capacities = {TOP: Watts(13_000), NORTH: Watts(0)}
    scenario = Scenario().given(tree(capacities=capacities, nodes={NORTH: NodeConfig(TOP)}, assignments={}))
    assert most_believed_w(scenario.state, NORTH) == ABSURD * 13_000
    scenario.given(tree(capacities={TOP: Watts(0)}, nodes={}, assignments={}))
    assert most_believed_w(scenario.state, TOP) == MAX_CAPACITY_W


# --- the way down -----------------------------------------------------------------------------------------------------


def test_an_operator_ends_it() -> None:
    scenario = Scenario().given(tree(), note(NORTH, 6_000))
    scenario.when(c.ForgetBaseLoad(node_id=NORTH)).then(e.BaseLoadForgotten(node_id=NORTH))
    assert measured_all_over(scenario.state, {}) == {}
    scenario.when(c.ForgetBaseLoad(node_id=NORTH)).then()
    anew = e.BaseLoadForgotten(node_id=NORTH, most_w=Watts(4_230))
    scenario.when(c.ForgetBaseLoad(node_id=NORTH, fresh_w=4_000)).then(anew)
    assert scenario.state.nodes[NORTH].metered_w == 4_230
    assert canonical(replayed(scenario.log)) == canonical(scenario.state)
    (refused,) = scenario.when(c.ForgetBaseLoad(node_id=NodeId("nowhere"))).events
    assert isinstance(refused, e.RequestRefused)
    assert refused.reason is RefusalReason.UNKNOWN_SUBSTATION


def test_a_node_that_is_no_longer_there_remembers_nothing() -> None:
    scenario = Scenario().given(tree(), note(ROW, 3_000))
    kept = {TOP: Watts(13_000), NORTH: Watts(9_200), SOUTH: Watts(9_200)}
    nodes = {NORTH: NodeConfig(TOP), SOUTH: NodeConfig(TOP)}
    scenario.given(tree(capacities=kept, nodes=nodes, assignments={}))
    assert measured_all_over(scenario.state, {}) == {}


# --- what a set-point says of it --------------------------------------------------------------------------------------


def inputs(scenario: Scenario, **more: object) -> dict[str, tuple[Input, ...]]:
    scenario.when(c.Reallocate(node_id=TOP, **more))  # type: ignore[arg-type]  # a test's own mixture
    issued = [event for event in scenario.events if isinstance(event, e.SetPointIssued)]
    return {event.session_id: event.basis.inputs for event in issued if event.basis is not None}


def test_a_set_point_names_the_meters_on_its_way_and_the_oldest_of_the_others() -> None:
    measured_w, ages_ms = {ROW: 200, SOUTH: 300, NORTH: 500}, {ROW: 10, SOUTH: 20, NORTH: 30}
    found = inputs(site(1, 2, 3), measured_w=measured_w, ages_ms=ages_ms)
    assert found == {
        "s-1": (Input("base load of north", 30), Input("base load below top", 20)),
        "s-2": (Input("base load of south", 20), Input("base load below top", 30)),
        "s-3": (Input("base load of row", 10), Input("base load of north", 30), Input("base load below top", 20)),
    }


def test_what_is_remembered_is_as_old_as_its_reading() -> None:
    scenario = site(1, 2).given(note(NORTH, 2_000))
    scenario.pass_time(7_000)
    assert inputs(scenario, measured_w={TOP: 4_000}, ages_ms={TOP: 40}) == {
        "s-1": (Input("silent base load of north", 7_000), Input("base load of top", 40)),
        "s-2": (Input("base load of top", 40),),
    }
    scenario = site(2).given(note(NORTH, 2_000))
    found = inputs(scenario, measured_w={SOUTH: 9}, ages_ms={SOUTH: 40, NORTH: 12_000})
    assert found == {"s-2": (Input("base load of south", 40), Input("silent base load below top", 12_000))}


def test_a_hundred_meters_make_no_long_record() -> None:
    many = [NodeId(f"row-{i}") for i in range(100)]
    capacities = {name: Watts(9_200) for name in (TOP, NORTH, SOUTH, ROW, *many)}
    nodes = {name: NodeConfig(TOP) for name in (NORTH, SOUTH, *many)} | {ROW: NodeConfig(NORTH)}
    scenario = site(3, config=tree(capacities=capacities, nodes=nodes))
    found = inputs(scenario, measured_w=dict.fromkeys(many, 5), ages_ms=dict.fromkeys(many, 40))
    assert found == {"s-3": (Input("base load below top", 40),)}
    (issued,) = (event for event in scenario.events if isinstance(event, e.SetPointIssued))
    assert issued.basis is not None
    assert "base load below top 40 ms old" in sentence(issued.basis)


@pytest.mark.parametrize("lost", [True, False])
def test_who_waits_for_a_lost_node_hears_of_the_same_meters(lost: bool) -> None:
    scenario = site(1)
    shared(scenario)
    if lost:
        scenario.given(c.ReportNode(node_id=NORTH, ok=False))
    found = inputs(scenario, measured_w={NORTH: 4_000, SOUTH: 0}, ages_ms={NORTH: 30, SOUTH: 5})
    assert found["s-1"][-1] == Input("base load of north", 30)
