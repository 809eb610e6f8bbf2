"""What decisions stand on: typed, true, and told in a sentence."""

from __future__ import annotations

import pytest

from evcharge.domain import events as e
from evcharge.domain.reasons import Basis, Bound, Constraint, Rejected, age_text, kw, sentence
from evcharge.energy.model import Input
from tests.support.one_session import sample, supplying
from tests.support.scenario import (
    BEN,
    CP,
    OTHER,
    Scenario,
    charging,
    connected,
    plug,
    reallocate,
    request,
    site,
)


def basis_of(scenario: Scenario, session_id: str = "s-1") -> Basis:
    (event,) = [it for it in scenario.events if isinstance(it, e.SetPointIssued) and it.session_id == session_id]
    assert event.basis is not None
    return event.basis


def test_a_connector_that_takes_no_more() -> None:
    scenario = Scenario().given(site(), *connected(), request(), plug()).when(reallocate())
    assert basis_of(scenario) == Basis(Bound(Constraint.RATING, "cp-1/1", 11_040))


def test_a_capacity_that_is_shared_and_what_was_not_given() -> None:
    scenario = Scenario().given(site(9_000), *connected(), request(), plug()).when(reallocate())
    assert basis_of(scenario) == Basis(
        Bound(Constraint.CAPACITY, "main", 9_000, 0, 1), (), (Rejected(11_040, Constraint.CAPACITY),)
    )


def test_the_age_of_the_meter_goes_in() -> None:
    scenario = supplying().given(sample(2_000))
    scenario.pass_time(16_000)
    assert basis_of(scenario.when(reallocate())).inputs == (Input("meter", 16_000),)


def test_power_that_others_have_not_given_back_yet() -> None:
    scenario = Scenario().given(site(12_000), *connected(), *charging(), *connected(OTHER))
    scenario.given(request("s-2", OTHER, BEN), plug(OTHER)).when(reallocate())
    for event in scenario.events:
        if isinstance(event, e.SetPointIssued) and event.session_id == "s-2":
            assert event.basis is not None
            assert event.basis.bound == Bound(Constraint.WORST_CASE, "main", 12_000, 11_040)
            assert event.basis.rejected[0] == Rejected(6_000, Constraint.WORST_CASE)


def test_a_capacity_that_was_cut_below_the_smallest_current() -> None:
    scenario = Scenario().given(site(12_000), *connected(), *charging())
    scenario.given(e.CapacityChanged(substation_id="main", capacity_w=1_000)).when(reallocate())  # type: ignore[arg-type]
    found = basis_of(scenario)
    assert found.bound == Bound(Constraint.MINIMA, "main", 1_000, 0, 1)
    assert found.rejected == (Rejected(11_040, Constraint.MINIMA),)


def test_a_refusal_for_want_of_power_has_its_figures() -> None:
    scenario = Scenario().given(site(2_000), *connected(), *connected(OTHER), request())
    scenario.when(request("s-2", OTHER, BEN))
    (refused,) = scenario.events
    assert isinstance(refused, e.ChargeRefused)
    assert refused.basis == Basis(Bound(Constraint.MINIMA, "main", 2_000, 1_380))
    scenario.when(request("s-3", CP))
    (refused,) = scenario.events
    assert isinstance(refused, e.ChargeRefused) and refused.basis is None, "it is busy: that has no figures"


