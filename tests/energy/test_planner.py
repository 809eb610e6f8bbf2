"""The linear program: never infeasible, within limits, and right where the right answer is known."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evcharge.energy.lp import EARLY, PARTS, Problem, Solution, SolverFailed, solve
from evcharge.energy.model import STEP_MS, Battery, Expected, Input, Node, Plan, Policy, Series, Session, Signals
from evcharge.energy.planner import (
    FINE_STEPS,
    LEAST_HORIZON_MS,
    MAX_PERIODS,
    WAITING,
    demands_of,
    make_plan,
    means,
    periods,
    problem_of,
    quarters,
)
from evcharge.energy.plans import plan as plan_by
from evcharge.energy.policies import dispatch
from evcharge.energy.tree import Tree, headroom_w
from tests.energy.trees import NOW_MS, sites

HOUR_MS = 3_600_000
# A full hour, so that periods are easy to count.
NOON_MS = 1_560_002_400_000 - 1_560_002_400_000 % HOUR_MS
FLAT = Series(0, HOUR_MS, (0.1,))


def car(name: str, need_wh: int, hours: float | None, **more: object) -> Session:
    departure_ms = None if hours is None else NOON_MS + int(hours * HOUR_MS)
    about = {"connector": name, "node": "site", "arrival_ms": NOON_MS, "max_w": 10_000}
    return Session(**({"id": name, "need_wh": need_wh, "departure_ms": departure_ms} | about | more))  # type: ignore[arg-type]


def planned(sessions: list[Session], cap_w: int, signals: Signals) -> Plan:
    return make_plan(NOON_MS, sessions, Tree([Node(id="site", cap_w=cap_w)]), signals)


def energy_wh(plan: Plan, node: str, from_h: float, to_h: float) -> float:
    """Energy of a node's targets; periods lie wholly within or without."""
    edges = [*plan.starts_ms, plan.starts_ms[-1] + 900_000]
    first, last = NOON_MS + from_h * HOUR_MS, NOON_MS + to_h * HOUR_MS
    return sum(
        plan.target_w[node][k] * (edges[k + 1] - edges[k]) / HOUR_MS
        for k in range(len(plan.starts_ms))
        if first <= edges[k] < last
    )


@given(st.integers(0, 10**13), st.integers(0, 40 * HOUR_MS))
def test_periods_begin_now_and_then_lie_on_the_clock(now_ms: int, ahead_ms: int) -> None:
    edges = periods(now_ms, now_ms + ahead_ms)
    assert edges[0] == now_ms
    assert all(a < b for a, b in pairwise(edges))
    assert all(edge % STEP_MS == 0 for edge in edges[1:])
    assert all(edge % 900_000 == 0 for edge in edges[FINE_STEPS + 3 :])
    assert len(edges) - 1 <= MAX_PERIODS
    assert edges[-1] >= now_ms + LEAST_HORIZON_MS
    assert edges[-1] >= now_ms + ahead_ms or len(edges) - 1 == MAX_PERIODS


def test_means_of_a_step_function_within_and_beyond_its_ends() -> None:
    series = Series(0, 10, (1.0, 3.0, 5.0))
    assert means(series, [0, 10, 15, 25, 30, 50]).tolist() == [1, 3, 4, 5, 5]
    assert means(series, [-20, 0, 20]).tolist() == [1, 2]
    with pytest.raises(ValueError, match="without values"):
        means(Series(0, 10, ()), [0, 1])


def test_billing_quarters_are_those_of_the_clock() -> None:
    edges = periods(NOON_MS + 5 * 60_000, NOON_MS)
    assert quarters(edges)[:7].tolist() == [0, 0, 1, 1, 1, 2, 2]


def test_a_period_counts_as_far_as_the_session_is_there() -> None:
    demands = demands_of([(1.0, 5, 22, 7.0, 1.0), (1.0, 12, 14, 7.0, 1.0), (1.0, 90, 95, 7.0, 1.0)], [0, 10, 20, 30])
    assert demands.first.tolist() == [0, 1, 0]
    assert demands.last.tolist() == [3, 2, 0]
    assert demands.first_share.tolist() == [0.5, 0.2, 0]
    assert demands.last_share.tolist() == pytest.approx([0.2, 1.0, 0])


def test_a_session_that_ends_on_an_edge_has_no_part_of_the_next_period() -> None:
    demands = demands_of([(1.0, 0, 20, 7.0, 1.0)], [0, 10, 20, 30])
    assert (demands.first.tolist(), demands.last.tolist(), demands.last_share.tolist()) == ([0], [2], [1.0])


