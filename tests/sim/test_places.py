"""Lists of real stations: what is taken, what is left out and why."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evcharge.sim.places import FAR_KM, Sites, open_charge_map, shenzhen
from evcharge.sim.replay import ReplayError
from evcharge.sim.vehicle import Place, distance_km
from tests.support.shared import real

POINT: dict[str, Any] = {
    "ID": 7,
    "StatusTypeID": 50,
    "AddressInfo": {"Title": "Town hall", "Latitude": 34.05, "Longitude": -118.24},
    "Connections": [
        {"PowerKW": 7.4, "Quantity": 3},
        {"PowerKW": 50, "Quantity": 2},
        {"PowerKW": 50.0, "Quantity": 1},
        {"PowerKW": None, "Quantity": 9},
    ],
}


def found(tmp_path: Path, *changes: dict[str, Any]) -> Sites:
    path = tmp_path / "points.json"
    path.write_text(json.dumps([POINT, *({**POINT, "ID": 100 + at, **one} for at, one in enumerate(changes))]))
    return open_charge_map(path)


def test_the_strongest_kind_of_a_station_is_what_it_has(tmp_path: Path) -> None:
    (site,) = found(tmp_path).sites
    assert site == ("7", "Town hall", Place(34.05, -118.24), 3, 50_000)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"StatusTypeID": 30}, "not in service"),
        ({"AddressInfo": {"Title": "x"}}, "it says no 'Latitude'"),
        ({"AddressInfo": {"Latitude": 34.0, "Longitude": None}}, "it says no"),
        ({"AddressInfo": {"Latitude": 0, "Longitude": 0}}, "nowhere on land"),
        ({"AddressInfo": {"Latitude": 118.24, "Longitude": 34.0}}, "nowhere on land"),
        ({"AddressInfo": {"Latitude": 34.05, "Longitude": 118.24}}, "km away from the others"),
        ({"Connections": None}, "does not say how many connectors"),
        ({"Connections": [{"PowerKW": None, "Quantity": 2}]}, "does not say how many connectors"),
        ({"Connections": [{"PowerKW": 7.4, "Quantity": None}]}, "does not say how many connectors"),
        ({"Connections": [{"PowerKW": 7400, "Quantity": 1}]}, "cannot be"),
        ({"Connections": [{"PowerKW": 7.4, "Quantity": 0}]}, "cannot be"),
        ({"ID": 7}, "another one with this id"),
    ],
)
def test_what_cannot_be_true_is_left_out_with_the_reason(tmp_path: Path, change: dict[str, Any], why: str) -> None:
    sites = found(tmp_path, {}, change)
    # Its equals stay.
    assert [site.station_id for site in sites.sites] == ["7", "100"]
    (said,) = sites.left_out.values()
    assert why in said


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "ID": st.integers(0, 5),
                "AddressInfo": st.none()
                | st.fixed_dictionaries(
                    {"Latitude": st.none() | st.floats(-100, 100), "Longitude": st.none() | st.floats(-200, 200)}
                ),
                "Connections": st.none()
                | st.lists(
                    st.fixed_dictionaries(
                        {"PowerKW": st.none() | st.floats(-1, 9_000), "Quantity": st.none() | st.integers(-1, 2_000)}
                    ),
                    max_size=3,
                ),
            }
        ),
        max_size=8,
    )
)
def test_of_any_list_what_is_taken_can_be_true(rows: list[dict[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "points.json"
        path.write_text(json.dumps(rows))
        sites = open_charge_map(path)
    assert {str(row["ID"]) for row in rows} == {site.station_id for site in sites.sites} | {
        name.removesuffix(" again") for name in sites.left_out
    }
    for site in sites.sites:
        assert 1 <= site.connectors <= 3_000
        assert 1_000 <= site.connector_w <= 4_000_000
        assert all(distance_km(site.place, other.place) <= 2 * FAR_KM for other in sites.sites)


@pytest.mark.parametrize("text", ["{", "{}", "[1]", '[{"AddressInfo": {}}]'])
def test_what_is_no_list_of_stations_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "points.json"
    path.write_text(text)
    with pytest.raises(ReplayError, match=r"points\.json"):
        open_charge_map(path)
    with pytest.raises(ReplayError, match="cannot read"):
        open_charge_map(tmp_path / "absent.json")


def test_shenzhen_has_fast_and_slow_ones(tmp_path: Path) -> None:
    path = tmp_path / "stations.csv"
    path.write_text("station_id,latitude,longitude,fast,slow\n1,22.7,113.8,5,5\n2,22.6,114.0,0,4\n3,22.6,114.0,0,0\n")
    sites = shenzhen(path)
    assert [(site.connectors, site.connector_w) for site in sites.sites] == [(5, 60_000), (4, 7_000)]
    assert list(sites.left_out) == ["3"]
    path.write_text("station_id,latitude\n1,22.7\n")
    with pytest.raises(ReplayError, match=":1: the column fast is missing"):
        shenzhen(path)


def test_real_stations() -> None:
    angeles = open_charge_map(real("stations/ocm_los_angeles.json"))
    assert len(angeles.sites) + len(angeles.left_out) == 100
    assert len(angeles.sites) > 80
    assert sum("not in service" in why for why in angeles.left_out.values()) == 4
    assert len(shenzhen(real("stations/shenzhen_stations.csv")).sites) > 1_600