@pytest.mark.parametrize(
    ("basis", "said"),
    [
        (
            Basis(Bound(Constraint.RATING, "cp-1/1", 11_040)),
            "connector cp-1/1 takes 11.04 kW at most, and there is that much",
        ),
        (
            Basis(
                Bound(Constraint.CAPACITY, "main", 22_000, 4_000, 3),
                (Input("meter", 1_200),),
                (Rejected(11_040, Constraint.CAPACITY),),
            ),
            "main has 22 kW, 18 kW of it shared by 3; meter 1 s old; not 11.04 kW, because of the capacity",
        ),
        (
            Basis(Bound(Constraint.CAPACITY, "main", 6_250, 0, 1), (Input("meter", 20),)),
            "main has 6.25 kW, 6.25 kW of it for this session; meter 20 ms old",
        ),
        (
            Basis(Bound(Constraint.WORST_CASE, "main", 12_000, 11_040)),
            "main has 12 kW, and others may still draw 11.04 kW of it until they confirm less",
        ),
        (
            Basis(Bound(Constraint.MINIMA, "main", 2_000, 1_380)),
            "main has 2 kW, 1.38 kW of it taken; what is left is kept for others who come first, or is too little to "
            "charge with",
        ),
        (
            Basis(Bound(Constraint.CAPACITY, "north", 12_000, 700, 3, base_w=9_000)),
            "north has 12 kW and a base load of 9 kW, 2.3 kW of it shared by 3",
        ),
        (
            Basis(Bound(Constraint.WORST_CASE, "north", 12_000, 2_300, base_w=9_000)),
            "north has 12 kW and a base load of 9 kW, and others may still draw 2.3 kW of it until they confirm less",
        ),
        (
            Basis(Bound(Constraint.MINIMA, "north", 12_000, 1_380, base_w=10_000)),
            "north has 12 kW and a base load of 10 kW, 1.38 kW of it taken by others; what is left is kept for others "
            "who come first, or is too little to charge with",
        ),
        (
            Basis(Bound(Constraint.MINIMA, "site", 5_000, 0, 1, base_w=10_000)),
            "site has 5 kW and a base load of 10 kW, which takes all of it: nothing is left to charge with",
        ),
        (Basis(Bound(Constraint.MINIMA, "site", 0, 0, 1)), "site has 0 kW: nothing to charge with"),
        (Basis(Bound(Constraint.MINIMA, "site", 1_000, 0, 1)), "site has 1 kW: too little to charge with"),
        (
            Basis(Bound(Constraint.MINIMA, "site", 5_000, 0, 1, 10_000), (), (Rejected(7_360, Constraint.MINIMA),)),
            "site has 5 kW and a base load of 10 kW, which takes all of it: nothing is left to charge with",
        ),
    ],
)
def test_sentences(basis: Basis, said: str) -> None:
    assert sentence(basis) == said


def test_what_is_left_is_set_against_the_smallest_current() -> None:
    """Nobody else is there, so nothing is kept for anybody and nobody has a turn."""
    rejected = (Rejected(7_360, Constraint.MINIMA),)
    alone = Basis(Bound(Constraint.MINIMA, "site", 1_000, 0, 1), (), rejected)
    assert sentence(alone, 1_380) == "site has 1 kW, and the smallest current is 1.38 kW"
    # What others had is on its way back: it would not help.
    cut = Basis(Bound(Constraint.MINIMA, "site", 11_000, 11_040, 2, base_w=10_000), (), rejected)
    assert sentence(cut, 1_380) == (
        "site has 11 kW and a base load of 10 kW; 1 kW is left, and the smallest current is 1.38 kW"
    )
    beside = Basis(Bound(Constraint.MINIMA, "site", 12_000, 1_380, 2, base_w=10_000), (), rejected)
    assert sentence(beside, 1_380) == (
        "site has 12 kW and a base load of 10 kW, 1.38 kW of it taken by others; 0.62 kW is left, and the smallest "
        "current is 1.38 kW; not 7.36 kW, because of the turn of others"
    )


def test_kilowatts() -> None:
    assert [kw(watts) for watts in (0, 10, 1_000, 11_040, 150_000)] == ["0 kW", "0.01 kW", "1 kW", "11.04 kW", "150 kW"]


def test_ages_are_as_coarse_as_they_matter() -> None:
    ages = [0, 999, 1_200, 119_000, 120_000, 447_000, 7_199_000, 7_200_000, 17_386_000]
    assert [age_text(age_ms) for age_ms in ages] == [
        *("0 ms", "999 ms", "1 s", "119 s", "2 min", "7 min", "119 min", "2 h 0 min", "4 h 49 min")
    ]
