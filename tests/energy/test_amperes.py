"""Turns where not all can charge: nobody waits for ever, dwells are kept, and room is kept free for one at a time."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from evcharge.energy.allocate import URGENT_LAXITY, laxity
from evcharge.energy.amperes import DWELL_MS, PATIENCE_MS
from evcharge.energy.cars import Cars
from evcharge.energy.fill import Curves, fill_paths
from evcharge.energy.model import STEP_MS, Limit, Node, Policy, Session, SetPoint
from evcharge.energy.paths import paths_of
from evcharge.energy.policies import dispatch
from evcharge.energy.tree import Tree
from tests.energy.trees import NOW_MS, sites

HOUR_MS = 3_600_000
# The largest smallest current in ``crowds``, W: three phases.
LEAST_W = 4_140


def car(name: str, **more: object) -> Session:
    about: dict[str, object] = {
        "id": name,
        "connector": name,
        "node": "site",
        "need_wh": 900_000,
        "arrival_ms": NOW_MS,
        "max_w": 22_080,
    }
    return Session(**(about | more))  # type: ignore[arg-type]


def told(session: Session, watts: int, now_ms: int) -> Session:
    turned = (watts > 0) != (session.last_w > 0)
    return msgspec.structs.replace(
        session,
        last_w=watts,
        last_ms=now_ms if watts != session.last_w else session.last_ms,
        turned_ms=now_ms if turned else session.turned_ms,
        delivered_wh=session.delivered_wh + watts * STEP_MS // HOUR_MS,
    )


@st.composite
def crowds(draw: st.DrawFn) -> tuple[list[Node], list[Session]]:
    """Trees in which one smallest current fits on each path, and seldom many; cars of one and of three phases."""
    nodes = []
    for k in range(draw(st.integers(1, 5))):
        cap_w = LEAST_W + draw(st.sampled_from([0, 500, 1_380, 3_000]))
        part_w = draw(st.sampled_from([None, 1_380, 2_000]))
        phases = None if part_w is None else (part_w, part_w, part_w)
        parent = None if k == 0 else f"n{draw(st.integers(0, k - 1))}"
        nodes.append(Node(id=f"n{k}", parent=parent, cap_w=cap_w, phase_cap_w=phases))
    sessions = []
    for k in range(draw(st.integers(1, 7))):
        wires = draw(st.sampled_from([1, 3]))
        hours = draw(st.sampled_from([None, None, -1, 1]))
        sessions.append(
            car(
                f"s{k}",
                node=draw(st.sampled_from(nodes)).id,
                phases=wires,
                weight=draw(st.sampled_from([1, 10])),
                arrival_ms=NOW_MS - draw(st.integers(0, HOUR_MS)),
                departure_ms=None if hours is None else NOW_MS + hours * HOUR_MS,
                max_w=230 * wires * draw(st.sampled_from([6, 16, 32])),
            )
        )
    return nodes, sessions


@given(crowds(), st.sampled_from([Policy.EQUAL, Policy.SLLF, Policy.LLF, Policy.EDF]), st.integers(0, 60_000))
def test_nobody_starves_in_any_tree(case: tuple[list[Node], list[Session]], policy: Policy, more_ms: int) -> None:
    """Who leaves at an unknown time, or can wait no longer, is served within PATIENCE_MS and a turn of each other."""
    nodes, sessions = case
    look_ms = STEP_MS + more_ms
    bound_ms = PATIENCE_MS + look_ms + len(sessions) * (DWELL_MS + look_ms)
    waits: dict[str, int] = {}
    for step in range(2 * bound_ms // look_ms):
        now_ms = NOW_MS + step * look_ms
        points = dispatch(policy, now_ms, sessions, nodes, look_ms=look_ms)
        for session in sessions:
            left = laxity(session, now_ms)
            if points[session.connector].watts or (left is not None and left >= URGENT_LAXITY):
                waits.pop(session.id, None)
            else:
                assert now_ms - waits.setdefault(session.id, now_ms) <= bound_ms, session.id
        sessions = [told(session, points[session.connector].watts, now_ms) for session in sessions]


@given(crowds(), st.sampled_from([Policy.EQUAL, Policy.SLLF]))
def test_who_began_goes_on_for_ten_minutes(case: tuple[list[Node], list[Session]], policy: Policy) -> None:
    """While limits stay as they are; also where somebody waits who would need that room."""
    nodes, sessions = case
    for step in range(30):
        now_ms = NOW_MS + step * STEP_MS
        points = dispatch(policy, now_ms, sessions, nodes)
        for session in sessions:
            if session.last_w and session.turned_ms is not None and now_ms - session.turned_ms < DWELL_MS:
                assert points[session.connector].watts >= session.min_w, (session.id, step)
        sessions = [told(session, points[session.connector].watts, now_ms) for session in sessions]


def crowd(late: bool) -> list[Session]:
    """Room for three small ones that began at different times; a small one waits, and a large one."""
    waits_ms = PATIENCE_MS if late else PATIENCE_MS - 1
    small = [car(f"{k}", last_w=1_380, last_ms=NOW_MS, turned_ms=NOW_MS - k * 250_000) for k in range(3)]
    return [
        *small[:2],
        car("2", last_w=1_380, turned_ms=NOW_MS - DWELL_MS),
        car("large", phases=3, arrival_ms=NOW_MS - waits_ms),
        car("next", arrival_ms=NOW_MS - 1),
    ]


def on(sessions: list[Session], cap_w: int = LEAST_W) -> dict[str, int]:
    points = dispatch(Policy.EQUAL, NOW_MS, sessions, [Node(id="site", cap_w=cap_w)])
    return {name: point.watts for name, point in points.items() if point.watts}


def test_nobody_begins_where_one_that_waited_too_long_is_to_begin() -> None:
    assert on(crowd(late=False)) == {"0": 1_380, "1": 1_380, "next": 1_380}
    # What is kept free until it is enough is used by those who charge already.
    assert on(crowd(late=True)) == {"0": 1_380, "1": 1_380, "2": 1_380}


def test_who_may_not_begin_is_told_why() -> None:
    points = dispatch(Policy.EQUAL, NOW_MS, crowd(late=True), [Node(id="site", cap_w=LEAST_W)])
    assert points["next"] == SetPoint(0, Limit.MINIMA, "site", 22_080)


def test_beside_what_is_kept_free_others_may_begin() -> None:
    """Below another node, where the site has room for both: of those who wait for one place, one is kept room for."""
    nodes = [
        Node(id="site", cap_w=2 * LEAST_W),
        Node(id="full", parent="site", cap_w=LEAST_W),
        Node(id="free", parent="site", cap_w=LEAST_W),
    ]
    sessions = [msgspec.structs.replace(session, node="full") for session in crowd(late=True) if session.id != "2"]
    second = car("second", node="full", phases=3, arrival_ms=NOW_MS - PATIENCE_MS)
    other = car("other", node="free", max_w=7_360)
    points = dispatch(Policy.EQUAL, NOW_MS, [*sessions, second, other], nodes)
    assert {name for name, point in points.items() if point.watts} == {"0", "1", "other"}


def test_no_room_is_kept_for_what_never_fits() -> None:
    sessions = [session for session in crowd(late=True) if session.id != "0"]
    huge = car("huge", phases=3, min_a=7, arrival_ms=0)
    assert on([*sessions, huge]) == on(sessions)


def test_a_large_weight_does_not_keep_the_others_from_charging() -> None:
    sessions = [car("a", weight=100), car("b", departure_ms=None)]
    seen = set()
    for step in range(9):
        now_ms = NOW_MS + step * STEP_MS
        points = dispatch(Policy.EQUAL, now_ms, sessions, [Node(id="site", cap_w=2_000)])
        seen |= {name for name, point in points.items() if point.watts}
        sessions = [told(session, points[session.id].watts, now_ms) for session in sessions]
    assert seen == {"a", "b"}


def test_who_can_wait_is_not_hurried() -> None:
    """It is full at departure all the same."""
    sessions = [
        car("late", departure_ms=NOW_MS, arrival_ms=0),
        car("calm", departure_ms=NOW_MS + 200 * HOUR_MS, arrival_ms=0),
    ]
    assert on(sessions, 2_000) == {"late": 1_840}


@given(sites(told=False))
def test_whole_amperes_lose_little(case: tuple[list[Node], list[Session]]) -> None:
    """In each row that stops anybody less stays than the smallest current of one more that could have used it."""
    nodes, sessions = case
    nodes = [msgspec.structs.replace(node, online=True) for node in nodes]
    sessions = [msgspec.structs.replace(session, ramp_w=None) for session in sessions]
    cars = Cars(sessions)
    paths = paths_of(Tree(nodes), sessions).paths
    tops = cars.tops_w(None, STEP_MS)
    points = dispatch(Policy.EQUAL, NOW_MS, sessions, nodes)
    got = [float(points[session.connector].watts) for session in sessions]
    exact, by = fill_paths(Curves(cars.weight * 0, cars.weight, cars.weight * 0, tops), paths)
    left = paths.caps - paths.sums(cars.weight * 0 + got)
    for i, session in enumerate(sessions):
        if got[i] < tops[i]:
            lost = min(
                left[row] / share for row, share in zip(paths.rows[:, i], paths.shares[:, i], strict=True) if row
            )
            assert lost < (session.step_w if got[i] else session.min_w)
        if exact[i] >= tops[i] and by[i] == 0 and tops[i] > 0:
            assert got[i] > 0 or any(got[k] > exact[k] for k in range(len(got)))


def test_many_small_ones_do_not_keep_a_large_one_from_ever_beginning() -> None:
    """Each of them begins when another ends, so that there never is room for three of them at once."""
    small = [car(f"{k}", last_w=1_380, turned_ms=NOW_MS - k * 200_000) for k in range(3)]
    sessions = [*small, *[car(f"{k}") for k in range(3, 9)], car("large", phases=3)]
    look_ms = 200_000
    begun_ms = None
    for step in range(30):
        now_ms = NOW_MS + step * look_ms
        points = dispatch(Policy.EQUAL, now_ms, sessions, [Node(id="site", cap_w=LEAST_W)], look_ms=look_ms)
        if points["large"].watts:
            begun_ms = now_ms
            break
        sessions = [told(session, points[session.id].watts, now_ms) for session in sessions]
    assert begun_ms is not None and PATIENCE_MS < begun_ms - NOW_MS <= PATIENCE_MS + DWELL_MS
