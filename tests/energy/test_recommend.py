"""The recommender: figures worked out by hand, and what must hold for any stations and any weights."""

from __future__ import annotations

import math
from itertools import permutations
from statistics import quantiles

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evcharge.energy.recommend import (
    Connector,
    Excluded,
    Figures,
    Occupancy,
    Option,
    Period,
    Recommendation,
    Refusal,
    Station,
    Vehicle,
    Weights,
    recommend,
)

FREE, BUSY, OUT, UNKNOWN = Occupancy.FREE, Occupancy.BUSY, Occupancy.OUT, Occupancy.UNKNOWN


def vehicle(**changes: object) -> Vehicle:
    fields = {"need_wh": 20_000, "range_km": 100.0, "max_w": 50_000, "plugs": frozenset({"ccs", "type2"})}
    return msgspec.convert(fields | changes, Vehicle)


def connector(
    name: str = "1", max_w: int = 10_000, occupancy: Occupancy = FREE, remaining_s: float | None = None, **more: object
) -> Connector:
    fields = {"connector_id": name, "plug": "ccs", "max_w": max_w, "occupancy": occupancy, "remaining_s": remaining_s}
    return msgspec.convert(fields | more, Connector)


def station(name: str = "S", *connectors: Connector, **changes: object) -> Station:
    fields: dict[str, object] = {
        "station_id": name,
        "distance_km": 0.0,
        "drive_s": 0.0,
        "connectors": connectors or (connector(),),
        "periods": (Period(0.30, 0.4, 100_000),),
    }
    return msgspec.convert(fields | changes, Station)


def only(found: Recommendation) -> Option:
    assert [option.station_id for option in found.top] == ["S"]
    return found.top[0]


# --- raw figures ----------------------------------------------------------------------------------


def test_constant_conditions_are_energy_over_power() -> None:
    option = only(recommend(vehicle(), [station(distance_km=10.0, drive_s=600.0, fee=1.0)]))
    assert option.cost == pytest.approx(20 * 0.30 + 1.0 + 10 * 0.05)
    assert option.time_s == pytest.approx(600 + 2 * 3_600)
    assert option.carbon_kg == pytest.approx(8.0)
    assert (option.queue_s, option.power_w, option.connector_id) == (0.0, 10_000, "1")


@pytest.mark.parametrize(
    ("car_w", "connector_w", "forecast_w"),
    [(7_000, 9_000, 9_000), (9_000, 7_000, 9_000), (9_000, 9_000, 7_000)],
)
def test_power_is_the_least_of_three(car_w: int, connector_w: int, forecast_w: int) -> None:
    place = station("S", connector(max_w=connector_w), periods=(Period(0.3, 0.4, forecast_w),))
    assert only(recommend(vehicle(max_w=car_w), [place])).power_w == 7_000


def test_price_carbon_and_power_of_each_period_count_from_when_the_charge_begins() -> None:
    """After half an hour of way half an hour at 10 kW brings 5 of 20 kWh, the second hour 5, the third the rest."""
    periods = (Period(0.10, 0.1, 10_000), Period(0.20, 0.2, 5_000), Period(0.40, 0.4, 20_000, 0.25))
    option = only(
        recommend(
            vehicle(),
            [station("S", connector(max_w=50_000), periods=periods, period_s=3_600.0, drive_s=1_800.0)],
        )
    )
    assert option.cost == pytest.approx(5 * 0.10 + 5 * 0.20 + 10 * 0.40)
    assert option.carbon_kg == pytest.approx(5 * 0.1 + 5 * 0.2 + 10 * 0.4 * 0.75)
    assert option.time_s == pytest.approx(1_800 + 1_800 + 3_600 + 1_800)


def test_a_power_below_the_minimum_is_waited_out() -> None:
    periods = (Period(0.1, 0.1, 3_999), Period(0.2, 0.2, 4_000))
    option = only(recommend(vehicle(), [station("S", connector(min_w=4_000), periods=periods, period_s=3_600.0)]))
    assert option.cost == pytest.approx(4.0)
    assert option.time_s == pytest.approx(3_600 + 5 * 3_600)