@settings(max_examples=25)
@given(sites(most=6), st.integers(0, 50_000), st.booleans(), st.floats(-0.1, 9.0), st.floats(0, 20))
def test_never_infeasible_and_never_above_a_limit(
    case: tuple[list[Node], list[Session]], base_w: int, stored: bool, price: float, demand: float
) -> None:
    nodes, sessions = case
    tree = Tree(nodes)
    battery = Battery(capacity_wh=9_000, soc_wh=100, max_charge_w=3_000, max_discharge_w=3_000, min_soc_wh=500)
    signals = Signals(
        price=Series(NOW_MS, HOUR_MS, (price, 0.1)),
        base=Series(NOW_MS, HOUR_MS, (float(base_w), 0.0)),
        demand_charge=demand,
        battery=battery if stored else None,
        expected=(Expected(arrival_ms=NOW_MS, departure_ms=NOW_MS + HOUR_MS, need_wh=4_000, max_w=4_000),),
    )
    plan = make_plan(NOW_MS, sessions, tree, signals, seconds=30.0)
    per_node: dict[str, np.ndarray[tuple[int], np.dtype[np.int64]]] = {}
    for name, targets in plan.target_w.items():
        for above in tree.above(name):
            per_node[above] = per_node.get(above, np.zeros(len(targets), dtype=np.int64)) + np.array(targets)
    for name, totals in per_node.items():
        if name != tree.root:
            assert totals.max() <= headroom_w(tree.nodes[name]) + len(plan.target_w) + 1
    assert all(
        short <= next(s for s in sessions if s.id == name).remaining_wh + 1 for name, short in plan.short_wh.items()
    )


@settings(max_examples=25)
@given(sites(most=8), st.booleans())
def test_sessions_keep_the_limits_of_all_nodes_and_phases(
    case: tuple[list[Node], list[Session]], expecting: bool
) -> None:
    """Whatever the tree: nodes within nodes, phases of each, cars on some of them."""
    nodes, sessions = case
    tree = Tree(nodes)
    due = Expected(arrival_ms=NOW_MS, departure_ms=NOW_MS + 2 * HOUR_MS, need_wh=9_000, max_w=9_000)
    signals = Signals(price=FLAT, expected=(due,) if expecting else ())
    edges = periods(NOW_MS, NOW_MS)
    solution = solve(problem_of(NOW_MS, sessions, tree, signals, edges))
    for row in tree.rows(sessions):
        share = np.zeros(len(sessions) + expecting)
        share[list(row.leaves)] = row.shares
        kilowatts = np.bincount(solution.period, solution.x * share[solution.session], minlength=len(edges) - 1)
        if row.name != tree.root:
            assert kilowatts.max() <= row.cap_w / 1000 + 1e-6, row.name


def test_the_cheap_hour_is_used_and_the_dear_one_is_not() -> None:
    price = Series(NOON_MS, HOUR_MS, (0.3, 0.1, 0.3))
    plan = planned([car("a", 8_000, 3)], 50_000, Signals(price=price))
    assert energy_wh(plan, "site", 1, 2) == pytest.approx(8_000, abs=5)
    assert energy_wh(plan, "site", 0, 1) == 0


def test_between_equal_prices_the_earlier_is_better() -> None:
    plan = planned([car("a", 5_000, 9)], 50_000, Signals(price=FLAT))
    assert energy_wh(plan, "site", 0, 0.5) == pytest.approx(5_000, abs=5)


def test_no_price_is_a_reason_to_leave_a_car_empty() -> None:
    plan = planned([car("a", 5_000, 1)], 50_000, Signals(price=Series(0, 1, (8.99,))))
    assert plan.short_wh == {}
    assert energy_wh(plan, "site", 0, 1) == pytest.approx(5_000, abs=5)


def test_a_shortage_is_shared() -> None:
    plan = planned([car("a", 10_000, 1), car("b", 10_000, 1)], 10_000, Signals(price=FLAT))
    assert plan.short_wh["a"] + plan.short_wh["b"] == pytest.approx(10_000, abs=5)
    assert abs(plan.short_wh["a"] - plan.short_wh["b"]) <= 10_000 / PARTS + 5


def test_carbon_moves_what_price_does_not() -> None:
    dirty = Series(NOON_MS, HOUR_MS, (0.5, 0.1, 0.5))
    plan = planned([car("a", 8_000, 3)], 50_000, Signals(price=FLAT, co2=dirty))
    assert energy_wh(plan, "site", 1, 2) == pytest.approx(8_000, abs=5)


