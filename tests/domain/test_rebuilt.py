"""A site whose file was changed while vehicles charge: what they draw counts wherever it may flow."""

from __future__ import annotations

from evcharge.domain import commands as c
from evcharge.domain import events as e
from evcharge.domain.digest import Digest, fingerprint
from evcharge.domain.headroom import worst_case_w
from evcharge.domain.site import NodeConfig, SiteConfig
from evcharge.energy.model import Policy
from evcharge.ids import ChargePointId, NodeId
from evcharge.units import Watts
from tests.support.one_session import ended
from tests.support.scenario import BEN, CP, OTHER, Scenario, connected, plug, reallocate, request, started

TOP, NORTH, SOUTH, ROW = (NodeId(name) for name in ("top", "north", "south", "row"))


def file(capacities: dict[NodeId, int], parents: dict[NodeId, NodeId], **stands: NodeId) -> c.StartCentral:
    """A site file; CP and OTHER stand where ``stands`` says (``cp``, ``other``)."""
    config = SiteConfig(
        capacities={node_id: Watts(watts) for node_id, watts in capacities.items()},
        nodes={node_id: NodeConfig(parent) for node_id, parent in parents.items()},
        assignments={CP: stands["cp"], OTHER: stands["other"]},
        policy=Policy.SLLF,
    )
    return c.StartCentral(site=config)


def shared(scenario: Scenario, *roots: NodeId) -> None:
    """Share anew until nothing changes; what is sent to those who are there is confirmed."""
    for _ in range(6):
        for root in roots:
            scenario.when(reallocate(root))
            for event in list(scenario.events):
                if isinstance(event, e.SetPointIssued):
                    session = scenario.session(event.session_id)
                    number = event.grant.command_id
                    scenario.given(c.ReportResult(cp_id=session.cp_id, command_id=number, outcome="done"))


def charge(scenario: Scenario, session_id: str, cp_id: ChargePointId, fence: int, *roots: NodeId) -> None:
    scenario.given(*connected(cp_id, fence), request(session_id, cp_id, BEN), plug(cp_id))
    shared(scenario, *roots)
    scenario.given(started(session_id, cp_id=cp_id))


def test_what_charges_below_a_node_that_is_gone_still_counts_above_it() -> None:
    capacities = {TOP: 11_040, NORTH: 11_040, ROW: 11_040}
    scenario = Scenario().given(file(capacities, {NORTH: TOP, ROW: NORTH}, cp=ROW, other=NORTH))
    charge(scenario, "s-1", CP, 1, TOP)
    assert scenario.session().lease.worst_w(scenario.clock_ms) == 11_040
    del capacities[ROW]
    scenario.pass_time(1_000)
    scenario.given(file(capacities, {NORTH: TOP}, cp=NORTH, other=NORTH))
    charge(scenario, "s-2", OTHER, 2, TOP)
    assert worst_case_w(scenario.state, scenario.clock_ms)[TOP] == 11_040
    assert scenario.session("s-2").lease.worst_w(scenario.clock_ms) == 0, "the first one was not told of anything"
    scenario.pass_time(120_000)
    shared(scenario, TOP)
    assert worst_case_w(scenario.state, scenario.clock_ms)[TOP] <= 11_040


def test_a_renamed_node_goes_on_with_its_sessions() -> None:
    scenario = Scenario().given(file({TOP: 30_000, NORTH: 11_040}, {NORTH: TOP}, cp=NORTH, other=NORTH))
    charge(scenario, "s-1", CP, 1, TOP)
    renamed = file({TOP: 30_000, SOUTH: 5_000}, {SOUTH: TOP}, cp=SOUTH, other=SOUTH)
    scenario.given(renamed, *connected(CP, fence=7))
    shared(scenario, TOP)
    assert (scenario.cp().node_id, scenario.cp().leaving_id) == (SOUTH, None)
    assert scenario.session().lease.worst_w(scenario.clock_ms) == 4_830, "in whole amperes what the new one can hold"
    assert not scenario.state.away


def test_a_charge_point_that_is_busy_counts_at_both_places_and_gets_its_new_one_when_it_is_free() -> None:
    def either(cp: NodeId) -> c.StartCentral:
        return file({NORTH: 22_000, SOUTH: 5_000}, {}, cp=cp, other=NORTH)

    scenario = Scenario().given(either(NORTH))
    charge(scenario, "s-1", CP, 1, NORTH)
    scenario.given(either(SOUTH), *connected(CP, fence=7))
    assert worst_case_w(scenario.state, scenario.clock_ms) == {NORTH: 11_040, SOUTH: 11_040}
    assert scenario.session().node_id == NORTH, "it draws from there"
    shared(scenario, NORTH)
    assert worst_case_w(scenario.state, scenario.clock_ms) == {NORTH: 4_830, SOUTH: 4_830}
    scenario.given(either(SOUTH), *connected(CP, fence=8))
    assert scenario.state.nodes[SOUTH].reserved_w == scenario.state.nodes[NORTH].reserved_w == 1_380
    digest = Digest(scenario.state)
    (event,) = scenario.when(ended(2_000)).events[:1]
    digest.touch(event)
    assert digest.value() == fingerprint(scenario.state)
    assert scenario.cp().node_id == SOUTH
    assert not scenario.state.away
    assert scenario.state.nodes[SOUTH].reserved_w == scenario.state.nodes[NORTH].reserved_w == 0
    scenario.given(plug(CP, plugged=False))
    charge(scenario, "s-2", CP, 9, NORTH, SOUTH)
    assert worst_case_w(scenario.state, scenario.clock_ms) == {NORTH: 0, SOUTH: 4_830}


def test_a_charge_point_whose_place_is_changed_back_never_left() -> None:
    scenario = Scenario().given(file({NORTH: 22_000, SOUTH: 5_000}, {}, cp=NORTH, other=NORTH))
    charge(scenario, "s-1", CP, 1, NORTH)
    for place in (SOUTH, NORTH):
        scenario.given(file({NORTH: 22_000, SOUTH: 5_000}, {}, cp=place, other=NORTH))
    assert (scenario.cp().node_id, scenario.cp().leaving_id) == (NORTH, None)
    assert worst_case_w(scenario.state, scenario.clock_ms) == {NORTH: 11_040, SOUTH: 0}
