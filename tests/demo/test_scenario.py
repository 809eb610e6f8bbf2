"""A day becomes scripts and requests that the other programs can read."""

from __future__ import annotations

import re

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from evcharge.demo.scenario import LEAD_MS, charge_point_ids, deal, json_lines, make_scenario
from evcharge.demo.sessions import Day, Stay, synthetic_day


def day_of(*stays: Stay) -> Day:
    return Day(date="2026-01-01", utc_offset_s=0, source="test", stays=stays)


def test_each_stay_is_one_car_one_driver_and_one_request() -> None:
    scenario = make_scenario(
        day_of(Stay(station_id="A 1", arrival_ms=10_000_000, departure_ms=20_000_000, energy_wh=5))
    )
    assert scenario.charge_points == ("A-1",)
    assert scenario.start_ms == 10_000_000 - LEAD_MS
    assert scenario.end_ms == 20_000_000
    script = [msgspec.json.decode(line) for line in json_lines(scenario.script).splitlines()]
    assert script == [
        {"at_ms": 10_000_000, "cp_id": "A-1", "connector": 1, "do": "plug", "vehicle": {"need_wh": 5}},
        {"at_ms": 20_000_000, "cp_id": "A-1", "connector": 1, "do": "unplug"},
    ]
    requests = [msgspec.json.decode(line) for line in json_lines(scenario.sessions).splitlines()]
    assert requests == [
        {
            "session": "driver-001",
            "cp_id": "A-1",
            "connector": 1,
            "arrive_ms": 10_000_000,
            "depart_ms": 20_000_000,
            "energy_wh": 5,
        }
    ]


def test_a_car_leaves_before_the_next_one_comes_at_the_same_instant() -> None:
    stays = (
        Stay(station_id="A", arrival_ms=10**7, departure_ms=2 * 10**7, energy_wh=5),
        Stay(station_id="A", arrival_ms=2 * 10**7, departure_ms=3 * 10**7, energy_wh=6),
    )
    assert [line.do for line in make_scenario(day_of(*stays)).script] == ["plug", "unplug", "plug", "unplug"]


def test_every_plug_has_its_unplug_and_a_bay_holds_one_car() -> None:
    scenario = make_scenario(synthetic_day(seed=3))
    inside: set[str] = set()
    for line in scenario.script:
        if line.do == "plug":
            assert line.cp_id not in inside
            inside.add(line.cp_id)
        else:
            inside.remove(line.cp_id)
    assert not inside
    assert len(set(scenario.drivers)) == len(scenario.sessions) == 60


def test_stations_keep_their_names_where_they_can() -> None:
    assert charge_point_ids(["AG-1F08", "b_2.c"]) == {"AG-1F08": "AG-1F08", "b_2.c": "b_2.c"}


@given(st.lists(st.text(min_size=1, max_size=64), max_size=20))
def test_any_station_names_become_distinct_ids_that_a_registry_takes(stations: list[str]) -> None:
    ids = charge_point_ids([*stations, "a b", "a/b", "A b", "SPARE-CP", "-"])
    assert len({value.lower() for value in ids.values()}) == len(ids)
    assert "spare-cp" not in {value.lower() for value in ids.values()}
    for value in ids.values():
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", value)


@given(st.lists(st.integers()), st.integers(1, 5))
def test_dealing_loses_nothing_and_leaves_nobody_idle(items: list[int], hands: int) -> None:
    dealt = deal(items, hands)
    assert sorted(item for hand in dealt for item in hand) == sorted(items)
    assert all(dealt) and len(dealt) == min(hands, len(items))


def test_in_a_queue_three_of_four_wait_from_when_they_come() -> None:
    stays = tuple(
        Stay(station_id=f"A{number}", arrival_ms=10**7, departure_ms=2 * 10**7, energy_wh=5, waited_ms=60_000)
        for number in range(1, 9)
    )
    scenario = make_scenario(day_of(*stays), queue=True)
    assert [session.wait for session in scenario.sessions] == [True, True, True, False] * 2
    # The car itself is plugged in when its bay is free, in the line or not.
    assert {line.at_ms for line in scenario.script if line.do == "plug"} == {10**7}
    asks = {session.wait: session.arrive_ms for session in scenario.sessions}
    assert asks == {True: 10**7 - 60_000, False: 10**7}
    assert scenario.start_ms == 10**7 - 60_000 - LEAD_MS
    assert not any(session.wait for session in make_scenario(day_of(*stays)).sessions)
    assert b'"wait"' not in json_lines(make_scenario(day_of(*stays)).sessions)