def test_the_sun_is_used_first() -> None:
    sun = Series(NOON_MS, HOUR_MS, (0.0, 0.0, 9_000.0, 0.0))
    plan = planned([car("a", 8_000, 4)], 50_000, Signals(price=FLAT, pv=sun))
    assert energy_wh(plan, "site", 2, 3) == pytest.approx(8_000, abs=5)


def test_a_demand_charge_flattens_above_what_is_billed_already() -> None:
    sessions = [car("a", 8_000, 2)]
    plan = planned(sessions, 50_000, Signals(price=FLAT, demand_charge=10.0))
    assert max(plan.target_w["site"]) <= 4_001
    plan = planned(sessions, 50_000, Signals(price=FLAT, demand_charge=10.0, billed_peak_w=8_000))
    assert max(plan.target_w["site"][:3]) == pytest.approx(8_000, abs=2)


def test_a_limit_over_time_is_kept() -> None:
    cap = Series(NOON_MS, HOUR_MS, (2_000.0, 50_000.0))
    plan = planned([car("a", 8_000, 3)], 50_000, Signals(price=FLAT, cap=cap))
    assert energy_wh(plan, "site", 0, 1) == pytest.approx(2_000, abs=5)


def test_room_is_kept_for_those_who_are_expected() -> None:
    """Alone it would wait for the cheap hour; others will need that hour whole."""
    price = Series(NOON_MS, HOUR_MS, (0.2, 0.1))
    due = Expected(arrival_ms=NOON_MS + HOUR_MS, departure_ms=NOON_MS + 2 * HOUR_MS, need_wh=10_000, max_w=10_000)
    alone = planned([car("a", 8_000, 2)], 10_000, Signals(price=price))
    beside = planned([car("a", 8_000, 2)], 10_000, Signals(price=price, expected=(due,)))
    assert energy_wh(alone, "site", 0, 1) == pytest.approx(0, abs=5)
    assert energy_wh(beside, "site", 0, 1) == pytest.approx(8_000, abs=5)
    # Who comes once in 10,000 days is not worth the dear hour; who comes once in ten is.
    for likely, first_wh in ((1e-4, 0), (0.1, 8_000)):
        due = msgspec.structs.replace(due, likely=likely)
        plan = planned([car("a", 8_000, 2)], 10_000, Signals(price=price, expected=(due,)))
        assert energy_wh(plan, "site", 0, 1) == pytest.approx(first_wh, abs=5)


def test_who_is_not_expected_has_room_kept_but_takes_nobody_the_sun() -> None:
    """The sun of the second hour is just enough for one; the limit would hold both."""
    sun = Series(NOON_MS, HOUR_MS, (0.0, 8_000.0, 0.0))
    due = Expected(arrival_ms=NOON_MS + HOUR_MS, departure_ms=NOON_MS + 2 * HOUR_MS, need_wh=8_000, max_w=8_000)
    unlikely = msgspec.structs.replace(due, likely=0.2)
    for cap_w, first_wh in ((50_000, 0), (8_000, 0), (4_000, 4_000)):
        plan = planned([car("a", 8_000, 2)], cap_w, Signals(price=FLAT, pv=sun, expected=(unlikely,)))
        assert energy_wh(plan, "site", 0, 1) == pytest.approx(first_wh, abs=5), cap_w
    tree = Tree([Node(id="site", cap_w=8_000)])
    signals = Signals(price=FLAT, pv=sun, expected=(due, unlikely))
    problem = problem_of(NOON_MS, [car("a", 8_000, 2)], tree, signals, periods(NOON_MS, NOON_MS))
    solution = solve(problem)
    real = solution.session < 2
    drawn, kept = (
        np.bincount(solution.period[which], weights=solution.x[which], minlength=len(problem.hours))
        for which in (real, ~real)
    )
    assert np.all(solution.grid >= drawn - problem.pv - 1e-6), "what is only kept room for is not bought"
    assert np.all(solution.grid + kept <= 8.0 + np.maximum(0.0, problem.pv - drawn) + 1e-6)
    assert float(kept @ problem.hours) > 0


def test_who_may_leave_early_is_not_kept_for_later() -> None:
    price = Series(NOON_MS, HOUR_MS, (0.2, 0.2, 0.2, 0.1))
    sessions = [car("a", 8_000, 4)]
    late = planned(sessions, 50_000, Signals(price=price))
    sure = tuple(sorted([-2 * HOUR_MS] * 5 + [0] * 5))
    soon = planned(sessions, 50_000, Signals(price=price, lateness_ms=sure))
    assert energy_wh(late, "site", 3, 4) == pytest.approx(8_000, abs=5)
    assert energy_wh(soon, "site", 0, 2) == pytest.approx(8_000, abs=5)