def test_the_strongest_free_connector_that_fits() -> None:
    found = recommend(
        vehicle(plugs=frozenset({"ccs"})),
        [station("S", connector("a", 5_000), connector("b", 9_000), connector("c", 20_000, plug="chademo"))],
    )
    assert (only(found).connector_id, only(found).power_w) == ("b", 9_000)


LATER = connector("a", occupancy=BUSY, remaining_s=900)
SOON = connector("b", occupancy=BUSY, remaining_s=300)
SOME_TIME = connector("a", occupancy=BUSY)
PERHAPS = connector("a", occupancy=UNKNOWN)


@pytest.mark.parametrize(
    ("connectors", "changes", "queue_s"),
    [
        ([LATER, connector("b")], {}, 0),
        ([LATER, SOON], {}, 300),
        ([LATER, SOON], {"waiting": 1}, 900),
        ([LATER, connector("b")], {"waiting": 1}, 900),
        ([LATER], {"waiting": 1, "mean_stay_s": 1_800.0}, 2_700),
        ([SOME_TIME], {"mean_stay_s": 1_800.0}, 1_800),
        ([SOME_TIME], {"mean_stay_s": 1_800.0, "arrivals_per_h": 0.01}, 1_800),
        ([PERHAPS], {"mean_stay_s": 1_800.0, "arrivals_per_h": 1.0}, 1_800),
        ([connector("a", occupancy=OUT), SOON], {}, 300),
    ],
)
def test_the_queue(connectors: list[Connector], changes: dict[str, object], queue_s: float) -> None:
    option = only(recommend(vehicle(), [station("S", *connectors, **changes)]))
    assert option.queue_s == pytest.approx(queue_s)


def test_the_connector_that_gets_free_first_is_named() -> None:
    taken = [connector("a", occupancy=BUSY, remaining_s=900), connector("b", 4_000, occupancy=BUSY, remaining_s=300)]
    option = only(recommend(vehicle(), [station("S", *taken)]))
    assert (option.connector_id, option.power_w) == ("b", 4_000)


# --- who is left out ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "why"),
    [
        (station(distance_km=90.1), Refusal.OUT_OF_REACH),
        (station("S", connector(plug="chademo")), Refusal.NO_FITTING_CONNECTOR),
        (station("S", connector(occupancy=OUT), connector("2", plug="chademo")), Refusal.OUT_OF_SERVICE),
        (station("S", connector(occupancy=BUSY)), Refusal.WAIT_UNKNOWN),
        (station("S", connector(occupancy=BUSY, remaining_s=60), waiting=1), Refusal.WAIT_UNKNOWN),
        (station("S", connector(occupancy=UNKNOWN), mean_stay_s=60.0), Refusal.WAIT_UNKNOWN),
        (
            station("S", connector(occupancy=UNKNOWN), mean_stay_s=3_600.0, arrivals_per_h=1.0),
            Refusal.WAIT_UNKNOWN,
        ),
        (station(periods=(Period(0.3, 0.4, 0),)), Refusal.NO_POWER),
        (station(periods=(Period(0.3, 0.4, 833),)), Refusal.NO_POWER),
        (station("S", connector(min_w=4_200), periods=(Period(0.3, 0.4, 4_000),)), Refusal.NO_POWER),
        (station(periods=()), Refusal.BAD_DATA),
        (station(periods=(Period(math.nan, 0.4, 1_000),)), Refusal.BAD_DATA),
        (station(periods=(Period(0.3, -0.4, 1_000),)), Refusal.BAD_DATA),
        (station(periods=(Period(0.3, 0.4, -1),)), Refusal.BAD_DATA),
        (station(periods=(Period(0.3, 0.4, math.inf),)), Refusal.BAD_DATA),
        (station(periods=(Period(0.3, 0.4, 1_000, 1.1),)), Refusal.BAD_DATA),
        (station(distance_km=-1.0), Refusal.BAD_DATA),
        (station(drive_s=math.nan), Refusal.BAD_DATA),
        (station("S", connector(occupancy=BUSY, remaining_s=-1.0)), Refusal.BAD_DATA),
        (station(waiting=-1), Refusal.BAD_DATA),
        (station(period_s=0.0), Refusal.BAD_DATA),
    ],
)
def test_left_out_with_its_reason(place: Station, why: Refusal) -> None:
    found = recommend(vehicle(), [place])
    assert found == Recommendation(top=(), front=(), excluded=(Excluded("S", why),))


