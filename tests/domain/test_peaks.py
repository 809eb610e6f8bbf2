"""The month's highest power: what of it becomes a record, and what of the base load is known."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from evcharge.domain import commands as c
from evcharge.domain import events as e
from evcharge.domain.grid import MAX_CAPACITY_W
from evcharge.domain.meters import ABSURD
from evcharge.domain.peaks import LEAST_RISE_W, RISE_PARTS, known_base_w
from evcharge.domain.site import NodeConfig
from evcharge.ids import NodeId
from evcharge.units import Watts
from tests.domain.test_tree import NORTH, ROW, SOUTH, TOP, tree
from tests.support.scenario import Scenario, canonical, replayed

NOVEMBER, DECEMBER = "2026-11", "2026-12"


def note(peak_w: int, month: str = NOVEMBER, node_id: NodeId = TOP) -> c.NotePeak:
    return c.NotePeak(node_id=node_id, month=month, peak_w=peak_w)


def rose(peak_w: int, month: str = NOVEMBER) -> e.PeakRose:
    return e.PeakRose(node_id=TOP, month=month, peak_w=Watts(peak_w))


def test_it_is_remembered_as_measured_when_it_rose_noticeably() -> None:
    scenario = Scenario().given(tree())
    scenario.when(note(LEAST_RISE_W - 1)).then()
    scenario.when(note(3_000)).then(rose(3_000))
    assert scenario.state.nodes[TOP].peak_ms == scenario.at_ms
    for peak_w in (0, 2_000, 3_000, 3_229):
        scenario.when(note(peak_w)).then()
    scenario.when(note(3_230)).then(rose(3_230))
    scenario.given(note(20_000)).when(note(20_399)).then()
    scenario.when(note(20_400)).then(rose(20_400))


def test_another_month_begins_with_nothing() -> None:
    scenario = Scenario().given(tree(), note(9_000)).when(note(4_000, DECEMBER)).then(rose(4_000, DECEMBER))
    node = scenario.state.nodes[TOP]
    assert (node.peak_w, node.peak_month) == (4_000, DECEMBER)


def test_only_the_top_of_a_tree_has_one_and_an_absurd_one_is_none() -> None:
    scenario = Scenario().given(tree())
    for command in (note(5_000, node_id=NORTH), note(5_000, node_id=NodeId("nowhere")), note(ABSURD * 13_000 + 1)):
        scenario.when(command).then()
    scenario.when(note(ABSURD * 13_000)).then(rose(ABSURD * 13_000))


@given(peaks=st.lists(st.tuples(st.integers(-10, 40_000), st.sampled_from([NOVEMBER, DECEMBER])), max_size=60))
def test_never_more_than_measured_and_hardly_less(peaks: list[tuple[int, str]]) -> None:
    scenario, most_w, running = Scenario().given(tree()), 0, ""
    for peak_w, month in peaks:
        scenario.given(note(peak_w, month))
        node = scenario.state.nodes[TOP]
        if peak_w > ABSURD * 13_000:
            continue
        if month != running and peak_w < LEAST_RISE_W:
            continue
        most_w, running = (max(most_w, peak_w) if month == running else peak_w), month
        assert node.peak_month == month
        assert node.peak_w <= most_w < node.peak_w + max(LEAST_RISE_W, node.peak_w / RISE_PARTS + 1)
    assert canonical(replayed(scenario.log)) == canonical(scenario.state)


@given(step=st.integers(1, 50_000))
def test_a_peak_that_creeps_up_fills_no_log(step: int) -> None:
    scenario, records = Scenario().given(tree(capacities={TOP: Watts(MAX_CAPACITY_W)}, nodes={}, assignments={})), 0
    peak_w = 0
    while peak_w < MAX_CAPACITY_W:
        kept_w = scenario.state.nodes[TOP].peak_w
        news_w = kept_w + max(LEAST_RISE_W, -(-kept_w // RISE_PARTS))
        peak_w = min(MAX_CAPACITY_W, max(peak_w + step, news_w))
        records += len(scenario.when(note(peak_w)).events)
    assert records < 700


def test_a_restart_remembers_it_and_a_tree_that_is_gone_does_not() -> None:
    scenario = Scenario().given(tree(), note(9_000))
    state = replayed(scenario.log)
    assert canonical(state) == canonical(scenario.state)
    scenario.state = state
    scenario.given(tree())
    assert scenario.state.nodes[TOP].peak_w == 9_000
    scenario.given(tree(capacities={NORTH: Watts(9_200)}, nodes={}, assignments={}))
    assert scenario.state.nodes[TOP].peak_w == 0


# --- the base load that is known --------------------------------------------------------------------------------------


def test_what_is_configured_counts_where_there_is_no_meter() -> None:
    nodes = {NORTH: NodeConfig(TOP, base_w=Watts(1_000)), SOUTH: NodeConfig(TOP, base_w=Watts(2_000))}
    nodes[ROW] = NodeConfig(NORTH)
    scenario = Scenario().given(tree(nodes=nodes))
    assert known_base_w(scenario.state, TOP, {}) == 3_000
    assert known_base_w(scenario.state, TOP, {NORTH: 400}) == 2_400, "measured, though less than configured"
    assert known_base_w(scenario.state, TOP, {NORTH: 400, ROW: 700}) == 2_700
    assert known_base_w(scenario.state, TOP, {TOP: 500, NORTH: 400}) == 500, "the meter at the top has all of it"


def test_a_silent_meter_has_measured_nothing() -> None:
    """What is remembered of it is the most that it ever showed, and a bill is not for that."""
    nodes = {NORTH: NodeConfig(TOP, base_w=Watts(1_000)), SOUTH: NodeConfig(TOP), ROW: NodeConfig(NORTH)}
    scenario = Scenario().given(tree(nodes=nodes), c.NoteBaseLoad(node_id=NORTH, base_w=6_000))
    assert known_base_w(scenario.state, TOP, {}) == 0
    assert known_base_w(scenario.state, TOP, {NORTH: 800}) == 800