def test_a_battery_carries_the_sun_into_the_evening() -> None:
    sun = Series(NOON_MS, HOUR_MS, (6_000.0, 0.0))
    price = Series(NOON_MS, HOUR_MS, (0.1, 0.1, 0.9, 0.9))
    battery = Battery(capacity_wh=10_000, soc_wh=0, max_charge_w=5_000, max_discharge_w=5_000)
    guest = Expected(arrival_ms=NOON_MS + 2 * HOUR_MS, departure_ms=NOON_MS + 3 * HOUR_MS, need_wh=4_000, max_w=9_000)
    plan = planned([], 50_000, Signals(price=price, pv=sun, battery=battery, expected=(guest,)))
    edges = [*plan.starts_ms, plan.starts_ms[-1] + 900_000]
    stored = sum(w * (b - a) / HOUR_MS for w, a, b in zip(plan.battery_w, edges, edges[1:], strict=False) if w > 0)
    taken = -sum(w * (b - a) / HOUR_MS for w, a, b in zip(plan.battery_w, edges, edges[1:], strict=False) if w < 0)
    assert taken == pytest.approx(4_000, rel=0.01)
    assert taken == pytest.approx(stored * 0.95 * 0.95, rel=0.01)


def test_a_node_below_holds_its_cars_back() -> None:
    tree = Tree([Node(id="site", cap_w=50_000), Node(id="feeder", parent="site", cap_w=3_000)])
    plan = make_plan(NOON_MS, [car("a", 8_000, 9, node="feeder"), car("b", 8_000, 9)], tree, Signals(price=FLAT))
    assert max(plan.target_w["feeder"]) == 3_000
    assert max(plan.target_w["site"]) == 10_000


def solved(sessions: list[Session], nodes: list[Node], **more: object) -> Solution:
    signals = Signals(**({"price": FLAT} | more))  # type: ignore[arg-type]
    return solve(problem_of(NOON_MS, sessions, Tree(nodes), signals, periods(NOON_MS, NOON_MS)))


def test_limits_within_limits_hold_all_that_is_below_them() -> None:
    nodes = [
        Node(id="site", cap_w=50_000),
        Node(id="hall", parent="site", cap_w=7_000),
        Node(id="row", parent="hall", cap_w=5_000),
    ]
    sessions = [car("a", 90_000, 9, node="row"), car("b", 90_000, 9, node="hall"), car("c", 90_000, 9)]
    solution = solved(sessions, nodes)
    first = {int(i): x for i, t, x in zip(solution.session, solution.period, solution.x, strict=True) if t == 0}
    assert first[0] <= 5.0 + 1e-6
    assert first[0] + first[1] == pytest.approx(7.0)
    assert first[2] == pytest.approx(10.0)
    assert solution.power[0] == pytest.approx(17.0)
    nodes[0] = Node(id="site", cap_w=12_000)
    assert solved(sessions, nodes).power.max() == pytest.approx(12.0)


@pytest.mark.parametrize("where", ["site", "feeder"])
def test_a_phase_holds_back_who_draws_from_it(where: str) -> None:
    """5 kW on the first phase: the car on it waits, the one on the second does not, a third of three phases counts."""
    limit = (5_000, 50_000, 50_000)
    nodes = [
        Node(id="site", cap_w=90_000, phase_cap_w=limit if where == "site" else None),
        Node(id="feeder", parent="site", cap_w=80_000, phase_cap_w=limit if where == "feeder" else None),
    ]
    sessions = [
        car("a", 90_000, 9, node="feeder", on=(0,)),
        car("b", 90_000, 9, node="feeder", on=(1,)),
        car("c", 90_000, 9, node="feeder", phases=3, on=(0, 1, 2), max_w=9_000),
    ]
    solution = solved(sessions, nodes)
    first = {int(i): x for i, t, x in zip(solution.session, solution.period, solution.x, strict=True) if t == 0}
    assert first[0] + first[2] / 3 == pytest.approx(5.0)
    assert first[1] == pytest.approx(10.0)


def test_who_is_expected_takes_a_third_of_each_phase_of_the_site() -> None:
    due = Expected(arrival_ms=NOON_MS, departure_ms=NOON_MS + 2 * HOUR_MS, need_wh=90_000, max_w=90_000)
    nodes = [Node(id="site", cap_w=90_000, phase_cap_w=(6_000, 6_000, 6_000))]
    solution = solved([car("a", 100, 2, on=(0,))], nodes, expected=(due,))
    assert solution.power[4] == pytest.approx(18.0)