def test_the_last_kilometre_and_the_last_watt_that_still_do() -> None:
    assert only(recommend(vehicle(), [station(distance_km=90.0)]))
    assert only(recommend(vehicle(), [station(periods=(Period(0.3, 0.4, 834),))]))


def test_a_negative_price_is_a_price() -> None:
    assert only(recommend(vehicle(), [station(periods=(Period(-0.25, 0.4, 10_000),))])).cost == pytest.approx(-5.0)


def test_no_stations_no_answer() -> None:
    assert recommend(vehicle(), []) == Recommendation(top=(), front=(), excluded=())


@pytest.mark.parametrize("changes", [{"need_wh": 0}, {"max_w": 0}, {"range_km": -1.0}, {"way_cost_per_km": math.inf}])
def test_a_vehicle_that_makes_no_sense_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"vehicle|way_cost"):
        recommend(vehicle(**changes), [station()])


@pytest.mark.parametrize(
    "weights",
    [Weights(cost=-0.1), Weights(time=math.nan), Weights(queue=math.inf), Weights(cost=0, time=0, carbon=0, queue=0)],
)
def test_weights_that_make_no_sense_are_refused(weights: Weights) -> None:
    with pytest.raises(ValueError, match="weights"):
        recommend(vehicle(), [station()], weights)


# --- the choice -----------------------------------------------------------------------------------


def priced(name: str, price: float, co2: float = 0.4, **changes: object) -> Station:
    return station(name, periods=(Period(price, co2, 100_000),), **changes)


def test_the_score_by_hand() -> None:
    """B is 2.00 dearer than A and 4 kg cleaner; with two stations P95 lies at 95 % of the way."""
    found = recommend(vehicle(), [priced("A", 0.30, 0.5), priced("B", 0.40, 0.3)])
    a, b = found.top
    assert (a.station_id, b.station_id) == ("A", "B")
    assert a.contributions == pytest.approx(Figures(0, 0, 0.20 / 0.95, 0))
    assert b.contributions == pytest.approx(Figures(0.35 / 0.95, 0, 0, 0))
    assert a.score == pytest.approx(1.05 * 0.20 / 0.95)
    assert found.front == ("A", "B")


BUSY_FOR_6_S = connector(occupancy=BUSY, remaining_s=6.0)


@pytest.mark.parametrize(
    ("better", "trifle"),
    [
        # A third to half of a floor on one side, a twentieth of another one on the other.
        ({"drive_s": 0.0}, {"drive_s": 90.0, "periods": (Period(0.299, 0.4, 10_000),)}),
        ({}, {"drive_s": 90.0, "periods": (Period(0.300, 0.399, 10_000),)}),
        ({"drive_s": 9.0, "periods": (Period(0.290, 0.4, 10_000),)}, {}),
        ({"connectors": (BUSY_FOR_6_S,), "periods": (Period(0.293, 0.4, 10_000),)}, {}),
    ],
)
def test_trifles_do_not_decide(better: dict[str, object], trifle: dict[str, object]) -> None:
    places = [station("better", **better), station("a trifle", **trifle)]
    assert recommend(vehicle(), places).top[0].station_id == "better"


def test_the_user_decides_what_counts() -> None:
    cheap, clean = priced("cheap", 0.10, 0.5), priced("clean", 0.50, 0.1)
    only_money = Weights(cost=3, time=0, carbon=0, queue=0)
    only_carbon = Weights(cost=0, time=0, carbon=0.1, queue=0)
    assert recommend(vehicle(), [cheap, clean], only_money).top[0].station_id == "cheap"
    assert recommend(vehicle(), [cheap, clean], only_carbon).top[0].station_id == "clean"


def test_a_balanced_station_that_no_weighted_sum_would_choose() -> None:
    """Above the line between the extremes, and yet the least regret."""
    extremes = [priced("A", 0.10, 0.5), priced("Z", 0.50, 0.1)]
    middle = priced("M", 0.31, 0.31)
    even = Weights(cost=1, time=0, carbon=1, queue=0)
    found = recommend(vehicle(), [*extremes, middle], even)
    assert found.top[0].station_id == "M"
    assert sum(found.top[0].contributions) > min(sum(option.contributions) for option in found.top[1:])


