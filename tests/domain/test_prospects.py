"""What one more vehicle would get, against what it then gets."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from evcharge.domain import commands as c
from evcharge.domain.headroom import overfull, shares_of
from evcharge.domain.prospects import Prospects
from evcharge.domain.site import NodeConfig, SiteConfig
from evcharge.energy.model import MIN_A, Policy
from evcharge.ids import ChargePointId, ConnectorNo, DriverId, NodeId, SessionId
from evcharge.units import Watts
from tests.support.any_tree import any_site
from tests.support.model_site import Site
from tests.support.scenario import CP, MAIN, Domain, boot, charging, connected, engine_down, engine_up, site

ONE = ConnectorNo(1)
FAIR = (Policy.PLAN, Policy.SLLF, Policy.EQUAL)


def prospect_w(domain: Domain, cp_id: str = CP, connector: int = 1) -> int:
    charge_point = domain.state.charge_points[ChargePointId(cp_id)]
    prospects = Prospects(domain.state, domain.stamp())
    return prospects.watts(charge_point, charge_point.connectors[ConnectorNo(connector)])


def given_domain(*things: object) -> Domain:
    domain = Domain()
    for thing in things:
        domain.execute(thing)  # type: ignore[arg-type]  # commands only
    return domain


def at(number: int) -> ChargePointId:
    return ChargePointId(f"cp-{number}")


def crowd(count: int, first: int = 1) -> list[object]:
    """So many charge points that charge."""
    found: list[object] = []
    for number in range(first, first + count):
        found += [*connected(at(number), number), *charging(f"s-{number}", at(number))]
    return found


def test_alone_it_gets_what_the_connector_takes_or_the_node_has() -> None:
    assert prospect_w(given_domain(site(), *connected())) == 11_040
    assert prospect_w(given_domain(site(9_000), *connected())) == 8_970, "whole amperes of 230 W"
    assert prospect_w(given_domain(site(1_500), *connected())) == 1_380
    assert prospect_w(given_domain(site(1_300), *connected())) == 0, "no smallest current is left"


def test_it_shares_with_those_who_are_there() -> None:
    domain = given_domain(site(22_000), *crowd(3), *connected(at(9), 9))
    assert prospect_w(domain, at(9)) == 5_290, "a quarter of 22 kW, in whole amperes"


def test_who_takes_less_leaves_more() -> None:
    small = [engine_up(at(1), 1), boot(at(1), max_w=2_000), *charging("s-1", at(1))]
    domain = given_domain(site(12_000), *small, *crowd(1, 2), *connected(at(9), 9))
    assert prospect_w(domain, at(9)) == 4_830, "half of 10 kW"


def test_what_others_cannot_have_below_is_not_counted_above() -> None:
    """Ten behind a thin feeder do not take the site's power from one beside it."""
    thin, wide = NodeId("thin"), NodeId("wide")
    config = site(
        20_000,
        capacities={MAIN: Watts(20_000), thin: Watts(14_000), wide: Watts(50_000)},
        nodes={thin: NodeConfig(parent=MAIN), wide: NodeConfig(parent=MAIN)},
        assignments={at(99): wide} | {at(number): thin for number in range(1, 11)},
    )
    domain = given_domain(config, *crowd(10), *connected(at(99), 99))
    assert prospect_w(domain, at(99)) == 5_980, "20 kW less the 14 kW that the feeder lets through"


def test_who_cannot_be_steered_keeps_what_it_was_told() -> None:
    domain = given_domain(site(22_000), *crowd(1), engine_down(at(1), 1), *connected(at(9), 9))
    assert prospect_w(domain, at(9)) == 10_810, "22 kW less the 11.04 kW of the one that is out of contact"


def test_a_phase_may_be_the_tightest() -> None:
    config = site(
        60_000,
        nodes={MAIN: NodeConfig(phase_w=(Watts(4_000), Watts(9_000), Watts(9_000)))},
        phases={CP: (0,), at(2): (1,), at(3): (0, 1, 2)},
    )
    domain = given_domain(config, *connected(CP, 1), *connected(at(2), 2), *connected(at(3), 3))
    assert prospect_w(domain, CP) == 3_910
    assert prospect_w(domain, at(2)) == 8_970
    assert prospect_w(domain, at(3)) == 11_040, "4 kW of each phase is 12 kW"


def test_a_taken_connector_is_worth_what_its_next_vehicle_gets() -> None:
    domain = given_domain(site(1_500), *crowd(1), *connected(at(9), 9))
    assert prospect_w(domain, at(9)) == 0
    assert prospect_w(domain, at(1)) == 1_380, "the smallest current of the one that goes"


def test_without_a_ruling_the_rules_allow_nothing() -> None:
    assert prospect_w(given_domain(site(policy=Policy.RULES, rules=True), *connected())) == 0


def test_a_charge_point_at_a_node_that_is_gone() -> None:
    domain = given_domain(site(), *connected())
    domain.state.charge_points[CP].node_id = NodeId("gone")
    assert prospect_w(domain) == 0


@given(config=any_site(), policy=st.sampled_from(FAIR), who=st.permutations(range(5)), count=st.integers(1, 5))
def test_it_gets_what_was_foretold(config: SiteConfig, policy: Policy, who: list[int], count: int) -> None:
    """Within the ampere per vehicle that rounding shifts; and it is refused only when nothing was foretold."""
    *who, last = who[:count]
    made = Site(msgspec.structs.replace(config, policy=policy), charge_points=5)
    for cp_id in made.cps:
        made.connect(cp_id)
    made.pump()
    for number in who:
        _charge(made, number)
    cp_id = ChargePointId(f"cp-{last}")
    charge_point = made.state.charge_points[cp_id]
    connector = charge_point.connectors[ONE]
    foretold_w = Prospects(made.state, made.stamp()).watts(charge_point, connector)
    fits = overfull(made.state, shares_of(made.state, charge_point.cp_id), connector.min_w) is None
    assert fits or not foretold_w
    if not foretold_w:
        assert not fits
        return
    session_id = _charge(made, last)
    session = made.state.sessions[SessionId(session_id)]
    assert session.lease.newest is not None
    step_w = -(-connector.min_w // MIN_A)
    assert foretold_w - session.lease.newest.limit_w <= step_w * (len(who) + 1)


def _charge(made: Site, number: int) -> str:
    """A vehicle that says nothing of itself comes, and everything settles."""
    cp_id, session_id = ChargePointId(f"cp-{number}"), f"s-{number}"
    model = made.cps[cp_id]
    model.connectors[ONE].plugged = True
    model.say_status()
    made.pump()
    made.command(
        c.RequestCharge(
            session_id=SessionId(session_id),
            driver_id=DriverId("anna"),
            cp_id=cp_id,
            connector=ONE,
            energy_wh=None,
            depart_by_ms=None,
        )
    )
    for _ in range(25):
        made.advance(3_000)
        made.allocate(everywhere=True)
        made.pump()
    return session_id
