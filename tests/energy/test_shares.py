"""Equal share against oracles that are too slow to be wrong."""

from __future__ import annotations

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from evcharge.energy.shares import Demand, equal_share

DEMANDS = st.lists(
    st.tuples(st.integers(0, 20), st.integers(0, 40)).map(lambda pair: Demand(min(pair), max(pair))), max_size=6
)


def by_raising_together(capacity_w: int, demands: list[Demand]) -> list[int]:
    """All at their minimum, then the lowest ones one watt higher, all of them together, as long as that fits."""
    shares = [demand.min_w for demand in demands]
    level = 0
    while True:
        level += 1
        raised = [max(share, min(level, demand.max_w)) for share, demand in zip(shares, demands, strict=True)]
        if sum(raised) > capacity_w or level > 100:
            return shares
        shares = raised


@given(capacity_w=st.integers(0, 200), demands=DEMANDS)
def test_same_as_raising_all_together(capacity_w: int, demands: list[Demand]) -> None:
    demands = [demand for demand in demands if demand.max_w > 0]
    if sum(demand.min_w for demand in demands) <= capacity_w:
        assert equal_share(capacity_w, demands) == by_raising_together(capacity_w, demands)


@given(capacity_w=st.integers(0, 10), demands=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 6)), max_size=3))
def test_max_min_fair_among_all_allocations(capacity_w: int, demands: list[tuple[int, int]]) -> None:
    """No whole-watt allocation has a better worst, then second worst …, but for the watts that cannot be split."""
    wanted = [Demand(min(pair), max(pair)) for pair in demands]
    if sum(demand.min_w for demand in wanted) > capacity_w:
        return
    ours = sorted(equal_share(capacity_w, wanted))
    best = max(
        sorted(shares)
        for shares in product(*(range(demand.min_w, demand.max_w + 1) for demand in wanted))
        if sum(shares) <= capacity_w
    )
    assert sum(best) - sum(ours) < max(1, len(wanted))
    assert all(0 <= theirs - mine <= 1 for mine, theirs in zip(ours, best, strict=True))


@given(capacity_w=st.integers(-5, 200), demands=DEMANDS)
def test_always_in_bounds(capacity_w: int, demands: list[Demand]) -> None:
    shares = equal_share(capacity_w, demands)
    assert len(shares) == len(demands)
    assert sum(shares) <= max(0, capacity_w)
    for share, demand in zip(shares, demands, strict=True):
        assert share == 0 or demand.min_w <= share <= demand.max_w


@given(capacity_w=st.integers(0, 200), more_w=st.integers(0, 50), demands=DEMANDS)
def test_more_capacity_lowers_nobody_once_the_minima_fit(capacity_w: int, more_w: int, demands: list[Demand]) -> None:
    if sum(demand.min_w for demand in demands) <= capacity_w:
        less, more = equal_share(capacity_w, demands), equal_share(capacity_w + more_w, demands)
        assert all(a <= b for a, b in zip(less, more, strict=True))


@given(capacity_w=st.integers(0, 200), demands=DEMANDS)
def test_equal_demands_get_equal_shares(capacity_w: int, demands: list[Demand]) -> None:
    if sum(demand.min_w for demand in demands) <= capacity_w:
        shares = equal_share(capacity_w, demands)
        assert len({(demand, share) for demand, share in zip(demands, shares, strict=True)}) == len(set(demands))


def test_nobody() -> None:
    assert equal_share(1_000, []) == []


def test_who_can_use_nothing_gets_nothing() -> None:
    assert equal_share(1_000, [Demand(0, 0), Demand(100, 700)]) == [0, 700]


def test_a_third_each_rounded_down() -> None:
    assert equal_share(10_000, [Demand(1_400, 11_000)] * 3) == [3_333] * 3


def test_what_one_cannot_use_goes_to_the_others() -> None:
    assert equal_share(10_000, [Demand(1_400, 2_000), Demand(1_400, 11_000), Demand(1_400, 11_000)]) == [
        2_000,
        4_000,
        4_000,
    ]


def test_a_high_minimum_is_kept_and_the_rest_shared() -> None:
    assert equal_share(10_000, [Demand(6_000, 11_000), Demand(0, 11_000), Demand(0, 11_000)]) == [6_000, 2_000, 2_000]


def test_minima_that_do_not_fit_are_served_in_order() -> None:
    demands = [Demand(1_400, 11_000), Demand(4_000, 11_000), Demand(1_400, 11_000)]
    assert equal_share(3_000, demands) == [1_500, 0, 1_500]
    assert equal_share(2_799, demands) == [2_799, 0, 0]
    assert equal_share(1_399, demands) == [0, 0, 0]
    assert equal_share(1_400, demands) == [1_400, 0, 0]
