"""What the heat leaves of a limit."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evcharge.energy.derating import STEP, WHOLE, Derating, derated_w, settled, share_of

DEGREES = st.integers(-60_000, 100_000)
# What cables with PVC may carry of what they may at 40 °C (IEC 60364-5-52, table B.52.14), thousandths.
PVC = {40_000: 1_000, 45_000: 908, 50_000: 816, 55_000: 701, 60_000: 574}


@st.composite
def lines(draw: st.DrawFn) -> Derating:
    """Any line that a site file may have."""
    from_milli = draw(st.integers(-60_000, 99_999))
    to_milli = draw(st.integers(from_milli + 1, 100_000))
    return Derating(from_milli, to_milli, draw(st.integers(0, WHOLE)), draw(DEGREES))


@given(line=lines(), cool=DEGREES, warmer=st.integers(0, 160_000))
def test_more_heat_leaves_no_more(line: Derating, cool: int, warmer: int) -> None:
    assert share_of(cool + warmer, line) <= share_of(cool, line)


@given(line=lines(), at=DEGREES, limit_w=st.integers(0, 10**9))
def test_never_above_the_limit_nor_below_the_least_of_it(line: Derating, at: int, limit_w: int) -> None:
    share = share_of(at, line)
    assert line.least <= share <= WHOLE
    assert limit_w * line.least // WHOLE <= derated_w(limit_w, share) <= limit_w
    assert derated_w(limit_w, share) * WHOLE <= limit_w * share, "rounded down"


@given(line=lines(), at=DEGREES)
def test_on_the_line_or_less_than_a_thousandth_below_it(line: Derating, at: int) -> None:
    part = min(1.0, max(0.0, (at - line.from_milli) / (line.to_milli - line.from_milli)))
    exact = WHOLE - (WHOLE - line.least) * part
    assert exact - 1 - 1e-6 < share_of(at, line) <= exact + 1e-6


@given(line=lines())
def test_who_knows_nothing_takes_what_is_assumed(line: Derating) -> None:
    assert share_of(None, line) == share_of(line.assumed_milli, line)


def test_the_ends_of_the_line() -> None:
    line = Derating(40_000, 60_000, 500, 60_000)
    told = {at: share_of(at, line) for at in (39_999, 40_000, 40_001, 50_000, 59_999, 60_000, 70_000)}
    assert told == {39_999: 1_000, 40_000: 1_000, 40_001: 999, 50_000: 750, 59_999: 500, 60_000: 500, 70_000: 500}


def test_nothing_is_known_on_the_usual_line() -> None:
    assert share_of(None, Derating()) == Derating().least < WHOLE


@pytest.mark.parametrize(("at", "carried"), PVC.items())
def test_the_usual_line_is_below_what_cables_carry(at: int, carried: int) -> None:
    assert share_of(at, Derating()) <= carried


@given(line=lines(), degrees=st.lists(DEGREES, min_size=1))
def test_a_small_step_changes_nothing_and_none_adds_up(line: Derating, degrees: list[int]) -> None:
    told: int | None = None
    for at in degrees:
        share, before = share_of(at, line), told
        told = settled(told, share, line.least)
        assert abs(told - share) < STEP
        if before is not None and abs(share - before) < STEP and share not in (WHOLE, line.least):
            assert told == before


@given(base=DEGREES, noise=st.lists(st.integers(-100, 100), min_size=2, max_size=30))
def test_a_thermometer_that_trembles_moves_it_once_at_most(base: int, noise: list[int]) -> None:
    """A tenth of a degree up and down is a quarter of a step on the usual line."""
    line = Derating()
    told = settled(None, share_of(base, line), line.least)
    seen = [told]
    for each in noise:
        told = settled(told, share_of(base + each, line), line.least)
        seen.append(told)
    assert sum(one != other for one, other in pairwise(seen)) <= 1


def test_the_way_back_to_the_whole_limit_is_gone_to_the_end() -> None:
    assert settled(995, WHOLE, 500) == WHOLE
    assert settled(WHOLE, 995, 500) == WHOLE
    assert settled(505, 500, 500) == 500
    assert settled(995, 996, 500) == 995
    assert settled(None, 996, 500) == 996
