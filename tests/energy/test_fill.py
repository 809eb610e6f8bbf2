"""The level against oracles: a linear program solved lexicographically, and the defining property of max-min."""

from __future__ import annotations

import highspy
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evcharge.energy.fill import Leaf, fill
from evcharge.energy.tree import Row

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


def at_level(leaf: Leaf, level: float) -> float:
    return min(max(leaf.low, leaf.slope * (level - leaf.start)), leaf.high)


def level_of(leaf: Leaf, value: float) -> float:
    """Where it stopped; one that never rose stopped anywhere below its start."""
    return value / leaf.slope + leaf.start


def lexicographic(leaves: list[Leaf], rows: list[Row]) -> list[float]:
    """Max-min by linear programs: raise the least ratio of all, fix who cannot go on, again."""
    count = len(leaves)
    fixed: dict[int, float] = {}
    while len(fixed) < count:
        best = _best(leaves, rows, fixed, None)
        for k in range(count):
            if k not in fixed and _best(leaves, rows, fixed, (k, best)) <= best + 1e-7:
                fixed[k] = best
    return [leaf.slope * fixed[k] for k, leaf in enumerate(leaves)]


def _best(leaves: list[Leaf], rows: list[Row], fixed: dict[int, float], one: tuple[int, float] | None) -> float:
    """The largest t with x_k ≥ slope_k·t for all that are not fixed; or the largest ratio of one, all others ≥ t."""
    model = highspy.Highs()
    model.silent()
    x = []
    for k, leaf in enumerate(leaves):
        low = leaf.slope * (fixed[k] - 1e-9) if k in fixed else leaf.slope * (one[1] - 1e-9) if one is not None else 0
        x.append(model.addVariable(lb=max(0.0, low), ub=leaf.high))
    t = model.addVariable(lb=0, ub=1e6)
    for k, leaf in enumerate(leaves):
        if (one is None and k not in fixed) or (one is not None and one[0] == k):
            model.addConstr(x[k] - leaf.slope * t >= 0)
    for row in rows:
        if row.leaves:
            model.addConstr(sum(share * x[k] for k, share in zip(row.leaves, row.shares, strict=True)) <= row.cap_w)
    model.maximize(t)
    assert model.getModelStatus() == highspy.HighsModelStatus.kOptimal
    return float(model.val(t))


@given(fillings(starts=False, lows=False))
def test_weighted_max_min_is_what_linear_programs_find(case: tuple[list[Leaf], list[Row]]) -> None:
    leaves, rows = case
    assert fill(leaves, rows).values == pytest.approx(lexicographic(leaves, rows), abs=1e-4)


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


def test_a_node_below_another_keeps_its_cars_low_and_the_others_get_the_rest() -> None:
    rows = [Row("site", 10, (0, 1, 2), (1.0,) * 3), Row("feeder", 2, (0, 1), (1.0,) * 2)]
    assert fill([Leaf(0, 1, 0, 20)] * 3, rows).values == pytest.approx([1, 1, 8])
    assert fill([Leaf(0, 1, 0, 20)] * 3, rows).rows == [1, 1, 0]


def test_least_laxity_is_served_first_and_smoothly() -> None:
    leaves = [Leaf(-1.0, 6.0, 0, 6), Leaf(-0.5, 6.0, 0, 6), Leaf(9.0, 6.0, 0, 6)]
    values = np.array(fill(leaves, [Row("r", 6, (0, 1, 2), (1.0,) * 3)]).values)
    assert values == pytest.approx([4.5, 1.5, 0])
