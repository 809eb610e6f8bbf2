"""The older recommender: its published vectors, its ties, and stations that cannot be used."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evcharge.energy.legacy import LegacyStation, legacy


def station(name: str = "S1", **figures: float) -> LegacyStation:
    given_figures = {
        "solar_supply_kw": 20.0,
        "grid_supply_kw": 30.0,
        "carbon_intensity": 0.85,
        "price_per_kwh": 0.25,
        "queue_length": 2,
    } | figures
    return LegacyStation(station_id=name, **given_figures)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("battery", "solar", "grid", "carbon", "price", "queue", "energy", "hours", "kg", "score"),
    [
        (50, 20, 30, 0.85, 0.25, 2, 30.0, 0.60, 25.5, 125.50),
        (20, 50, 10, 0.20, 0.18, 0, 48.0, 0.80, 9.6, 164.16),
        (80, 5, 60, 0.85, 0.30, 5, 12.0, 0.18, 10.2, 149.20),
        (35, 30, 30, 0.20, 0.25, 1, 39.0, 0.65, 7.8, 163.15),
    ],
)
def test_vectors(
    battery: float,
    solar: float,
    grid: float,
    carbon: float,
    price: float,
    queue: int,
    energy: float,
    hours: float,
    kg: float,
    score: float,
) -> None:
    one = LegacyStation(
        station_id="S1",
        solar_supply_kw=solar,
        grid_supply_kw=grid,
        carbon_intensity=carbon,
        price_per_kwh=price,
        queue_length=queue,
    )
    row = legacy(battery, [one]).metrics
    assert row is not None
    assert (row.energy_needed_kwh, row.charging_time_hours, row.carbon_emission_kg, row.score) == (
        energy,
        hours,
        kg,
        score,
    )


def test_the_answer_has_the_fields_of_the_older_service() -> None:
    answer = msgspec.to_builtins(legacy(50, [station("S1"), station("S2", queue_length=0)]))
    assert list(answer) == ["recommended_station", "metrics", "all_station_analysis", "system_message"]
    assert answer["recommended_station"] == "S2"
    assert [row["station_id"] for row in answer["all_station_analysis"]] == ["S1", "S2"]
    assert list(answer["metrics"]) == [
        "station_id",
        "score",
        "energy_needed_kwh",
        "charging_time_hours",
        "carbon_emission_kg",
        "explanation",
    ]


def test_the_first_wins_a_tie() -> None:
    assert legacy(50, [station("B"), station("A")]).recommended_station == "B"


def test_a_tie_that_floats_would_break() -> None:
    """0.1 + 0.2 kW and 0.3 kW are the same supply, and 5 more for a car is 5 less elsewhere."""
    one = station("B", solar_supply_kw=0.1, grid_supply_kw=0.2, carbon_intensity=0.0)
    two = station("A", solar_supply_kw=0.3, grid_supply_kw=0.0, carbon_intensity=0.0)
    assert legacy(50, [one, two]).recommended_station == "B"
    assert legacy(50, [two, one]).recommended_station == "A"
    # 159.52 both, which one of them misses by 3e-14.
    dirty = station("D", price_per_kwh=0.11, carbon_intensity=0.3, solar_supply_kw=75, grid_supply_kw=0, queue_length=0)
    slow = station("C", price_per_kwh=0.11, carbon_intensity=0.2, solar_supply_kw=30, grid_supply_kw=0, queue_length=0)
    assert legacy(20, [dirty, slow]).recommended_station == "D"
    assert legacy(20, [slow, dirty]).recommended_station == "C"


def test_a_difference_below_a_cent_is_no_tie() -> None:
    assert legacy(50, [station("B", price_per_kwh=0.2501), station("A")]).recommended_station == "A"


@pytest.mark.parametrize(
    "figures",
    [
        {"solar_supply_kw": 0.0, "grid_supply_kw": 0.0},
        {"solar_supply_kw": -5.0},
        {"grid_supply_kw": math.nan},
        {"price_per_kwh": math.inf},
        {"queue_length": -1},
        {"carbon_intensity": -0.1},
    ],
)
def test_a_station_that_cannot_be_used_is_listed_but_never_wins(figures: dict[str, float]) -> None:
    bad = station("BAD", **figures)
    both = legacy(50, [bad, station("GOOD", price_per_kwh=100.0)])
    assert both.recommended_station == "GOOD"
    assert both.all_station_analysis[0].score is None
    alone = legacy(50, [bad])
    assert (alone.recommended_station, alone.metrics) == (None, None)
    assert legacy(50, []).recommended_station is None


@pytest.mark.parametrize("battery", [-0.1, 100.1, math.nan])
def test_a_battery_outside_its_range_is_refused(battery: float) -> None:
    with pytest.raises(ValueError, match="0 to 100"):
        legacy(battery, [station()])


def test_a_full_battery_needs_nothing() -> None:
    row = legacy(100, [station()]).metrics
    assert row is not None
    assert (row.energy_needed_kwh, row.charging_time_hours, row.score) == (0.0, 0.0, 190.0)


FIGURES = st.builds(
    LegacyStation,
    station_id=st.sampled_from("ABCDEF"),
    solar_supply_kw=st.integers(0, 3).map(float),
    grid_supply_kw=st.integers(0, 3).map(float),
    carbon_intensity=st.sampled_from([0.0, 0.2]),
    price_per_kwh=st.sampled_from([0.1, 0.3]),
    queue_length=st.integers(0, 2),
)


@given(battery=st.integers(0, 100), stations=st.lists(FIGURES, max_size=6))
def test_the_winner_is_the_first_with_the_highest_score(battery: int, stations: list[LegacyStation]) -> None:
    decision = legacy(battery, stations)
    scores = [row.score for row in decision.all_station_analysis]
    known = [score for score in scores if score is not None]
    assert len(scores) == len(stations)
    if known:
        first = scores.index(max(known))
        assert decision.metrics == decision.all_station_analysis[first]
    else:
        assert decision.recommended_station is None
