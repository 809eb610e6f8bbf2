"""Waiting times against counting and against the textbook's sums."""

from __future__ import annotations

from math import factorial, isclose

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evcharge.energy.queueing import MAX_QUEUE, erlang_c_wait, wait_in_queue


def test_the_kth_smallest_remaining_time() -> None:
    remaining = [900.0, 300.0, 600.0]
    assert [wait_in_queue(remaining, ahead, None) for ahead in range(4)] == [300, 600, 900, None]


def test_connectors_are_taken_again() -> None:
    assert [wait_in_queue([600.0, 300.0], ahead, 1_000) for ahead in range(5)] == [300, 600, 1_300, 1_600, 2_300]
    assert wait_in_queue([60.0, 18_000.0], 1, 1_800) == 1_860


def test_what_cannot_be_counted_out() -> None:
    assert wait_in_queue([], 0, None) is None
    assert wait_in_queue([], 0, 60) is None
    assert wait_in_queue([1.0], -1, 60) is None
    assert wait_in_queue([1.0], MAX_QUEUE + 1, 60) is None


@given(
    remaining=st.lists(st.integers(0, 5_000), min_size=1, max_size=6),
    ahead=st.integers(0, 20),
    stay_s=st.integers(1, 4_000),
)
def test_the_kth_of_all_instants_at_which_a_connector_gets_free(remaining: list[int], ahead: int, stay_s: int) -> None:
    instants = sorted(first + again * stay_s for first in remaining for again in range(ahead + 1))
    assert wait_in_queue(remaining, ahead, stay_s) == instants[ahead]


def by_the_book(arrivals_per_h: float, mean_stay_s: float, connectors: int) -> float:
    offered = arrivals_per_h * mean_stay_s / 3_600
    last = offered**connectors / factorial(connectors) * connectors / (connectors - offered)
    delayed = last / (sum(offered**k / factorial(k) for k in range(connectors)) + last)
    return delayed * mean_stay_s / (connectors - offered)


@given(load=st.floats(0.01, 0.99), stay_s=st.floats(60, 36_000), connectors=st.integers(1, 30))
def test_erlang_c_as_the_textbook_sums_it(load: float, stay_s: float, connectors: int) -> None:
    rate = load * connectors * 3_600 / stay_s
    wait = erlang_c_wait(rate, stay_s, connectors)
    assert wait is not None
    assert isclose(wait, by_the_book(rate, stay_s, connectors), rel_tol=1e-9)


def test_one_connector_half_loaded_waits_one_stay() -> None:
    assert erlang_c_wait(1.0, 1_800, 1) == pytest.approx(1_800)


def test_more_than_can_be_served_has_no_answer() -> None:
    assert erlang_c_wait(2.0, 3_600, 2) is None
    assert erlang_c_wait(1.0, 3_600, 0) is None
    assert erlang_c_wait(0.0, 3_600, 2) == 0


def test_many_connectors_do_not_overflow() -> None:
    wait = erlang_c_wait(4_990.0, 3_600, 5_000)
    assert wait is not None
    assert 0 < wait < 3_600
