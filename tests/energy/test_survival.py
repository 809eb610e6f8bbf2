"""How long somebody stays who has not said it, and what a plan makes of that."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evcharge.energy.model import Node, Plan, Series, Session, Signals
from evcharge.energy.planner import make_plan
from evcharge.energy.survival import PRIOR_SESSIONS, PRIOR_STAY_MS, Survival
from evcharge.energy.tree import Tree
from evcharge.units import MS_PER_HOUR as HOUR

STAYS = st.lists(st.tuples(st.integers(0, 40 * HOUR), st.booleans()), max_size=30)
NOW = 1_763_683_200_000


def shares(survival: Survival, *hours: float) -> list[float]:
    return survival.share(np.array(hours) * HOUR).tolist()


def many(*stays: tuple[float, bool]) -> Survival:
    """So many of each that the typical kind hardly counts."""
    return Survival([(round(hours * HOUR), ended) for hours, ended in stays] * 10_000)


def test_it_is_the_share_that_lasted_longer() -> None:
    survival = many((1, True), (2, True), (2, True), (4, True))
    assert shares(survival, 0, 0.999, 1, 2, 4) == pytest.approx([1, 1, 0.75, 0.25, 0], abs=1e-3)
    assert survival.still(HOUR, np.array([HOUR]))[0] == pytest.approx(1 / 3, abs=1e-3)


def test_who_has_not_left_counts_for_as_long_as_he_stayed() -> None:
    """Kaplan-Meier by hand: 4 at risk, 1 ends; the one of 2 h leaves the risk set unended; of the last 2 one ends."""
    survival = many((1, True), (2, False), (3, True), (4, True))
    assert shares(survival, 0, 1, 2, 3, 4) == pytest.approx([1, 0.75, 0.75, 0.375, 0], abs=1e-3)


def test_without_a_history_as_many_leave_in_each_hour() -> None:
    survival = Survival([])
    half = PRIOR_STAY_MS * np.log(2)
    for age in (0, 3 * HOUR, 100 * HOUR):
        assert survival.still(age, np.array([half]))[0] == pytest.approx(0.5)


def test_a_history_says_more_the_longer_it_is() -> None:
    """All of them stayed 10 hours; what is believed of 9 is between the typical kind and that."""
    after = 9 * HOUR / PRIOR_STAY_MS
    for count in (0, PRIOR_SESSIONS, 100 * PRIOR_SESSIONS):
        weight = count / (count + PRIOR_SESSIONS)
        (share,) = shares(Survival([(10 * HOUR, True)] * count), 9)
        assert share == pytest.approx(weight + (1 - weight) * np.exp(-after))


@given(stays=STAYS, age=st.integers(0, 40 * HOUR), first=st.integers(0, 40 * HOUR), more=st.integers(0, 40 * HOUR))
def test_it_is_a_share_that_never_rises(stays: list[tuple[int, bool]], age: int, first: int, more: int) -> None:
    survival, times = Survival(stays), np.array([0, first, first + more], dtype=np.float64)
    for found in (survival.share(times), survival.still(age, times)):
        assert found[0] == pytest.approx(1)
        assert 1 + 1e-9 >= found[0] >= found[1] >= found[2] >= 0


# --- in a plan ------------------------------------------------------------------------------------


def planned(stays: tuple[tuple[int, bool], ...], *, departs: bool = False) -> Plan:
    """The plan for a vehicle of 6 kWh, with power that costs half as much in two hours."""
    session = Session(
        id="a",
        connector="a",
        node="site",
        need_wh=6_000,
        delivered_wh=0,
        arrival_ms=NOW,
        departure_ms=NOW + 10 * HOUR if departs else None,
        max_w=6_000,
        volts=230,
    )
    price = Series(NOW, 2 * HOUR, (0.30, 0.15))
    tree = Tree([Node(id="site", cap_w=50_000)])
    return make_plan(NOW, [session], tree, Signals(price=price, stays=stays), seconds=30)


def test_who_declares_nothing_is_not_kept_waiting_for_a_price_unless_others_stayed_long() -> None:
    assert planned(()).target_w["site"][0] == 6_000, "nobody knows how long he stays"
    assert planned(((10 * HOUR, True),) * 2_000).target_w["site"][0] == 0, "everybody stayed all day"
    assert planned((), departs=True).target_w["site"][0] == 0, "he said how long"


def test_the_same_stays_give_the_same_plan() -> None:
    one, other = planned(((HOUR, True), (2 * HOUR, False))), planned(((2 * HOUR, False), (HOUR, True)))
    assert msgspec.msgpack.encode(one) == msgspec.msgpack.encode(other)
