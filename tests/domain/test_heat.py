"""Limits in the heat: every limit on the way up falls, nothing is passed, and each decision says so."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evcharge.domain import commands as c
from evcharge.domain import effects as fx
from evcharge.domain import events as e
from evcharge.domain.demand import planned_nodes
from evcharge.domain.headroom import PHASES, Row, limit_of, rated_w, tight_nodes, worst_case_w
from evcharge.domain.prospects import Prospects
from evcharge.domain.reasons import Basis, Bound, Constraint, sentence
from evcharge.domain.refusals import RefusalReason
from evcharge.domain.site import NodeConfig
from evcharge.domain.state import Derated
from evcharge.domain.views import view_substations
from evcharge.energy.model import Input
from evcharge.energy.rules import Fault
from evcharge.ids import ChargePointId, NodeId
from evcharge.units import Millis, Watts
from tests.domain.test_tree import CPS, NORTH, ROW, SOUTH, TOP, limits, shared, site, tree
from tests.support.any_tree import any_site
from tests.support.scenario import SITE_MS, Domain, Scenario, canonical, connected, replayed, request

HOT = tree(assumed_share=500)
# Nobody knows, and the file takes it for mild.
MILD = tree(assumed_share=1_000)


def derate(share: int, milli_c: int | None = 50_000, at_ms: int | None = SITE_MS) -> c.Derate:
    """A thermometer said so."""
    return c.Derate(derated=Derated(share, milli_c, None if at_ms is None else Millis(at_ms)))


def test_until_anybody_says_how_hot_it_is_the_worst_is_assumed() -> None:
    scenario = Scenario().given(HOT)
    assert scenario.state.derated == Derated(500, fault=Fault.MISSING)
    assert limit_of(scenario.state, Row(TOP)) == 6_500


def test_where_nobody_asked_for_it_heat_changes_nothing() -> None:
    scenario = Scenario().given(tree()).when(derate(500)).then()
    assert scenario.state.derated is None
    assert limit_of(scenario.state, Row(TOP)) == 13_000
    scenario.given(HOT, derate(700))
    scenario.given(tree())
    assert scenario.state.derated is None


def test_what_the_log_has_holds_over_a_restart() -> None:
    scenario = Scenario().given(HOT, derate(800))
    scenario.state = replayed(scenario.log)
    scenario.given(HOT)
    assert scenario.state.derated == Derated(800, 50_000, Millis(SITE_MS))
    assert canonical(replayed(scenario.log)) == canonical(scenario.state)


def test_the_same_again_is_no_event() -> None:
    scenario = Scenario().given(HOT).when(derate(800)).then_kinds(e.DeratingChanged).told(fx.Dirty)
    scenario.when(derate(800)).then()


def test_every_limit_on_the_way_up_falls() -> None:
    scenario = site(1, 2, 3, 4, config=MILD).given(derate(750))
    shared(scenario)
    found = limits(scenario)
    assert found["s-3"] + found["s-4"] <= 3_450
    assert found["s-1"] + found["s-3"] + found["s-4"] <= 6_900
    assert 9_750 - 230 < sum(found.values()) <= 9_750, "nothing that fits is left over"


def test_in_the_heat_set_points_fall_at_once_and_rise_again() -> None:
    scenario = site(3, 4, config=MILD)
    shared(scenario)
    assert limits(scenario) == {"s-3": 2_300, "s-4": 2_300}
    scenario.given(derate(600))
    shared(scenario)
    assert limits(scenario) == {"s-3": 1_380, "s-4": 1_380}
    scenario.given(derate(1_000))
    scenario.pass_time(61_000)
    shared(scenario)
    assert limits(scenario) == {"s-3": 2_300, "s-4": 2_300}


def issued(scenario: Scenario) -> Basis:
    """What the newest set-point stands on."""
    found = [event for event in scenario.events if isinstance(event, e.SetPointIssued)]
    assert found and found[-1].basis is not None
    return found[-1].basis


def test_why_names_the_heat_and_the_thermometer_when_it_binds() -> None:
    scenario = site(3, config=HOT).given(derate(750))
    scenario.pass_time(90_000)
    basis = issued(scenario.when(c.Reallocate(node_id=ROW)))
    assert basis.bound == Bound(Constraint.CAPACITY, "row", 3_450, 0, 1, rated_w=4_600)
    assert Input("temperature", 90_000) in basis.inputs
    assert sentence(basis).startswith(
        "row has 3.45 kW in the heat (derated from 4.6 kW), 3.45 kW of it for this session"
    )


def test_why_does_not_name_it_where_something_else_binds() -> None:
    cool = site(3, config=HOT).given(derate(1_000))
    basis = issued(cool.when(c.Reallocate(node_id=ROW)))
    assert basis.bound.rated_w == 0 and "heat" not in sentence(basis)
    assert "temperature" not in [one.name for one in basis.inputs]
    wide = tree(assumed_share=500, capacities={each: Watts(50_000) for each in (TOP, NORTH, SOUTH, ROW)})
    rated = issued(site(3, config=wide).given(derate(900)).when(c.Reallocate(node_id=ROW)))
    assert rated.bound.constraint is Constraint.RATING and "heat" not in sentence(rated)


def test_a_temperature_that_nobody_knows_has_no_age() -> None:
    basis = issued(site(3, config=HOT).when(c.Reallocate(node_id=ROW)))
    assert basis.bound.rated_w == 4_600 and basis.bound.limit_w == 2_300
    assert "temperature" not in [one.name for one in basis.inputs]


def test_in_the_heat_there_is_room_for_fewer() -> None:
    scenario = site(3, config=HOT).given(derate(500), *connected(CPS[3], fence=4))
    event = scenario.when(request("s-4", CPS[3])).events[0]
    assert isinstance(event, e.ChargeRefused) and event.reason is RefusalReason.NO_CAPACITY
    assert event.basis is not None
    assert event.basis.bound == Bound(Constraint.MINIMA, "row", 2_300, 1_380, rated_w=4_600)
    assert "in the heat (derated from 4.6 kW)" in sentence(event.basis, 1_380)
    scenario.given(derate(700)).when(request("s-4", CPS[3])).then_kinds(e.ChargeAuthorized)


def test_everybody_who_looks_at_limits_sees_the_same() -> None:
    scenario = site(3, config=HOT).given(derate(800))
    state = scenario.state
    planned = {node.id: node.cap_w for node in planned_nodes(state, TOP, {})}
    shown = {view.substation_id: (view.capacity_w, view.limit_w) for view in view_substations(state, 0, 9)}
    assert planned == {node_id: limit for node_id, (_, limit) in shown.items()}
    assert shown == {TOP: (13_000, 10_400), NORTH: (9_200, 7_360), SOUTH: (9_200, 7_360), ROW: (4_600, 3_680)}
    assert tight_nodes(state, {}) == {TOP, NORTH, ROW}
    scenario.given(*connected(CPS[1], fence=2))
    one = state.charge_points[CPS[1]]
    watts = Prospects(state, scenario.stamp()).watts(one, one.connectors[next(iter(one.connectors))])
    assert 0 < watts <= 7_360


def test_what_holds_nobody_back_may_do_so_in_the_heat() -> None:
    capacities = {each: Watts(12_000) for each in (TOP, NORTH, SOUTH, ROW)}
    scenario = site(3, config=tree(assumed_share=500, capacities=capacities)).given(derate(1_000))
    assert tight_nodes(scenario.state, {}) == set()
    scenario.given(derate(900))
    assert tight_nodes(scenario.state, {}) == {TOP, NORTH, ROW}


def test_fuses_of_phases_fall_too() -> None:
    nodes = {NORTH: NodeConfig(TOP, phase_w=(Watts(1_001), Watts(2_000), Watts(3_000))), ROW: NodeConfig(NORTH)}
    scenario = Scenario().given(tree(nodes=nodes, assumed_share=500), derate(999))
    assert [limit_of(scenario.state, Row(NORTH, phase)) for phase in PHASES] == [999, 1_998, 2_997], "rounded down"
    (north,) = (node for node in planned_nodes(scenario.state, TOP, {}) if node.id == NORTH)
    assert north.phase_cap_w == (999, 1_998, 2_997)


SHARES = st.lists(st.integers(0, 1_000), min_size=1, max_size=6)


@given(config=any_site(), shares=SHARES)
def test_a_limit_in_the_heat_is_never_above_the_rated_one_and_falls_with_the_share(config, shares) -> None:  # type: ignore[no-untyped-def]
    domain = Domain()
    domain.execute(c.StartCentral(site=config))
    rows = [Row(node_id, phase) for node_id in config.capacities for phase in (None, *PHASES)]
    before: dict[Row, int] = {}
    for share in sorted(shares):
        domain.execute(derate(share))
        for row in rows:
            watts = limit_of(domain.state, row)
            assert 0 <= before.get(row, 0) <= watts <= rated_w(domain.state, row)
            before[row] = watts


@pytest.mark.parametrize("share", [1_000, 900, 600, 500, 310])
def test_at_rest_nobody_may_draw_more_than_the_heat_leaves(share: int) -> None:
    scenario = site(1, 2, 3, 4, config=MILD)
    shared(scenario)
    scenario.given(derate(share))
    shared(scenario)
    found = worst_case_w(scenario.state, scenario.clock_ms)
    for node_id in (TOP, NORTH, SOUTH, ROW):
        assert found[node_id] <= limit_of(scenario.state, Row(node_id))


def test_a_charge_point_is_sent_where_the_heat_leaves_room() -> None:
    """The north has less than one smallest current left, the south more."""
    capacities = {NodeId("n"): Watts(2_000), NodeId("s"): Watts(9_000)}
    cps = {ChargePointId("cp-1"): NodeId("n"), ChargePointId("cp-2"): NodeId("s")}
    config = tree(capacities=capacities, nodes={}, assignments=cps, assumed_share=500)
    scenario = Scenario().given(config, *connected(CPS[0]), *connected(CPS[1], fence=2), derate(600))
    scenario.given(request("s-1", c.ANYWHERE))
    assert scenario.session().cp_id == "cp-2"
