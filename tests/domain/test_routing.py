"""A driver who does not care where: the node that is used least, a connector that fits, the next when it is full."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from evcharge.domain import commands as c
from evcharge.domain import effects as fx
from evcharge.domain import events as e
from evcharge.domain.feeds import feeds_of
from evcharge.domain.reasons import Obstacle
from evcharge.domain.refusals import RefusalReason, sentence
from evcharge.domain.routing import by_preference, spots_of
from evcharge.domain.site import NodeConfig, SiteConfig
from evcharge.domain.state import Session, Spot, State, shown_state
from evcharge.domain.words import LinkState, Shown
from evcharge.ids import ChargePointId, ConnectorNo, NodeId, SessionId
from evcharge.units import Watts
from tests.support.any_tree import any_site
from tests.support.model_site import Site
from tests.support.model_steps import run
from tests.support.scenario import ANNA, MIN_W, Scenario, boot, engine_down, engine_up, plug, report, without_basis

TOP, NORTH, SOUTH, ROW = NodeId("top"), NodeId("north"), NodeId("south"), NodeId("row")
PLACES = {"n-1": NORTH, "n-2": NORTH, "s-1": SOUTH, "s-2": SOUTH}


def anywhere(session_id: str, node_id: NodeId | None = None, power_w: int | None = None) -> c.RequestCharge:
    return c.RequestCharge(
        session_id=SessionId(session_id),
        driver_id=ANNA,
        cp_id=c.ANYWHERE,
        connector=ConnectorNo(0),
        energy_wh=None,
        depart_by_ms=None,
        node_id=node_id,
        power_w=power_w,
    )


def a_site(north_w: int = 20_000, south_w: int = 20_000, **powers_w: int) -> Scenario:
    """Two charge points at each of two substations below one site."""
    site = SiteConfig(
        capacities={TOP: Watts(60_000), NORTH: Watts(north_w), SOUTH: Watts(south_w)},
        nodes={NORTH: NodeConfig(parent=TOP), SOUTH: NodeConfig(parent=TOP)},
        assignments={ChargePointId(name): node_id for name, node_id in PLACES.items()},
    )
    scenario = Scenario().given(c.StartCentral(site=site))
    for fence, name in enumerate(PLACES, 1):
        cp_id = ChargePointId(name)
        scenario.given(engine_up(cp_id, fence), boot(cp_id, max_w=powers_w.get(name.replace("-", ""), 11_040)))
    return scenario


def sent_to(scenario: Scenario, *commands: c.RequestCharge) -> list[str]:
    """Where each of these is sent."""
    found = []
    for command in commands:
        scenario.given(command)
        found.append(scenario.session(command.session_id).cp_id)
    return found


def test_the_node_that_is_used_least_with_those_who_did_not_come_yet() -> None:
    """Two thirds of the power are at south, and so are two of three drivers; ties go to the lower id."""
    scenario = a_site(10_000, 20_000)
    assert sent_to(scenario, *(anywhere(f"x-{i}") for i in range(3))) == ["s-1", "n-1", "s-2"]


def test_equal_ones_take_turns() -> None:
    assert sent_to(a_site(), *(anywhere(f"x-{i}") for i in range(4))) == ["n-1", "s-1", "n-2", "s-2"]


def test_the_site_above_counts_as_well() -> None:
    scenario = a_site().given(c.SetCapacity(node_id=TOP, capacity_w=3_000))
    sent_to(scenario, anywhere("x-1"), anywhere("x-2"))
    scenario.when(anywhere("x-3")).then_kinds(e.ChargeRefused)
    assert [event.reason for event in scenario.events if isinstance(event, e.ChargeRefused)] == [
        RefusalReason.NO_CAPACITY
    ]


def test_what_feeds_a_node_counts_as_well() -> None:
    """Nobody charges in the row, and what feeds it is nearly full."""
    site = SiteConfig(
        capacities={NORTH: Watts(6_000), ROW: Watts(6_000), SOUTH: Watts(6_000)},
        nodes={ROW: NodeConfig(parent=NORTH)},
        assignments={ChargePointId("n-1"): NORTH, ChargePointId("r-1"): ROW, ChargePointId("s-1"): SOUTH},
    )
    scenario = Scenario().given(c.StartCentral(site=site))
    for name in ("n-1", "r-1", "s-1"):
        scenario.given(engine_up(ChargePointId(name)), boot(ChargePointId(name), connectors=3))
    assert sent_to(scenario, anywhere("x-1", NORTH), anywhere("x-2", NORTH)) == ["n-1", "n-1"]
    assert sent_to(scenario, anywhere("x-3")) == ["s-1"]


def test_nobody_is_sent_to_an_engine_that_was_lost() -> None:
    scenario = a_site()
    assert sent_to(scenario, anywhere("x-1", SOUTH)) == ["s-1"], "from here on what is free is known"
    scenario.given(engine_down(ChargePointId("n-1"), 1))
    assert sent_to(scenario, anywhere("x-2", NORTH)) == ["n-2"]
    scenario.given(engine_up(ChargePointId("n-1"), 5))
    assert sent_to(scenario, anywhere("x-3", NORTH)) == ["n-1"]


def test_one_node_and_what_is_below_it() -> None:
    scenario = a_site()
    assert sent_to(scenario, anywhere("x-1", SOUTH), anywhere("x-2", SOUTH), anywhere("x-3", TOP)) == [
        "s-1",
        "s-2",
        "n-1",
    ]
    scenario.when(anywhere("x-4", SOUTH)).told(fx.Denied)
    scenario.when(anywhere("x-5", NodeId("nowhere"))).told(fx.Denied)
    assert isinstance(scenario.effects[0], fx.Denied)
    assert scenario.effects[0].reason is RefusalReason.UNKNOWN_SUBSTATION
    assert scenario.effects[0].retry_after_s is None


def test_a_connector_that_can_do_what_is_asked_for() -> None:
    scenario = a_site(n1=7_000, n2=22_000, s1=7_000, s2=22_000)
    assert sent_to(scenario, anywhere("x-1", power_w=11_000), anywhere("x-2", power_w=7_000)) == ["n-2", "s-1"]
    assert sent_to(scenario, anywhere("x-3", NORTH, power_w=50_000)) == ["n-1"], "better than none"


def test_the_next_node_when_the_first_is_full() -> None:
    scenario = a_site(1_000_000, 2 * MIN_W)
    assert sent_to(scenario, *(anywhere(f"x-{i}") for i in range(4))) == ["n-1", "n-2", "s-1", "s-2"]


def test_what_is_lost_gets_nobody() -> None:
    scenario = a_site().given(report(NORTH, ok=False))
    assert sent_to(scenario, anywhere("x-1"), anywhere("x-2")) == ["s-1", "s-2"]
    scenario.when(anywhere("x-3"))
    (refused,) = scenario.events
    assert isinstance(refused, e.ChargeRefused)
    assert refused.reason is RefusalReason.SUBSTATION_LOST
    assert [(against.obstacle, against.at) for against in refused.against] == [(Obstacle.LOST, NORTH)]


def test_no_with_the_figures_of_the_node_that_is_nearest_and_when_to_come_back() -> None:
    scenario = a_site(1_000, 1_500)
    sent_to(scenario, anywhere("x-1"))
    scenario.when(anywhere("x-2")).told(fx.Denied)
    (refused,) = scenario.events
    assert isinstance(refused, e.ChargeRefused)
    assert without_basis(refused) == e.ChargeRefused(
        driver_id=ANNA, cp_id=c.ANYWHERE, reason=RefusalReason.NO_CAPACITY, capacity_w=1_000, reserved_w=0
    )
    assert refused.basis is not None and refused.basis.bound.node == NORTH
    (denied,) = scenario.effects
    assert denied == fx.Denied(reason=RefusalReason.NO_CAPACITY, subject="*", retry_after_s=60, basis=refused.basis)
    assert sentence(denied.reason, denied.subject, denied.retry_after_s) == (
        "No substation can serve one more vehicle now; try again in 60 s."
    )


def test_nobody_is_sent_to_where_somebody_stands() -> None:
    scenario = a_site().given(plug(ChargePointId("n-1")))
    assert sent_to(scenario, anywhere("x-1", NORTH)) == ["n-2"]
    scenario.when(anywhere("x-2", NORTH)).told(fx.Denied)
    assert isinstance(scenario.effects[0], fx.Denied)
    assert scenario.effects[0].reason is RefusalReason.BUSY


def test_where_the_strong_one_does_not_fit_the_modest_one_may() -> None:
    scenario = a_site(4_000)
    scenario.given(boot(ChargePointId("n-1"), min_w=4_140, max_w=22_000), report(SOUTH, ok=False))
    assert sent_to(scenario, anywhere("x-1")) == ["n-2"]


@given(
    powers=st.lists(st.integers(1, 9), min_size=1, max_size=20),
    wish=st.one_of(st.none(), st.integers(-1, 10)),
)
def test_the_weakest_that_does_or_else_the_strongest(powers: list[int], wish: int | None) -> None:
    free = sorted(
        Spot(Watts(power), ChargePointId(f"cp-{i:02}"), ConnectorNo(1), Watts(1)) for i, power in enumerate(powers)
    )
    able = [spot for spot in free if wish is not None and spot.max_w >= wish]
    strongest = [spot for spot in free if spot.max_w == max(powers)]
    order = list(by_preference(free, wish))
    assert order[0] == min(able or strongest)
    assert sorted(order) == free


@given(config=any_site(), program=st.binary(min_size=60, max_size=300), asked=st.integers(0, 60))
def test_what_is_kept_is_what_is_free(config: SiteConfig, program: bytes, asked: int) -> None:
    """However often it was asked for in between: the same as found from nothing."""
    site = Site(config)
    run(site, program[: 3 * asked])
    spots_of(site.state)
    run(site, program[3 * asked :])
    spots = spots_of(site.state)
    assert {node_id: list(free) for node_id, free in spots.free.items()} == found_from_nothing(site.state)
    assert {node_id: sorted(spot for _, spot in frugal) for node_id, frugal in spots.frugal.items()} == spots.free


def found_from_nothing(state: State) -> dict[NodeId, list[Spot]]:
    found: dict[NodeId, list[Spot]] = {}
    for cp in state.charge_points.values():
        well = cp.engine.state is LinkState.UP and cp.monitor.state in (LinkState.UP, LinkState.NEVER) and not cp.holds
        for no, connector in cp.connectors.items():
            most_w = connector.max_w if cp.limit_w is None else min(connector.max_w, cp.limit_w)
            free = not connector.occupied and connector.error is None and connector.session_id is None
            if well and free and most_w >= connector.min_w:
                found.setdefault(cp.node_id, []).append(Spot(most_w, cp.cp_id, no, connector.min_w))
                assert shown_state(state, cp) in (Shown.ACTIVATED, Shown.SUPPLYING)
    return {node_id: sorted(free) for node_id, free in found.items()}


@given(config=any_site(), program=st.binary(min_size=60, max_size=300))
def test_who_is_sent_somewhere_is_authorized_there(config: SiteConfig, program: bytes) -> None:
    """No later rule says no to what was chosen, and minima fit at all that feeds it."""
    site = Site(config)
    run(site, program)
    command = c.RequestCharge(
        session_id=SessionId("s-new"),
        driver_id=ANNA,
        cp_id=c.ANYWHERE,
        connector=ConnectorNo(0),
        energy_wh=None,
        depart_by_ms=None,
    )
    events, _ = site.execute(command)
    (event,) = events
    if isinstance(event, e.ChargeRefused):
        assert event.cp_id == c.ANYWHERE
        return
    session: Session = site.state.sessions[SessionId("s-new")]
    for node_id in feeds_of(site.state, session.cp_id):
        node = site.state.nodes[node_id]
        assert node.reserved_w <= node.capacity_w - node.base_w
        for limit_w, there_w in zip(node.phase_w or (), node.reserved_phase_w, strict=False):
            assert there_w <= limit_w - node.base_w
