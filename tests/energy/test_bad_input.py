"""Whatever meters, vehicles and clocks say: a tree that is none is refused, everything else ends in safe numbers."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evcharge.energy.amperes import PATIENCE_MS
from evcharge.energy.cars import MOST_W, Cars
from evcharge.energy.model import STEP_MS, Limit, Node, Policy, Session
from evcharge.energy.policies import dispatch
from evcharge.energy.tree import BadTree, Tree, headroom_w, phase_headroom_w, phases_of
from tests.energy.trees import NOW_MS, sites

NAN, INFINITY = float("nan"), float("inf")
HUGE = 10**400
ODD = [-HUGE, -(10**9), -1, 0, 1, 7, 10**12, HUGE, NAN, INFINITY, -INFINITY]
FIELDS = ["need_wh", "delivered_wh", "arrival_ms", "departure_ms", "max_w", "volts", "phases", "min_a", "weight"]
FIELDS += ["ramp_w", "last_w", "last_ms", "turned_ms"]


def car(name: str = "a", **more: object) -> Session:
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


def watts(*sessions: Session, cap_w: int = 9_000, policy: Policy = Policy.SLLF, **node: object) -> list[int]:
    points = dispatch(policy, NOW_MS, sessions, [Node(id="site", cap_w=cap_w, **node)])  # type: ignore[arg-type]
    return [points[session.connector].watts for session in sessions]


@given(sites(told=True), st.sampled_from(list(Policy)), st.booleans(), st.data())
def test_a_lie_hurts_nobody_else(
    case: tuple[list[Node], list[Session]], policy: Policy, whole: bool, data: st.DataObject
) -> None:
    """One field of one car is absurd: no limit is passed, nothing fails, whoever says so gets no more than fits."""
    nodes, sessions = case
    nodes = [msgspec.structs.replace(node, online=True) for node in nodes]
    if not sessions:
        return
    place = data.draw(st.integers(0, len(sessions) - 1))
    field, value = data.draw(st.sampled_from(FIELDS)), data.draw(st.sampled_from(ODD))
    sessions[place] = msgspec.structs.replace(sessions[place], **{field: value})
    points = dispatch(policy, NOW_MS, sessions, nodes, whole=whole)
    got = [points[session.connector].watts for session in sessions]
    assert min(got) >= 0
    for row in Tree(nodes).rows(sessions):
        total = sum(share * got[i] for i, share in zip(row.leaves, row.shares, strict=True))
        assert total <= row.cap_w + 1e-3, row.name
    assert dispatch(policy, NOW_MS, sessions[::-1], nodes, whole=whole) == points


@given(sites(), st.sampled_from(["base_w", "pv_w"]), st.sampled_from(ODD), st.sampled_from(list(Policy)))
def test_a_reading_that_cannot_be_allows_no_more(
    case: tuple[list[Node], list[Session]], field: str, value: Any, policy: Policy
) -> None:
    nodes, sessions = case
    lying = [msgspec.structs.replace(nodes[0], online=True, **{field: value}), *nodes[1:]]
    points = dispatch(policy, NOW_MS, sessions, lying)
    honest_w = nodes[0].cap_w + (value if field == "pv_w" and 0 < value <= 10**9 else max(0, nodes[0].pv_w))
    assert sum(point.watts for point in points.values()) <= max(0, honest_w)


@pytest.mark.parametrize(
    ("readings", "left_w"),
    [
        ({"base_w": NAN}, 0),
        ({"base_w": INFINITY}, 0),
        ({"base_w": HUGE, "pv_w": 10**9}, 0),
        ({"base_w": -INFINITY}, 9_000),
        ({"pv_w": NAN}, 9_000),
        ({"pv_w": INFINITY}, 9_000),
        ({"pv_w": 10**9 + 1}, 9_000),
        ({"pv_w": 2_000}, 11_000),
    ],
)
def test_headroom_of_absurd_readings(readings: dict[str, Any], left_w: int) -> None:
    node = Node(id="site", cap_w=9_000, phase_cap_w=(5_000, 5_000, 5_000), **readings)
    assert headroom_w(node) == left_w
    assert phase_headroom_w(node, 0) == (0 if left_w == 0 else 5_000)
    assert watts(car(), cap_w=9_000, **readings) == [0 if left_w == 0 else 7_360]


@pytest.mark.parametrize("cap_w", [NAN, INFINITY, -1, HUGE, 2**63 + 1])
def test_a_limit_that_is_no_number_is_no_tree(cap_w: Any) -> None:
    with pytest.raises(BadTree, match=r"node site has a limit of .* W: it has to be 0 or more"):
        watts(car(), cap_w=cap_w)
    with pytest.raises(BadTree, match=r"node site has a phase with a limit of .* W"):
        watts(car(), phase_cap_w=(1, cap_w, 1))


def test_a_limit_that_is_none() -> None:
    assert watts(car(), cap_w=2**63) == [7_360]


@pytest.mark.parametrize(
    ("nodes", "says"),
    [
        ([Node(id="a", cap_w=1), Node(id="b", cap_w=1)], "a and b both have no parent"),
        ([Node(id="a", cap_w=1, parent="b"), Node(id="b", cap_w=1, parent="a")], "below itself"),
        ([Node(id="a", cap_w=1), Node(id="b", parent="x", cap_w=1)], "node b is below x, which there is not"),
        ([Node(id="a", cap_w=1)], "there is no node site"),
        ([], "there are no nodes"),
    ],
)
def test_no_tree_is_refused_by_dispatch(nodes: list[Node], says: str) -> None:
    with pytest.raises(BadTree, match=says):
        dispatch(Policy.SLLF, NOW_MS, [car()], nodes)


def test_nobody_is_there() -> None:
    for policy in Policy:
        assert dispatch(policy, NOW_MS, [], [Node(id="site", cap_w=1)]) == {}
        away = Node(id="site", cap_w=1, online=False)
        assert dispatch(policy, NOW_MS, [car()], [away]) == {}


def test_a_limit_below_the_minima_is_one_ones_turn() -> None:
    assert sorted(watts(car("a"), car("b"), car("c"), cap_w=2_000)) == [0, 0, 1_840]
    assert watts(car("a"), car("b"), cap_w=1_379) == [0, 0]
    assert watts(car("a"), car("b"), cap_w=0) == [0, 0]


def test_a_limit_that_is_cut_while_charging_is_kept_at_once() -> None:
    """Also by who began a second ago."""
    sessions = [car(k, last_w=7_360, last_ms=NOW_MS - 1_000, turned_ms=NOW_MS - 1_000) for k in "ab"]
    assert watts(*sessions, cap_w=2_900) == [1_380, 1_380]
    assert sorted(watts(*sessions, cap_w=1_500)) == [0, 1_380]
    assert watts(*sessions, cap_w=1_000) == [0, 0]


@pytest.mark.parametrize("policy", [Policy.SLLF, Policy.EQUAL, Policy.LLF, Policy.EDF])
def test_a_rating_that_lies(policy: Policy) -> None:
    """It gets what fits; the others their share to the watt, though its rating would drown theirs in rounding."""
    got = watts(car("a", max_w=10**15), car("b"), cap_w=9_000, policy=policy)
    assert 8_540 < sum(got) <= 9_000
    assert watts(car("a", max_w=HUGE), cap_w=2**63)[0] <= MOST_W
    assert watts(car("a", max_w=-5), car("b"), policy=policy) == [0, 7_360]
    assert watts(car("a", max_w=NAN), car("b"), policy=policy) == [0, 7_360]


def test_less_than_the_smallest_current() -> None:
    assert watts(car("a", max_w=1_379), car("b", max_w=0)) == [0, 0]


def test_a_smallest_current_of_none_is_one_ampere() -> None:
    for least in (0, -6, NAN):
        assert watts(car(min_a=least)) == [7_360]
        assert watts(car(min_a=least), cap_w=500) == [460]


@pytest.mark.parametrize("volts", [0, -230, NAN, INFINITY, 10**6])
@pytest.mark.parametrize("policy", list(Policy))
def test_no_current_no_power(volts: Any, policy: Policy) -> None:
    assert watts(car("a", volts=volts), policy=policy) == [0]


@pytest.mark.parametrize(("phases", "on"), [(0, ()), (-1, ()), (4, ()), (10**6, ())])
def test_phases_that_are_none(phases: int, on: tuple[int, ...]) -> None:
    assert watts(car("a", phases=phases, on=on)) == [0]


@pytest.mark.parametrize("on", [(3,), (-1,), (0, 7)])
def test_a_phase_that_there_is_not_counts_fully_on_each(on: tuple[int, ...]) -> None:
    """Otherwise no phase would limit it."""
    assert watts(car(on=on), phase_cap_w=(9_000, 9_000, 2_000)) == [1_840]
    assert phases_of(car(on=on)) == ((0, 1, 2), 1.0)


def test_one_phase_named_twice_is_one() -> None:
    assert phases_of(car(on=(1, 1)))[1] == 1.0
    assert watts(car(on=(1, 1)), phase_cap_w=(9_000, 2_000, 9_000)) == [1_840]


def test_departed_long_ago_or_never() -> None:
    for departure_ms in (NOW_MS - 10**9, -HUGE, HUGE, NAN, INFINITY, -INFINITY):
        assert watts(car(departure_ms=departure_ms)) == [7_360]
    late, later = car("a", departure_ms=NOW_MS - 3_600_000), car("b")
    assert watts(late, later, cap_w=1_500) == [1_380, 0]


def test_nothing_is_needed() -> None:
    assert watts(car(need_wh=0), car("b", delivered_wh=30_000), car("c", need_wh=-5), car("d", need_wh=NAN)) == [0] * 4
    point = dispatch(Policy.SLLF, NOW_MS, [car(need_wh=0)], [Node(id="site", cap_w=9_000)])["a"]
    assert (point.limit, point.wanted_w) == (Limit.NEED, 0)


def test_a_clock_that_was_set_back_freezes_nobody() -> None:
    """The set-point, and when it began, are two hours ahead; the next answer is as if nobody knew them."""
    ahead = NOW_MS + 7_200_000
    assert watts(car(last_w=1_380, last_ms=ahead, turned_ms=ahead)) == [7_360]
    # Who charges does not keep its place for two hours, who waits is not behind all others for two hours.
    one = car("a", departure_ms=None, last_w=1_380, last_ms=ahead, turned_ms=ahead)
    two = car("b", departure_ms=None, last_ms=ahead, turned_ms=ahead)
    other = car("c", departure_ms=None, arrival_ms=NOW_MS - PATIENCE_MS)
    assert watts(one, two, other, cap_w=1_500) == [0, 1_380, 0]
    assert watts(one, other, cap_w=1_500) == [0, 1_380]


def test_who_is_silent_and_holds_nobody_knows_what_is_taken_at_its_rating() -> None:
    nodes = [Node(id="site", cap_w=9_000), Node(id="dark", parent="site", cap_w=9_000, online=False)]
    for last_w, left_w in ((NAN, 1_610), (HUGE, 1_610), (-500, 7_360), (2_000, 6_900)):
        away = car("away", node="dark", last_w=last_w)
        assert dispatch(Policy.EQUAL, NOW_MS, [car(), away], nodes)["a"].watts == left_w


def test_two_that_say_the_same_connector_or_id_pass_no_limit() -> None:
    same = [car("a"), car("a", max_w=3_680)]
    points = dispatch(Policy.EQUAL, NOW_MS, same, [Node(id="site", cap_w=5_000)])
    assert set(points) == {"a"} and points["a"].watts <= 5_000


def test_columns_of_nobody_and_of_one_kind() -> None:
    assert Cars([]).max_w.tolist() == []
    cars = Cars([car("a"), car("b")])
    assert cars.max_w.tolist() == [7_360, 7_360]
    assert cars.usable_w(STEP_MS).tolist() == [7_360, 7_360]


def test_a_look_that_takes_no_time() -> None:
    points = dispatch(Policy.SLLF, NOW_MS, [car(need_wh=10)], [Node(id="site", cap_w=9_000)], look_ms=0)
    assert points["a"].watts == 7_360
