"""The level against oracles: a linear program solved lexicographically, and the defining property of max-min."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evcharge.energy.fill import Curves, Leaf, fill, fill_paths, fill_tree
from evcharge.energy.model import Node, Session
from evcharge.energy.paths import Paths, paths_of
from evcharge.energy.tree import Row, Tree
from tests.energy.trees import sites
from tools.trees.oracle import at_level, lexicographic

NEAR = 1e-6


@st.composite
def fillings(draw: st.DrawFn, *, starts: bool, lows: bool) -> tuple[list[Leaf], list[Row]]:
    """Leaves and any rows over them (no tree: phases are none either), whose lows fit."""
    count = draw(st.integers(1, 6))
    leaves = []
    for _ in range(count):
        low = float(draw(st.integers(0, 5))) if lows else 0.0
        start = float(draw(st.integers(-5, 5))) if starts else 0.0
        leaves.append(Leaf(start, float(draw(st.integers(1, 4))), low, low + draw(st.integers(0, 20))))
    rows = []
    for number in range(draw(st.integers(0, 5))):
        members = tuple(k for k in range(count) if draw(st.booleans()))
        shares = tuple(draw(st.sampled_from([1.0, 1.0, 1 / 3])) for _ in members)
        least = sum(share * leaves[k].low for k, share in zip(members, shares, strict=True))
        rows.append(Row(f"r{number}", least + draw(st.integers(0, 40)), members, shares))
    return leaves, rows


def level_of(leaf: Leaf, value: float) -> float:
    """Where it stopped; one that never rose stopped anywhere below its start."""
    return value / leaf.slope + leaf.start


@st.composite
def trees(draw: st.DrawFn, *, phases: bool, starts: bool) -> tuple[Curves, Paths]:
    """Curves over the paths of a random site, in kW."""
    nodes, sessions = draw(sites(phases=phases, most=6))
    paths = paths_of(Tree(nodes), sessions).paths
    count = len(sessions)

    def column(values: st.SearchStrategy[int]) -> np.ndarray:
        return np.array([float(draw(values)) for _ in range(count)])

    begins = column(st.integers(-5, 5)) if starts else np.zeros(count)
    curves = Curves(begins, column(st.integers(1, 4)), np.zeros(count), column(st.integers(0, 20)))
    return curves, paths._replace(caps=paths.caps / 1_000)


@given(fillings(starts=False, lows=False))
def test_weighted_max_min_is_what_linear_programs_find(case: tuple[list[Leaf], list[Row]]) -> None:
    leaves, rows = case
    assert fill(leaves, rows).values == pytest.approx(lexicographic(leaves, rows), abs=1e-4)


@given(fillings(starts=True, lows=False))
def test_smoothed_least_laxity_is_what_linear_programs_find(case: tuple[list[Leaf], list[Row]]) -> None:
    leaves, rows = case
    assert fill(leaves, rows).values == pytest.approx(lexicographic(leaves, rows), abs=1e-4)


def leaves_of(curves: Curves) -> list[Leaf]:
    return [Leaf(*each) for each in zip(*[column.tolist() for column in curves], strict=True)]


@given(st.booleans().flatmap(lambda starts: trees(phases=False, starts=starts)))
def test_a_tree_is_filled_as_linear_programs_and_the_general_method_do(case: tuple[Curves, Paths]) -> None:
    curves, paths = case
    leaves = leaves_of(curves)
    rows, _ = paths.as_rows()
    values, _ = fill_tree(curves, paths)
    assert values.tolist() == pytest.approx(fill(leaves, rows).values, rel=1e-9, abs=1e-9)
    assert values.tolist() == pytest.approx(lexicographic(leaves, rows), abs=1e-4)


@given(st.booleans().flatmap(lambda starts: trees(phases=True, starts=starts)))
def test_with_phases_too(case: tuple[Curves, Paths]) -> None:
    """And whether rows that hold everything are left out first makes no difference."""
    curves, paths = case
    leaves = leaves_of(curves)
    values, _ = fill_paths(curves, paths)
    rows, _ = paths.as_rows()
    assert values.tolist() == pytest.approx(fill(leaves, rows).values, rel=1e-9, abs=1e-9)
    assert values.tolist() == pytest.approx(lexicographic(leaves, rows), abs=1e-4)


@given(trees(phases=False, starts=True))
def test_in_a_tree_the_row_that_stops_a_leaf_is_full_and_above_it(case: tuple[Curves, Paths]) -> None:
    curves, paths = case
    values, stopped = fill_tree(curves, paths)
    left = paths.caps - paths.sums(values)
    for i, row in enumerate(stopped.tolist()):
        if row:
            assert row in paths.rows[:, i].tolist()
            assert left[row] == pytest.approx(0, abs=NEAR)
            assert values[i] < curves.highs[i]
        else:
            assert values[i] == curves.highs[i]


@given(st.lists(st.integers(0, 4), min_size=1, max_size=40), st.randoms(use_true_random=False))
def test_a_large_tree_with_lows_is_filled_as_by_the_general_method(parents: list[int], random: object) -> None:
    nodes = [Node(id="n0", cap_w=random.randint(2_000, 9_000))]  # type: ignore[attr-defined]
    for k, parent in enumerate(parents, 1):
        nodes.append(Node(id=f"n{k}", parent=f"n{min(parent, k - 1)}", cap_w=random.randint(300, 3_000)))  # type: ignore[attr-defined]
    sessions = [
        Session(id=str(k), connector=str(k), node=f"n{random.randrange(len(nodes))}", need_wh=1, arrival_ms=0, max_w=1)  # type: ignore[attr-defined]
        for k in range(60)
    ]
    paths = paths_of(Tree(nodes), sessions).paths
    columns = np.array([[random.uniform(-9, 9), random.uniform(1, 9), 1.0, random.uniform(1, 300)] for _ in sessions])  # type: ignore[attr-defined]
    curves = Curves(*np.ascontiguousarray(columns.T))
    values, _ = fill_tree(curves, paths)
    assert values.tolist() == pytest.approx(fill(leaves_of(curves), paths.as_rows()[0]).values, rel=1e-9, abs=1e-9)


@given(fillings(starts=True, lows=True))
def test_never_above_a_row_nor_out_of_bounds(case: tuple[list[Leaf], list[Row]]) -> None:
    leaves, rows = case
    values = fill(leaves, rows).values
    for leaf, value in zip(leaves, values, strict=True):
        assert leaf.low - NEAR <= value <= leaf.high + NEAR
    for row in rows:
        assert sum(share * values[k] for k, share in zip(row.leaves, row.shares, strict=True)) <= row.cap_w + NEAR


@given(fillings(starts=True, lows=True))
def test_who_could_have_more_only_at_the_cost_of_someone_lower(case: tuple[list[Leaf], list[Row]]) -> None:
    """The defining property: each leaf is at its high, or in a full row where nobody else rose to a higher level."""
    leaves, rows = case
    values, stopped = fill(leaves, rows)
    for k, leaf in enumerate(leaves):
        row_index = stopped[k]
        if row_index is None:
            assert values[k] == pytest.approx(leaf.high)
            continue
        row = rows[row_index]
        assert k in row.leaves
        total = sum(share * values[i] for i, share in zip(row.leaves, row.shares, strict=True))
        assert total == pytest.approx(row.cap_w, abs=NEAR)
        mine = max(
            level_of(leaf, values[k]),
            max(level_of(leaves[i], values[i]) for i in row.leaves if values[i] > leaves[i].low)
            if any(values[i] > leaves[i].low for i in row.leaves)
            else -1e9,
        )
        for i in row.leaves:
            if values[i] > leaves[i].low + NEAR:
                assert level_of(leaves[i], values[i]) <= mine + NEAR


@given(fillings(starts=True, lows=True), st.integers(0, 3))
def test_one_level_for_all_in_one_row(case: tuple[list[Leaf], list[Row]], cap: int) -> None:
    """Against bisection: with a single row the level is the one whose sum is the limit."""
    leaves, _ = case
    least = sum(leaf.low for leaf in leaves)
    row = Row("r", least + 5.0 * cap, tuple(range(len(leaves))), (1.0,) * len(leaves))
    below, above = -1_000.0, 1_000.0
    for _ in range(200):
        middle = (below + above) / 2
        if sum(at_level(leaf, middle) for leaf in leaves) <= row.cap_w:
            below = middle
        else:
            above = middle
    expected = [at_level(leaf, below) for leaf in leaves]
    assert fill(leaves, [row]).values == pytest.approx(expected, abs=NEAR)


@given(fillings(starts=True, lows=True), st.randoms(use_true_random=False))
def test_the_order_of_leaves_and_rows_does_not_matter(case: tuple[list[Leaf], list[Row]], random: object) -> None:
    leaves, rows = case
    order = list(range(len(leaves)))
    random.shuffle(order)  # type: ignore[attr-defined]
    place = {old: new for new, old in enumerate(order)}
    moved = [Row(row.name, row.cap_w, tuple(place[k] for k in row.leaves), row.shares) for row in reversed(rows)]
    values = fill([leaves[k] for k in order], moved).values
    assert [values[place[k]] for k in range(len(leaves))] == pytest.approx(fill(leaves, rows).values, abs=NEAR)


def test_lows_that_do_not_fit_are_an_error() -> None:
    with pytest.raises(ValueError, match="the least of r is 4 of 3"):
        fill([Leaf(0, 1, 2, 5), Leaf(0, 1, 2, 5)], [Row("r", 3, (0, 1), (1.0, 1.0))])


def test_lows_that_do_not_fit_below_a_node_are_an_error() -> None:
    tree = Tree([Node(id="top", cap_w=9), Node(id="low", parent="top", cap_w=3)])
    sessions = [Session(id=k, connector=k, node="low", need_wh=1, arrival_ms=0, max_w=1) for k in "ab"]
    two = np.full(2, 2.0)
    with pytest.raises(ValueError, match="the least of low is 4 of 3"):
        fill_paths(Curves(two, two, two, two * 3), paths_of(tree, sessions).paths)


def test_a_row_that_is_nearly_enough_is_not_left_out() -> None:
    tree = Tree([Node(id="top", cap_w=9, phase_cap_w=(9, 9, 2))])
    sessions = [Session(id=k, connector=k, node="top", need_wh=1, arrival_ms=0, max_w=1, on=(0,)) for k in "ab"]
    curves = Curves(np.zeros(2), np.ones(2), np.zeros(2), np.full(2, 5.0))
    assert fill_paths(curves, paths_of(tree, sessions).paths)[0].tolist() == [4.5, 4.5]


def test_who_wants_nothing_is_stopped_by_itself() -> None:
    leaves = [Leaf(0, 1, 0, 0), Leaf(0, 1, 0, 9)]
    assert fill(leaves, [Row("r", 3, (0, 1), (1.0, 1.0))]) == ([0, 3], [None, 0])


def test_a_node_below_another_keeps_its_cars_low_and_the_others_get_the_rest() -> None:
    rows = [Row("site", 10, (0, 1, 2), (1.0,) * 3), Row("feeder", 2, (0, 1), (1.0,) * 2)]
    assert fill([Leaf(0, 1, 0, 20)] * 3, rows).values == pytest.approx([1, 1, 8])
    assert fill([Leaf(0, 1, 0, 20)] * 3, rows).rows == [1, 1, 0]


def test_least_laxity_is_served_first_and_smoothly() -> None:
    leaves = [Leaf(-1.0, 6.0, 0, 6), Leaf(-0.5, 6.0, 0, 6), Leaf(9.0, 6.0, 0, 6)]
    values = np.array(fill(leaves, [Row("r", 6, (0, 1, 2), (1.0,) * 3)]).values)
    assert values == pytest.approx([4.5, 1.5, 0])