def test_ties_are_ordered_by_id_however_the_stations_come() -> None:
    places = [priced(name, 0.3) for name in ("c", "a", "d", "b")]
    for order in permutations(places):
        found = recommend(vehicle(), order)
        assert [option.station_id for option in found.top] == ["a", "b", "c"]
        assert found.front == ("a", "b", "c", "d")


def test_the_rounding_of_sums_is_no_reason_to_wait() -> None:
    """0.1 + 0.2 is a little more than 0.3: that must not send anybody to a place that is taken for a day."""
    money = Weights(cost=1, time=0, carbon=0, queue=0)
    taken = station(
        "a taken one", connector(occupancy=BUSY, remaining_s=70_000.0), periods=(Period(0.3, 0.4, 100_000),)
    )
    free = station("free", periods=(Period(0.1 + 0.2, 0.4, 100_000),))
    assert [one.station_id for one in recommend(vehicle(), [taken, free], money).top] == ["free", "a taken one"]


STATIONS = st.lists(
    st.builds(
        lambda name, price, co2, power, drive, state, left: station(
            name,
            connector(max_w=power, occupancy=state, remaining_s=left),
            periods=(Period(price / 100, co2 / 10, 50_000),),
            distance_km=drive / 2,
            drive_s=drive * 60.0,
        ),
        st.uuids().map(str),
        st.integers(0, 60),
        st.integers(0, 8),
        st.sampled_from([3_700, 11_000, 22_000]),
        st.integers(0, 190),
        st.sampled_from([FREE, FREE, BUSY, OUT]),
        st.sampled_from([None, 0.0, 600.0, 7_200.0]),
    ),
    max_size=12,
)
WEIGHTS = st.builds(Weights, **{name: st.integers(1, 20).map(float) for name in ("cost", "time", "carbon", "queue")})


@given(stations=STATIONS, weights=WEIGHTS)
def test_the_winner_is_never_dominated_and_every_station_is_accounted_for(
    stations: list[Station], weights: Weights
) -> None:
    found = recommend(vehicle(), stations, weights)
    usable = len(stations) - len(found.excluded)
    assert len(found.top) == min(3, usable)
    assert bool(found.front) == bool(usable)
    if found.top:
        assert found.top[0].pareto
        assert found.top[0].station_id in found.front
    for option in found.top:
        assert option.score == pytest.approx(max(option.contributions) + 0.05 * sum(option.contributions))
        assert min(option.contributions) >= 0
    assert list(found.top) == sorted(found.top, key=lambda option: (option.score, option.station_id))


@given(stations=STATIONS, weights=WEIGHTS, scale=st.integers(1, 1_000))
def test_neither_order_nor_scale_of_weights_matters(stations: list[Station], weights: Weights, scale: int) -> None:
    found = recommend(vehicle(), stations, weights)
    scaled = Weights(**{name: getattr(weights, name) * scale for name in weights.__struct_fields__})
    again = recommend(vehicle(), stations[::-1], scaled)
    assert [option.station_id for option in again.top] == [option.station_id for option in found.top]
    assert again.front == found.front
    assert [option.score for option in again.top] == pytest.approx([option.score for option in found.top])


@given(
    figures=st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), unique=True, min_size=2, max_size=12),
)
def test_every_station_of_the_front_wins_with_fitting_weights(figures: list[tuple[int, int]]) -> None:
    """What the Chebyshev norm is for: with w_k = 1 / f_k the corner of the norm is that very station."""
    places = [priced(f"{price}-{co2}", price / 10, co2 / 10) for price, co2 in figures]
    spans = [
        max(quantiles(column, n=20, method="inclusive")[-1] - min(column), 0.2) for column in zip(*figures, strict=True)
    ]
    lowest = [min(column) for column in zip(*figures, strict=True)]
    for name in recommend(vehicle(), places).front:
        f = [(int(raw) - low) / span for raw, low, span in zip(name.split("-"), lowest, spans, strict=True)]
        cost, carbon = (1 / max(one, 1e-6) for one in f)
        weights = Weights(cost=cost, time=0, carbon=carbon, queue=0)
        assert recommend(vehicle(), places, weights).top[0].station_id == name
