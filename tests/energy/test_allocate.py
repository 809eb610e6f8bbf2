"""What may never happen when power is given, and what has to."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evcharge.energy.allocate import CALM_MS, by_laxity, calm, laxity
from evcharge.energy.amperes import DWELL_MS
from evcharge.energy.cars import Cars
from evcharge.energy.model import PLAN_LIFE_MS, STEP_MS, Limit, Node, Plan, Policy, Session, SetPoint
from evcharge.energy.paths import paths_of
from evcharge.energy.policies import dispatch
from evcharge.energy.tree import Tree, headroom_w
from tests.energy.trees import NOW_MS, sites

POLICIES = st.sampled_from(list(Policy))


def car(name: str, **more: object) -> Session:
    about: dict[str, object] = {
        "id": name,
        "connector": name,
        "node": "site",
        "need_wh": 20_000,
        "arrival_ms": NOW_MS,
        "departure_ms": NOW_MS + 8 * 3_600_000,
        "max_w": 7_360,
    }
    return Session(**(about | more))  # type: ignore[arg-type]


def site(cap_w: int) -> list[Node]:
    return [Node(id="site", cap_w=cap_w)]


def watts(sessions: list[Session], cap_w: int, policy: Policy = Policy.SLLF, now_ms: int = NOW_MS) -> list[int]:
    points = dispatch(policy, now_ms, sessions, site(cap_w))
    return [points[session.connector].watts for session in sessions]


@given(sites(told=True), POLICIES, st.booleans())
def test_never_above_any_limit(case: tuple[list[Node], list[Session]], policy: Policy, whole: bool) -> None:
    """Each node, each phase; where those who cannot be told hold more than that, nobody else gets any."""
    nodes, sessions = case
    tree = Tree(nodes)
    points = dispatch(policy, NOW_MS, sessions, nodes, whole=whole)
    given_w = [points[s.connector].watts if s.connector in points else s.last_w for s in sessions]
    for row in tree.rows(sessions):
        total = sum(share * given_w[i] for i, share in zip(row.leaves, row.shares, strict=True))
        silent = sum(
            share * sessions[i].last_w
            for i, share in zip(row.leaves, row.shares, strict=True)
            if sessions[i].connector not in points
        )
        assert total <= max(row.cap_w, silent) + 1e-3, row.name
    assert set(points) == {s.connector for s in sessions if tree.online(s.node)}


@given(sites(told=True), POLICIES)
def test_whole_amperes_from_the_smallest_current_up_to_the_rating(
    case: tuple[list[Node], list[Session]], policy: Policy
) -> None:
    nodes, sessions = case
    points = dispatch(policy, NOW_MS, sessions, nodes)
    for session in sessions:
        point = points.get(session.connector)
        if point is not None and point.watts:
            assert point.watts % session.step_w == 0
            assert session.min_w <= point.watts <= session.max_w
            assert session.remaining_wh > 0


@given(sites(phases=False), st.sampled_from([Policy.EQUAL, Policy.SLLF, Policy.LLF]))
def test_no_ampere_is_left_where_somebody_could_use_it(case: tuple[list[Node], list[Session]], policy: Policy) -> None:
    nodes, sessions = case
    nodes = [msgspec.structs.replace(node, online=True) for node in nodes]
    sessions = [msgspec.structs.replace(session, ramp_w=None) for session in sessions]
    tops = Cars(sessions).tops_w(None, STEP_MS).tolist()
    points = dispatch(policy, NOW_MS, sessions, nodes)
    got = [points[session.connector].watts for session in sessions]
    room = {row.name: row.cap_w - sum(got[i] for i in row.leaves) for row in Tree(nodes).rows(sessions)}
    for session, top, mine in zip(sessions, tops, got, strict=True):
        least = min(room[node] for node in Tree(nodes).above(session.node))
        if mine == 0 and top:
            assert least < session.min_w
        elif mine < top:
            assert least < session.step_w


@given(sites(told=True), POLICIES)
def test_same_question_same_answer_in_any_order(case: tuple[list[Node], list[Session]], policy: Policy) -> None:
    nodes, sessions = case
    assert dispatch(policy, NOW_MS, sessions, nodes) == dispatch(policy, NOW_MS, sessions[::-1], nodes[::-1])


@given(sites(), st.integers(0, 20_000), st.integers(-10_000, 2 * CALM_MS), st.integers(0, 20_000))
def test_a_decrease_is_never_delayed(
    case: tuple[list[Node], list[Session]], last_w: int, ago_ms: int, wanted_w: int
) -> None:
    _, sessions = case
    told = [msgspec.structs.replace(session, last_w=last_w, last_ms=NOW_MS - ago_ms) for session in sessions]
    after, _, _ = calm(Cars(told), np.full(len(told), float(wanted_w)), NOW_MS)
    assert (after <= max(wanted_w, last_w)).all() and (after <= wanted_w).all()
    if wanted_w <= last_w:
        assert (after == wanted_w).all()


def calmed(session: Session, wanted_w: int, now_ms: int) -> tuple[float, bool, bool]:
    after, steady, ramp = calm(Cars([session]), np.array([float(wanted_w)]), now_ms)
    return float(after[0]), bool(steady[0]), bool(ramp[0])


def test_raises_wait_a_minute_and_an_ampere() -> None:
    session = car("a", last_w=2_300, last_ms=NOW_MS)
    assert calmed(session, 4_600, NOW_MS + CALM_MS - 1) == (2_300, True, False)
    assert calmed(session, 4_600, NOW_MS + CALM_MS) == (4_600, False, False)
    assert calmed(session, 2_529, NOW_MS + CALM_MS) == (2_300, True, False)
    assert calmed(session, 2_530, NOW_MS + CALM_MS) == (2_530, False, False)


def test_a_set_point_from_the_future_holds_nothing_back() -> None:
    """The clock was set back: a raise would wait for hours."""
    assert calmed(car("a", last_w=2_300, last_ms=NOW_MS + 1), 4_600, NOW_MS) == (4_600, False, False)


def test_what_is_kept_is_in_whole_amperes_too() -> None:
    assert calmed(car("a", last_w=2_400, last_ms=NOW_MS), 4_600, NOW_MS) == (2_300, True, False)
    assert calmed(car("a", last_w=700, last_ms=NOW_MS), 4_600, NOW_MS) == (0, True, False)


def test_a_ramp_is_kept_in_whole_amperes_and_reaches_the_smallest_current() -> None:
    later = NOW_MS + CALM_MS
    ramped = car("a", last_w=2_300, last_ms=NOW_MS, ramp_w=1_000)
    assert calmed(ramped, 7_360, later) == (3_220, False, True)
    assert calmed(car("a", last_ms=NOW_MS, ramp_w=10), 7_360, later)[0] == 1_380


def test_who_is_held_back_says_so() -> None:
    session = car("a", last_w=2_300, last_ms=NOW_MS)
    assert dispatch(Policy.EQUAL, NOW_MS, [session], site(9_000))["a"] == SetPoint(2_300, Limit.STEADY, "a", 7_360)
    ramped = msgspec.structs.replace(session, ramp_w=1_000)
    later = dispatch(Policy.EQUAL, NOW_MS + CALM_MS, [ramped], site(9_000))["a"]
    assert later == SetPoint(3_220, Limit.RAMP, "a", 7_360)


def test_laxity_is_the_steps_that_can_be_waited() -> None:
    session = car("a", need_wh=7_360, departure_ms=NOW_MS + 2 * 3_600_000)
    assert laxity(session, NOW_MS) == 12
    assert laxity(session, NOW_MS + STEP_MS) == 11
    assert laxity(car("a", departure_ms=None), NOW_MS) is None
    assert laxity(car("a", max_w=0), NOW_MS) == 0.0


def test_what_a_vehicle_can_use() -> None:
    cars = Cars([car("a", need_wh=100), car("a", need_wh=100, delivered_wh=200), car("a")])
    assert cars.usable_w(STEP_MS).tolist() == [1_200, 0, 7_360]
    assert cars.usable_w(STEP_MS // 2).tolist() == [2_400, 0, 7_360]


@given(sites(told=True))
def test_columns_say_what_sessions_say(case: tuple[list[Node], list[Session]]) -> None:
    _, sessions = case
    cars = Cars(sessions)
    for i, session in enumerate(sessions):
        waits = cars.laxity(NOW_MS)[i]
        assert laxity(session, NOW_MS) == (None if waits != waits else waits)
        assert (cars.min_w[i], cars.step_w[i]) == (session.min_w, session.step_w)
        assert cars.remaining_wh[i] == session.remaining_wh


def test_a_nearly_full_vehicle_gets_the_smallest_current_and_a_full_one_nothing() -> None:
    assert watts([car("a", need_wh=10), car("b", need_wh=0)], 50_000) == [1_380, 0]


def test_a_vehicle_that_takes_less_than_the_smallest_current_gets_nothing() -> None:
    assert watts([car("a", max_w=1_379), car("b", max_w=1_380)], 50_000) == [0, 1_380]


def test_whoever_has_to_leave_first_is_lifted_first() -> None:
    late, soon = car("late"), car("soon", departure_ms=NOW_MS + 3_600_000)
    assert watts([late, soon], 1_500) == [0, 1_380]
    assert watts([late, soon], 2_760, Policy.EQUAL) == [1_380, 1_380]


def test_left_over_amperes_go_round_by_laxity() -> None:
    first, second = car("a", departure_ms=NOW_MS + 3_600_000 * 7), car("b")
    assert watts([second, first], 1_380 * 2 + 230, Policy.EQUAL) == [1_380, 1_610]


def test_weights_are_shares() -> None:
    assert watts([car("a", weight=2), car("b")], 6_900, Policy.EQUAL) == [4_600, 2_300]


def test_who_got_the_smallest_current_keeps_it_ten_minutes_then_it_is_the_next_ones_turn() -> None:
    """Departures unknown, room for one of two."""
    one = car("a", departure_ms=None)
    two = car("b", departure_ms=None)
    seen = []
    for step in range(12):
        now_ms = NOW_MS + step * STEP_MS
        got = watts([one, two], 1_500, now_ms=now_ms)
        seen.append("ab"[got.index(1_380)])
        assert sum(got) == 1_380
        one, two = (_told(session, point, now_ms) for session, point in zip((one, two), got, strict=True))
    assert "".join(seen) == "aabbaabbaabb"
    assert DWELL_MS == 2 * STEP_MS


@given(st.integers(2, 7), st.integers(1, 3), st.booleans())
def test_nobody_starves(cars: int, places: int, known: bool) -> None:
    """However few smallest currents fit, each car gets one within so many turns of ten minutes as there are cars."""
    departure_ms = NOW_MS + 9 * 3_600_000 if known else None
    sessions = [car(f"c{k}", departure_ms=departure_ms, need_wh=40_000) for k in range(cars)]
    fed: set[str] = set()
    for step in range(2 * cars):
        now_ms = NOW_MS + step * STEP_MS
        got = watts(sessions, places * 1_380, now_ms=now_ms)
        fed |= {session.id for session, point in zip(sessions, got, strict=True) if point}
        sessions = [_told(session, point, now_ms) for session, point in zip(sessions, got, strict=True)]
    assert len(fed) == cars


def _told(session: Session, point_w: int, now_ms: int) -> Session:
    turned = (point_w > 0) != (session.last_w > 0)
    return msgspec.structs.replace(
        session,
        last_w=point_w,
        last_ms=now_ms,
        turned_ms=now_ms if turned else session.turned_ms,
        delivered_wh=session.delivered_wh + point_w // 12,
    )


def test_unknown_departures_count_as_the_middle_of_the_others() -> None:
    sessions = [
        car("soon", departure_ms=NOW_MS + 3 * 3_600_000),
        car("who", departure_ms=None),
        car("middle", departure_ms=NOW_MS + 5 * 3_600_000),
        car("late"),
    ]
    cars = Cars(sessions)
    paths = paths_of(Tree(site(9_000)), sessions).paths
    got = by_laxity(cars, paths, cars.highs_w(None, STEP_MS), NOW_MS).watts
    assert got[1] == pytest.approx(got[2])
    assert got[0] > got[1] > got[3] - 1e-9


def test_those_who_cannot_be_told_keep_what_they_were_told() -> None:
    nodes = [Node(id="site", cap_w=10_000), Node(id="dark", parent="site", cap_w=9_000, online=False)]
    away = car("away", node="dark", last_w=4_000)
    assert dispatch(Policy.EQUAL, NOW_MS, [car("a"), away], nodes)["a"].watts == 5_980


def test_a_target_holds_until_the_plan_is_old() -> None:
    made = Plan(made_ms=NOW_MS, starts_ms=(NOW_MS, NOW_MS + STEP_MS), target_w={"site": (2_000, 4_000)})

    def at(after_ms: int) -> SetPoint:
        return dispatch(Policy.PLAN, NOW_MS + after_ms, [car("a")], site(50_000), made)["a"]

    assert at(0).watts == 1_840
    assert at(0).limit is Limit.PLAN
    assert at(STEP_MS).watts == 3_910
    assert at(PLAN_LIFE_MS - 1).watts == 3_910
    assert at(PLAN_LIFE_MS).watts == 7_360
    assert at(-1).watts == 7_360


def test_in_a_shortage_who_is_to_miss_some_gives_way_to_who_is_not() -> None:
    """By laxity alone the large need would have all of it."""
    large = car("large", need_wh=30_000, departure_ms=NOW_MS + 3_600_000)
    small = car("small", need_wh=7_000, departure_ms=NOW_MS + 3_600_000)
    made = Plan(made_ms=NOW_MS, starts_ms=(NOW_MS,), target_w={"site": (7_360,)}, short_wh={"large": 29_000})
    points = dispatch(Policy.PLAN, NOW_MS, [large, small], site(7_360), made)
    assert points["small"].watts > 3 * points["large"].watts
    alone = dispatch(Policy.PLAN, NOW_MS, [large, small], site(7_360))
    assert alone["large"].watts == 7_360


def test_a_target_is_no_permission() -> None:
    made = Plan(made_ms=NOW_MS, starts_ms=(NOW_MS,), target_w={"site": (50_000,), "gone": (1,)})
    assert dispatch(Policy.PLAN, NOW_MS, [car("a")], site(5_000), made)["a"].watts == 4_830


def test_a_target_below_the_smallest_current_is_that_current() -> None:
    """Else who is nearly full would never be: its plan says 60 W, a mean over five minutes."""
    nearly = car("nearly", need_wh=5, departure_ms=NOW_MS + 3_600_000)
    for target_w, given_w in ((60, 1_380), (0, 0)):
        made = Plan(made_ms=NOW_MS, starts_ms=(NOW_MS,), target_w={"site": (target_w,)})
        point = dispatch(Policy.PLAN, NOW_MS, [nearly], site(50_000), made)["nearly"]
        assert (point.watts, point.limit) == (given_w, Limit.NEED if given_w else Limit.PLAN)
        assert dispatch(Policy.PLAN, NOW_MS, [nearly], site(50_000), made, whole=False)["nearly"].watts == target_w


def test_who_is_nearly_full_does_not_wait_for_others_who_are() -> None:
    """Each would have the smallest current, one after the other, though the target has the energy for all in time."""
    nearly = [car(f"nearly-{k}", need_wh=5, departure_ms=NOW_MS + 3_600_000) for k in range(3)]
    other = car("other", departure_ms=NOW_MS + 36_000_000)

    def watts(target_w: int, cap_w: int = 50_000) -> list[int]:
        made = Plan(made_ms=NOW_MS, starts_ms=(NOW_MS,), target_w={"site": (target_w,)})
        points = dispatch(Policy.PLAN, NOW_MS, [*nearly, other], site(cap_w), made)
        return [points[each.id].watts for each in (*nearly, other)]

    assert watts(180) == [1_380, 1_380, 1_380, 0]
    assert watts(179) == [1_380, 0, 0, 0], "not the energy for all of them: as for anybody else"
    assert watts(180 + 1_840) == [1_380, 1_380, 1_380, 1_840], "what is left is the others'"
    assert watts(0) == [0, 0, 0, 0]
    assert watts(180, cap_w=3_000) == [1_380, 1_380, 0, 0], "limits are limits"


def test_a_plan_that_gives_all_there_is_holds_nobody_back() -> None:
    for target_w, limit in ((9_200, Limit.NODE), (8_000, Limit.PLAN)):
        made = Plan(made_ms=NOW_MS, starts_ms=(NOW_MS,), target_w={"site": (target_w,)})
        points = dispatch(Policy.PLAN, NOW_MS, [car("a"), car("b")], site(9_200), made)
        assert {point.limit for point in points.values()} == {limit}


def test_a_plan_that_shares_out_what_a_node_above_has_is_not_the_reason() -> None:
    """Each of the targets is below what its own node takes, and all of them together are what the site has."""
    nodes = [Node(id="site", cap_w=15_000, base_w=10_000)]
    nodes += [Node(id=each, cap_w=40_000, parent="site") for each in ("north", "south")]
    cars = [car("a", node="north"), car("b", node="south")]

    def limits(north_w: int, south_w: int, cap_w: int = 15_000) -> list[tuple[Limit, str]]:
        made = Plan(made_ms=NOW_MS, starts_ms=(NOW_MS,), target_w={"north": (north_w,), "south": (south_w,)})
        held = [msgspec.structs.replace(nodes[0], cap_w=cap_w), *nodes[1:]]
        points = dispatch(Policy.PLAN, NOW_MS, cars, held, made)
        return [(points[each].limit, points[each].at) for each in ("a", "b")]

    assert limits(2_500, 2_500) == [(Limit.NODE, "site")] * 2
    assert limits(5_000, 0) == [(Limit.NODE, "site"), (Limit.MINIMA, "site")]
    assert limits(2_500, 2_500, 25_000) == [(Limit.PLAN, "north"), (Limit.PLAN, "south")]
    assert limits(5_000, 0, 25_000) == [(Limit.PLAN, "north"), (Limit.PLAN, "south")]
    # What the plan keeps from one, and what it gives nobody, is there.
    assert limits(2_500, 0) == [(Limit.PLAN, "north"), (Limit.PLAN, "south")]
    assert limits(0, 0, 10_000) == [(Limit.MINIMA, "site")] * 2


def test_whom_the_plan_does_not_know_it_does_not_hold_back() -> None:
    """It takes nothing of what was planned for the others, and passes no limit."""
    made = Plan(made_ms=NOW_MS, starts_ms=(NOW_MS,), target_w={"site": (4_600,)})
    points = dispatch(Policy.PLAN, NOW_MS, [car("a"), car("b", new=True)], site(50_000), made)
    assert (points["a"].watts, points["b"].watts) == (4_600, 7_360)
    points = dispatch(Policy.PLAN, NOW_MS, [car("a"), car("b", new=True)], site(9_200), made)
    assert (points["a"].watts, points["b"].watts) == (4_600, 4_600)


@pytest.mark.parametrize(
    ("session", "cap_w", "limit", "at"),
    [
        (car("a"), 50_000, Limit.RATING, "a"),
        (car("a", need_wh=200), 50_000, Limit.NEED, "a"),
        (car("a", need_wh=0), 50_000, Limit.NEED, "a"),
        (car("a"), 5_000, Limit.NODE, "site"),
        (car("a"), 1_000, Limit.MINIMA, "site"),
        (car("a", max_w=1_379), 50_000, Limit.RATING, "a"),
        (car("a", on=(2,)), 50_000, Limit.NODE, "site/L3"),
    ],
)
def test_each_set_point_says_what_keeps_it_from_more(session: Session, cap_w: int, limit: Limit, at: str) -> None:
    third = 5_000 if session.on else 50_000
    nodes = [Node(id="site", cap_w=cap_w, phase_cap_w=(50_000, 50_000, third))]
    point = dispatch(Policy.SLLF, NOW_MS, [session], nodes)["a"]
    assert (point.limit, point.at) == (limit, at)
    assert headroom_w(nodes[0]) == cap_w