def test_a_small_saving_is_not_worth_the_wait_unless_nothing_is_uncertain() -> None:
    sessions, tree = [car("a", 8_000, 5)], Tree([Node(id="site", cap_w=50_000)])

    def begins(saving: float, waiting: float | None = None) -> bool:
        price = Series(NOON_MS, HOUR_MS, (0.1, 0.1, 0.1, 0.1, 0.1 - saving))
        problem = problem_of(NOON_MS, sessions, tree, Signals(price=price), periods(NOON_MS, NOON_MS))
        return bool(solve(problem if waiting is None else problem._replace(waiting=waiting)).power[0] > 0)

    assert begins(WAITING * 4 * 0.8)
    assert not begins(WAITING * 4 * 1.3)
    assert not begins(WAITING * 4 * 0.8, EARLY)


def test_a_share_that_is_met_comes_after_those_that_are_not() -> None:
    """Both are to miss 2 kWh. One has all the rest and leaves soon: by laxity alone it would be first again."""
    leaving = car("a", 10_000, 0.5, delivered_wh=8_000)
    staying = car("b", 10_000, 3, delivered_wh=1_000)
    made = Plan(made_ms=NOON_MS, starts_ms=(NOON_MS,), target_w={"site": (6_900,)}, short_wh={"a": 2_000, "b": 2_000})
    nodes = [Node(id="site", cap_w=6_900)]
    points = dispatch(Policy.PLAN, NOON_MS, [leaving, staying], nodes, made)
    assert points["a"].watts == 0
    assert points["b"].watts == 6_900
    points = dispatch(Policy.PLAN, NOON_MS, [leaving], nodes, made)
    assert points["a"].watts > 0, "what nobody else can take is not wasted"


@pytest.mark.parametrize("policy", [Policy.PLAN, Policy.RULES])
def test_a_plan_says_how_old_its_inputs_were_by_name(policy: Policy) -> None:
    nodes, sessions = [Node(id="site", cap_w=9_000)], [car("a", 5_000, 2)]
    made = []
    for ages in ({"price": 60_000, "grid": 900}, {"grid": 900, "price": 60_000}):
        made.append(plan_by(policy, NOON_MS, sessions, nodes, Signals(price=FLAT, ages=ages)))
    assert made[0] == made[1]
    assert made[0] is not None
    assert made[0].inputs == (Input("grid", 900), Input("price", 60_000))


def test_a_plan_that_takes_too_long_is_none() -> None:
    sessions = [car(str(k), 9_000 + k, 10 + k / 50) for k in range(200)]
    with pytest.raises(SolverFailed):
        make_plan(NOON_MS, sessions, Tree([Node(id="site", cap_w=200_000)]), Signals(price=FLAT), seconds=0.0)


def test_both_solvers_come_to_the_same_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    price = Series(NOON_MS, HOUR_MS, (0.3, 0.1, 0.2, 0.25, 0.12))
    sessions = [car(str(k), 4_000 + 700 * k, 1 + k) for k in range(8)]
    tree = Tree([Node(id="site", cap_w=12_000)])
    problem: Problem = problem_of(
        NOON_MS, sessions, tree, Signals(price=price), periods(NOON_MS, NOON_MS + 9 * HOUR_MS)
    )
    exact = solve(problem).objective
    monkeypatch.setattr("evcharge.energy.lp.SIMPLEX_COLUMNS", 0)
    assert solve(problem).objective == pytest.approx(exact, rel=1e-5)


@pytest.mark.parametrize(("price", "peak"), [(70.0, 0.0), (0.2, 0.0), (0.2, 5_000.0)])
def test_no_price_in_any_currency_is_a_reason_to_leave_a_car_empty(price: float, peak: float) -> None:
    """70 a kWh now and 60 later, and a peak that costs thousands: it is charged in the cheaper hours, and in full."""
    tree = Tree([Node(id="site", cap_w=50_000)])
    prices = Series(NOON_MS, HOUR_MS, (price, price, price, 0.85 * price, 0.85 * price))
    problem = problem_of(
        NOON_MS, [car("a", 8_000, 5)], tree, Signals(price=prices, demand_charge=peak), periods(NOON_MS, NOON_MS)
    )
    assert solve(problem).short.sum() == pytest.approx(0.0, abs=1e-6)


def test_a_vehicle_that_may_take_nothing_takes_nothing_from_others() -> None:
    """An operator limits its charge point to less than the smallest current: the plan says so, and goes on."""
    alone = planned([car("a", 20_000, 4)], 11_000, Signals(price=FLAT))
    beside = planned([car("a", 20_000, 4), car("b", 20_000, 4, max_w=0)], 11_000, Signals(price=FLAT))
    assert beside.target_w == alone.target_w
    assert beside.short_wh == {"b": 20_000}
