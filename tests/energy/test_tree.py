"""A tree that is none is refused with a sentence; the rows of a good one say what energy.md's limits say."""

from __future__ import annotations

import pytest

from evcharge.energy.model import Node, Session
from evcharge.energy.tree import BadTree, Tree, headroom_w


def node(name: str, parent: str | None = None, cap_w: int = 10_000, **more: object) -> Node:
    return Node(id=name, parent=parent, cap_w=cap_w, **more)  # type: ignore[arg-type]


def session(name: str, at: str, **more: object) -> Session:
    return Session(id=name, connector=f"{name}/1", node=at, need_wh=1_000, arrival_ms=0, max_w=7_360, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("nodes", "says"),
    [
        ([], "there are no nodes"),
        ([node("a"), node("b")], "a and b both have no parent"),
        ([node("a"), node("b", "c")], "node b is below c, which there is not"),
        ([node("a"), node("a")], "node a is there twice"),
        ([node("a"), node("b", "c"), node("c", "b")], "node b is below itself: b < c < b"),
        ([node("a", "a")], "node a is below itself: a < a"),
        ([node("a", cap_w=-1)], "node a has a limit of -1 W"),
        ([node("a", phase_cap_w=(1, -2, 3))], "node a has a phase with a limit of -2 W"),
    ],
)
def test_no_tree(nodes: list[Node], says: str) -> None:
    with pytest.raises(BadTree, match=says):
        Tree(nodes)


def test_a_session_below_no_node() -> None:
    with pytest.raises(BadTree, match="there is no node x"):
        Tree([node("a")]).rows([session("s", "x")])


def test_order_of_nodes_does_not_matter() -> None:
    tree = Tree([node("leaf", "mid"), node("mid", "top"), node("top")])
    assert tree.root == "top"
    assert tree.above("leaf") == ("leaf", "mid", "top")


def test_a_row_sums_all_below() -> None:
    tree = Tree([node("top", cap_w=9_000), node("left", "top", cap_w=5_000), node("right", "top")])
    rows = {row.name: row for row in tree.rows([session("a", "left"), session("b", "right"), session("c", "left")])}
    assert rows["top"].leaves == (0, 1, 2)
    assert rows["left"].leaves == (0, 2)
    assert rows["left"].cap_w == 5_000
    assert rows["right"].leaves == (1,)


def test_nodes_without_sessions_have_no_row() -> None:
    assert [row.name for row in Tree([node("top"), node("left", "top")]).rows([session("a", "top")])] == ["top"]


def test_phases_are_three_rows_and_three_phases_count_a_third_on_each() -> None:
    tree = Tree([node("top", phase_cap_w=(3_000, 4_000, 5_000))])
    sessions = [session("one", "top", on=(1,)), session("all", "top", phases=3, on=(0, 1, 2))]
    rows = {row.name: row for row in tree.rows(sessions)}
    assert rows["top/L1"] == ("top/L1", 3_000, (1,), (1 / 3,))
    assert rows["top/L2"] == ("top/L2", 4_000, (0, 1), (1.0, 1 / 3))


def test_whose_phase_is_unknown_counts_fully_on_each() -> None:
    tree = Tree([node("top", phase_cap_w=(3_000, 3_000, 3_000))])
    rows = tree.rows([session("one", "top"), session("three", "top", phases=3)])
    assert [row.shares for row in rows if "/" in row.name] == [(1.0, 1 / 3)] * 3


def test_base_is_taken_off_and_solar_added_but_absurd_readings_allow_no_more() -> None:
    assert headroom_w(node("a", base_w=3_000, pv_w=1_000)) == 8_000
    assert headroom_w(node("a", base_w=-3_000)) == 10_000
    assert headroom_w(node("a", pv_w=-3_000)) == 10_000
    assert headroom_w(node("a", base_w=30_000)) == 0


def test_solar_helps_no_single_phase() -> None:
    tree = Tree([node("top", phase_cap_w=(3_000, 3_000, 3_000), base_w=500, pv_w=9_000)])
    assert [row.cap_w for row in tree.rows([session("one", "top")])] == [18_500, 2_500, 2_500, 2_500]


def test_the_first_node_whose_minima_do_not_fit() -> None:
    tree = Tree([node("top", cap_w=3_000), node("left", "top", cap_w=2_000)])
    assert tree.fits({"left": 2_000, "top": 1_000}) is None
    assert tree.fits({"left": 2_001}) == "left"
    assert tree.fits({"left": 1_500, "top": 1_501}) == "top"


def test_below_an_offline_node_nobody_is_reached() -> None:
    tree = Tree([node("top"), node("left", "top", online=False), node("low", "left")])
    assert not tree.online("low")
    assert tree.online("top")
