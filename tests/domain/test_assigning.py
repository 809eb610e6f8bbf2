"""Where somebody would be sent: what a charge request gets, and nothing of it kept."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from evcharge.domain import commands as c
from evcharge.domain import events as e
from evcharge.domain.assigning import MOST_ALTERNATIVES, Alternative, Assigned, assign, wish_of
from evcharge.domain.digest import fingerprint
from evcharge.domain.feeds import above
from evcharge.domain.headroom import Row
from evcharge.domain.refusals import RefusalReason
from evcharge.domain.routing import Routed
from evcharge.domain.site import NodeConfig, SiteConfig
from evcharge.domain.words import Health
from evcharge.ids import ChargePointId, ConnectorNo, DriverId, NodeId, SessionId
from evcharge.units import Watts
from tests.domain.test_routing import NORTH, SOUTH, TOP, a_site, anywhere
from tests.support.any_tree import any_site
from tests.support.model_site import Site
from tests.support.model_steps import run
from tests.support.scenario import BEN, MIN_W, Scenario, boot, engine_up, plug, request


def assigned(scenario: Scenario, power_w: int | None = None, node_id: NodeId | None = None) -> Assigned:
    found = assign(scenario.state, wish_of(None, power_w, node_id), scenario.stamp())
    assert isinstance(found, Assigned)
    return found


def refused(scenario: Scenario, energy_wh: int | None = None, node_id: NodeId | None = None) -> e.ChargeRefused:
    found = assign(scenario.state, wish_of(energy_wh, None, node_id), scenario.stamp())
    assert isinstance(found, e.ChargeRefused)
    return found


def at(name: str, connector: int = 1) -> Routed:
    return Routed(ChargePointId(name), ConnectorNo(connector))


@given(
    config=any_site(),
    program=st.binary(min_size=60, max_size=300),
    power_w=st.none() | st.integers(-1, 30_000),
    energy_wh=st.none() | st.integers(-1, 2_000_000),
    node=st.integers(0, 8),
)
def test_it_is_the_decision_of_a_charge_request_and_changes_nothing(
    config: SiteConfig, program: bytes, power_w: int | None, energy_wh: int | None, node: int
) -> None:
    site = Site(config)
    run(site, program)
    node_id = NodeId(f"n{node}") if node < 7 else None
    before = fingerprint(site.state)
    wish = wish_of(energy_wh, power_w, node_id)
    found = assign(site.state, wish, site.stamp())
    assert fingerprint(site.state) == before
    command = c.RequestCharge(
        session_id=SessionId("s-new"),
        driver_id=DriverId("newcomer"),
        cp_id=c.ANYWHERE,
        connector=ConnectorNo(0),
        energy_wh=energy_wh,
        depart_by_ms=None,
        node_id=node_id,
        power_w=power_w,
    )
    (event, *_), _ = site.execute(command)
    if isinstance(found, e.ChargeRefused):
        assert isinstance(event, e.ChargeRefused)
        assert (event.reason, event.basis, event.against) == (found.reason, found.basis, found.against)
        return
    assert isinstance(event, e.ChargeAuthorized)
    assert (event.cp_id, event.connector, event.substation_id) == (*found.routed, found.node_id)
    # The smallest current was reserved where that was said to be possible.
    assert event.min_w <= found.headroom_w and found.utilisation <= 100
    nodes = [one.node_id for one in found.alternatives]
    assert found.node_id not in nodes and len(set(nodes)) == len(nodes) <= MOST_ALTERNATIVES
    assert all(node_id is None or node_id in above(site.state, each) for each in nodes)
    for one in found.alternatives:
        assert (one.routed is None) == (one.utilisation is None)
        assert sum(each is not None for each in (one.routed, one.lost, one.full)) <= 1


def test_least_used_with_its_figures_and_what_else_there_was() -> None:
    scenario = a_site(10_000, 20_000).given(anywhere("x-1"))
    found = assigned(scenario)
    assert (found.node_id, found.routed) == (NORTH, at("n-1"))
    # A smallest current of 1,380 W of the 10 kW in the north; of the 60 kW above two are taken then.
    assert found.utilisation == 14
    assert found.headroom_w == 10_000
    assert found.power_w == 10_000 // 230 * 230
    (other,) = found.alternatives
    assert other == Alternative(node_id=SOUTH, routed=at("s-2"), utilisation=14)


def test_in_a_row_they_would_all_be_sent_to_the_same_place() -> None:
    """Nothing is reserved by asking."""
    scenario = a_site()
    assert [assigned(scenario).routed for _ in range(3)] == [at("n-1")] * 3
    assert not scenario.state.sessions


def test_a_wish_for_power_and_for_a_place() -> None:
    scenario = a_site(s2=22_080)
    assert assigned(scenario, 20_000, SOUTH).routed == at("s-2")
    assert assigned(scenario, None, TOP).routed == at("n-1")
    assert assigned(scenario, None, SOUTH).alternatives == ()


def test_the_other_nodes_are_full_lost_or_taken() -> None:
    names = ("free", "full", "lost", "taken")
    site = SiteConfig(
        capacities={NodeId("top"): Watts(90_000), **{NodeId(name): Watts(20_000) for name in names}},
        nodes={NodeId(name): NodeConfig(parent=NodeId("top")) for name in names},
        assignments={ChargePointId(f"cp-{name}"): NodeId(name) for name in names},
    )
    scenario = Scenario().given(c.StartCentral(site=site))
    for name in names:
        cp_id = ChargePointId(f"cp-{name}")
        scenario.given(engine_up(cp_id), boot(cp_id))
    scenario.given(
        c.SetCapacity(node_id=NodeId("full"), capacity_w=1_000),
        c.ReportNode(node_id=NodeId("lost"), ok=False, cause="breaker"),
        plug(ChargePointId("cp-taken")),
    )
    found = assigned(scenario)
    assert found.node_id == "free"
    assert found.alternatives == (
        Alternative(node_id=NodeId("full"), full=Row(NodeId("full")), left_w=1_000),
        Alternative(node_id=NodeId("lost"), lost=NodeId("lost")),
        Alternative(node_id=NodeId("taken")),
    )
    assert scenario.state.nodes[NodeId("lost")].health is Health.LOST


def test_those_who_wait_come_before() -> None:
    """Power above is kept for one who waits for power below: who asks where to go is not sent into his place."""
    scenario = a_site(MIN_W, MIN_W).given(c.SetCapacity(node_id=TOP, capacity_w=2 * MIN_W), anywhere("x-1"))
    assert assigned(scenario).node_id == SOUTH
    scenario.given(request("x-2", ChargePointId("n-2"), BEN, wait=True))
    assert len(scenario.state.waiting) == 1
    assert refused(scenario).reason is RefusalReason.NO_CAPACITY


def test_what_those_take_who_come_before_is_in_the_figures() -> None:
    scenario = a_site(MIN_W, 20_000).given(c.SetCapacity(node_id=TOP, capacity_w=4 * MIN_W), anywhere("x-1", NORTH))
    found = assigned(scenario)
    assert (found.node_id, found.headroom_w, found.utilisation) == (SOUTH, 3 * MIN_W, 50)
    scenario.given(request("x-2", ChargePointId("n-2"), BEN, wait=True))
    found = assigned(scenario)
    assert (found.node_id, found.headroom_w, found.utilisation) == (SOUTH, 2 * MIN_W, 75)


def test_only_the_nearest_alternatives_are_shown() -> None:
    names = [NodeId(f"n{number:02}") for number in range(12)]
    site = SiteConfig(
        capacities={name: Watts(20_000) for name in names},
        assignments={ChargePointId(f"cp-{name}"): name for name in names},
    )
    scenario = Scenario().given(c.StartCentral(site=site))
    for name in names:
        scenario.given(engine_up(ChargePointId(f"cp-{name}")), boot(ChargePointId(f"cp-{name}")))
    assert [one.node_id for one in assigned(scenario).alternatives] == names[1 : 1 + MOST_ALTERNATIVES]
    for name in names[1:]:
        scenario.given(plug(ChargePointId(f"cp-{name}")))
    assert [one.node_id for one in assigned(scenario).alternatives] == names[1 : 1 + MOST_ALTERNATIVES]


def test_what_a_request_would_be_refused_for() -> None:
    scenario = a_site()
    assert refused(scenario, energy_wh=0).reason is RefusalReason.ENERGY_OUT_OF_RANGE
    assert refused(scenario, node_id=NodeId("nowhere")).reason is RefusalReason.UNKNOWN_SUBSTATION
    for name in ("n-1", "n-2", "s-1", "s-2"):
        scenario.given(plug(ChargePointId(name)))
    assert refused(scenario).reason is RefusalReason.BUSY
