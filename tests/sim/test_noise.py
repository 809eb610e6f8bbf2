"""Noise: a function of its key alone, continuous, with the mean, spread and memory that it promises."""

from __future__ import annotations

from itertools import pairwise
from math import exp
from statistics import fmean, pstdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evcharge.sim.noise import Noise, gauss, share

HOUR = 3_600_000


@given(times=st.lists(st.integers(-(10**13), 10**13), max_size=20), seed=st.integers(0, 9))
def test_the_order_and_number_of_questions_do_not_matter(times: list[int], seed: int) -> None:
    one, other = Noise(seed, "x", HOUR), Noise(seed, "x", HOUR)
    asked = {at_ms: one.at(at_ms) for at_ms in times}
    gauss.cache_clear()
    for at_ms in sorted(times, reverse=True):
        assert other.at(at_ms) == asked[at_ms]


@given(
    at_ms=st.builds(lambda knot, past_ms: knot * HOUR // 6 + past_ms, st.integers(-(10**6), 10**6), st.integers(-2, 2))
)
def test_continuous(at_ms: int) -> None:
    """Across the knots, where it could break."""
    noise = Noise(1, "x", HOUR)
    # Two knots of 10 minutes lie at most 12 standard deviations apart in any draw of these tests' lifetime.
    assert abs(noise.at(at_ms + 1) - noise.at(at_ms)) < 12 / (HOUR / 6)


def test_mean_spread_and_memory() -> None:
    noise = Noise(7, "x", HOUR)
    knots = [noise.at(knot * HOUR // 6) for knot in range(12_000)]
    assert abs(fmean(knots)) < 0.1
    assert pstdev(knots) == pytest.approx(1, abs=0.05)
    hour_apart = fmean(a * b for a, b in zip(knots, knots[6:], strict=False))
    assert hour_apart == pytest.approx(exp(-1), abs=0.07)


def test_keys_differ() -> None:
    values = {Noise(seed, name, HOUR).at(12_345) for seed in range(5) for name in "abc"}
    assert len(values) == 15


def test_the_same_on_every_machine() -> None:
    """Pinned: a change of the draws would change every simulated day that was ever reported."""
    assert gauss(1, "x", 0) == pytest.approx(PINNED, abs=1e-12)


PINNED = -1.4566390670889946


def test_share_turns_it_even() -> None:
    shares = sorted(share(gauss(3, "y", number)) for number in range(4_000))
    assert all(b - a < 0.02 for a, b in pairwise(shares))
    assert share(0) == 0.5


def test_a_memory_too_short_for_its_knots_is_refused() -> None:
    with pytest.raises(ValueError, match="correlation_ms"):
        Noise(1, "x", 5)
