"""GET /orchestrator/recommend: what is asked of Central, and its advice in the shape that clients know."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from protocol import messages as m
from tests.sidecar.gateway.support import FakeLink, Http

# Battery, station, E, t, CO2, score: the vectors of the older recommender, as Central answers them.
VECTORS = [
    (50, 30.0, 0.60, 25.5, 125.50),
    (20, 48.0, 0.80, 9.6, 164.16),
    (80, 12.0, 0.18, 10.2, 149.20),
    (35, 39.0, 0.65, 7.8, 163.15),
]
VEHICLE = m.VehicleView(
    battery_percent=35.0, capacity_wh=60_000, target_percent=80.0, need_wh=27_000, max_w=11_000, range_m=116_666
)
BEST = m.StationView(
    cp_id="CP-1",
    rank=1,
    connector=2,
    score=0.125,
    front=True,
    parts=m.Weights(cost=0.1, time=0.025),
    cost_minor=810,
    time_s=8_836,
    carbon_g=8_100,
    queue_s=61,
    power_w=11_000,
    distance_m=3_210,
)
LEFT = m.StationView(cp_id="CP-2", excluded="out_of_reach", distance_m=99_000)


def advice(**more: Any) -> m.RecommendationView:
    fields = {"mode": "pareto", "vehicle": VEHICLE, "sentence": "CP-1 suits best.", "cp_id": "CP-1", "currency": "EUR"}
    return m.RecommendationView(**(fields | {"stations": [BEST, LEFT], "left_out": 4, "located": True} | more))


@pytest.mark.parametrize(("battery", "energy", "hours", "kg", "score"), VECTORS)
async def test_the_older_formula_to_the_digit(
    link: FakeLink, http: Http, battery: int, energy: float, hours: float, kg: float, score: float
) -> None:
    row = m.LegacyView(
        station_id="CP-1",
        energy_needed_kwh=energy,
        carbon_emission_kg=kg,
        explanation="why",
        score=score,
        charging_time_hours=hours,
    )
    link.say(recommendation=advice(mode="legacy", stations=[], legacy=[row]))
    body = await http.get(f"/orchestrator/recommend?battery_percent={battery}&mode=legacy", "ev")
    assert set(body) == {"vehicle", "decision"}
    decision = body["decision"]
    shown = {
        "station_id": "CP-1",
        "score": score,
        "energy_needed_kwh": energy,
        "charging_time_hours": hours,
        "carbon_emission_kg": kg,
        "explanation": "why",
    }
    assert decision["all_station_analysis"] == [shown]
    assert decision["metrics"] == shown
    assert (decision["recommended_station"], decision["system_message"]) == ("CP-1", "CP-1 suits best.")
    assert link.asked == [m.Recommend(id=0, battery_percent=battery, mode="legacy")]


async def test_a_station_with_its_figures_and_one_with_its_reason(link: FakeLink, http: Http) -> None:
    link.say(recommendation=advice(weights=m.Weights(cost=0.35, time=0.3, carbon=0.2, queue=0.15)))
    body = await http.get("/orchestrator/recommend?battery_percent=35")
    assert body["vehicle"] == {
        "battery_percent": 35.0,
        "capacity_kwh": 60.0,
        "target_percent": 80.0,
        "energy_needed_kwh": 27.0,
        "max_kw": 11.0,
        "range_km": 116.666,
        "plug": None,
    }
    best, left = body["decision"]["all_station_analysis"]
    assert body["decision"]["metrics"] == best
    assert best == {
        "station_id": "CP-1",
        "score": 0.125,
        "energy_needed_kwh": 27.0,
        "charging_time_hours": 2.45,
        "carbon_emission_kg": 8.1,
        "explanation": "27.00 kWh at 11 kW in 2.45 h, 8.10 kg CO2, 8.10 EUR to pay, free in about 2 min, 3.2 km away.",
        "rank": 1,
        "connector": 2,
        "pareto_front": True,
        "contributions": {"cost": 0.1, "time": 0.025, "carbon": 0.0, "queue": 0.0},
        "cost_minor": 810,
        "drive_and_charge_s": 8_836,
        "wait_s": 61,
        "power_w": 11_000,
        "distance_m": 3_210,
    }
    assert left == {
        "station_id": "CP-2",
        "score": None,
        "energy_needed_kwh": 27.0,
        "charging_time_hours": None,
        "carbon_emission_kg": None,
        "explanation": "The vehicle does not get there with a reserve.",
        "distance_m": 99_000,
        "excluded": "out_of_reach",
    }
    assert body["decision"]["weights"] == {"cost": 0.35, "time": 0.3, "carbon": 0.2, "queue": 0.15}
    assert (body["decision"]["located"], body["decision"]["left_out"]) == (True, 4)


async def test_a_reason_of_a_newer_central_and_a_row_that_was_cut(link: FakeLink, http: Http) -> None:
    odd = msgspec.structs.replace(LEFT, excluded="of_a_newer_central")
    link.say(
        recommendation=advice(stations=[odd, msgspec.structs.replace(BEST, cp_id="CP-3", queue_s=0)], located=False)
    )
    decision = (await http.get("/orchestrator/recommend?battery_percent=35"))["decision"]
    assert decision["metrics"] is None
    odd_row, free_row = decision["all_station_analysis"]
    assert odd_row["explanation"] == "It is left out: of_a_newer_central."
    assert free_row["explanation"].endswith("to pay, free now.") and "distance_m" not in free_row


async def test_every_parameter_reaches_central(link: FakeLink, http: Http) -> None:
    link.say(recommendation=advice())
    await http.get(
        "/orchestrator/recommend?battery_percent=12.5&mode=pareto&capacity_kwh=77.4&target_percent=90&max_kw=22"
        "&plug=type2&consumption_wh_per_km=150&position=-33.5,18.25&w_cost=0.2&w_carbon=0.2&max_results=1"
    )
    assert link.asked == [
        m.Recommend(
            id=0,
            battery_percent=12.5,
            capacity_wh=77_400,
            target_percent=90.0,
            max_w=22_000,
            plug="type2",
            consumption_wh_per_km=150,
            latitude=-33.5,
            longitude=18.25,
            weights=m.Weights(cost=0.5, carbon=0.5),
            max_results=1,
        )
    ]


async def test_no_station_is_409_with_centrals_sentence(link: FakeLink, http: Http) -> None:
    link.say(recommendation=advice(cp_id=None, sentence="No charge point can serve this vehicle now (there is none)."))
    status, body, _ = await http.ask("GET", "/orchestrator/recommend?battery_percent=35")
    assert (status, body["code"]) == (409, "no_feasible_station")
    assert body["detail"] == "No charge point can serve this vehicle now (there is none)."


async def test_a_vehicle_that_has_enough_is_409(link: FakeLink, http: Http) -> None:
    for query in ("battery_percent=80", "battery_percent=50&target_percent=50"):
        assert await http.refusal("GET", f"/orchestrator/recommend?{query}") == (409, "charged_enough")
    assert not link.asked
    link.say(recommendation=advice())
    await http.get("/orchestrator/recommend?battery_percent=80&mode=legacy")


async def test_weights_that_are_all_nothing_are_the_sites_own(link: FakeLink, http: Http) -> None:
    link.say(recommendation=advice())
    await http.get("/orchestrator/recommend?battery_percent=10&w_cost=0&w_time=0")
    (asked,) = link.asked
    assert isinstance(asked, m.Recommend) and asked.weights is None


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("", "battery_percent"),
        ("battery_percent=101", "battery_percent"),
        ("battery_percent=nan", "battery_percent"),
        ("battery_percent=", "battery_percent"),
        ("battery_percent=50&mode=best", "mode"),
        ("battery_percent=50&capacity_kwh=0", "capacity_kwh"),
        ("battery_percent=50&capacity_kwh=1001", "capacity_kwh"),
        ("battery_percent=50&position=1", "position"),
        ("battery_percent=50&position=90.5,1", "position"),
        ("battery_percent=50&position=1,180.1", "position"),
        ("battery_percent=50&position=1,2%0A", "position"),
        ("battery_percent=50&w_cost=1.5", "w_cost"),
        ("battery_percent=50&max_results=4", "max_results"),
        ("battery_percent=50&plug=" + "x" * 65, "plug"),
        ("battery_percent=50&vehicle=x", "vehicle"),
    ],
)
async def test_a_bad_parameter_is_named_and_central_is_not_asked(
    link: FakeLink, http: Http, query: str, field: str
) -> None:
    status, body, _ = await http.ask("GET", f"/orchestrator/recommend?{query}")
    assert (status, list(body["fields"])) == (422, [field])
    assert not link.asked


async def test_the_older_formula_needs_no_target(link: FakeLink, http: Http) -> None:
    link.say(recommendation=advice(mode="legacy", stations=[], legacy=[]))
    assert (await http.ask("GET", "/orchestrator/recommend?battery_percent=95&mode=legacy"))[0] == 200


async def test_only_who_may(http: Http) -> None:
    assert (await http.ask("GET", "/orchestrator/recommend?battery_percent=1", None))[0] == 401
