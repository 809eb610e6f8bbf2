"""The energy rules over HTTP: their names, and readings that are not known."""

from __future__ import annotations

from typing import Any

import pytest

from protocol import messages as m
from tests.sidecar.gateway.support import FakeLink, Http

FAULT_FREE: dict[str, Any] = {
    "mode": "FAST_CHARGING",
    "power_w": 22_000,
    "rule": "solar_high_battery_high",
    "reason": "60.001 kW of sun and the battery at 70.5 %",
    "solar_w": 60_001,
    "battery_percent": 70.5,
    "grid_percent": 85.0,
    "age_ms": {"solar": 10, "battery": 20, "grid": 30},
}


async def test_all_is_known(link: FakeLink, http: Http) -> None:
    link.say(optimization=m.OptimizationView(**FAULT_FREE))
    for path in ("/optimize-charging", "/orchestrator/1.0.0/optimize-charging"):
        assert await http.get(path, "ev") == {
            "solar_output_kW": 60.001,
            "battery_level_percent": 70.5,
            "grid_load_percent": 85.0,
            "charging_mode": "FAST_CHARGING",
            "charging_power_kW": 22.0,
            "rule": "solar_high_battery_high",
            "reason": "60.001 kW of sun and the battery at 70.5 %",
            "in_force": True,
            "inputs": {
                "solar": {"age_ms": 10, "status": "ok"},
                "battery": {"age_ms": 20, "status": "ok"},
                "grid": {"age_ms": 30, "status": "ok"},
            },
        }
    for path in ("/solar-status", "/solar/1.0.0/solar-status"):
        assert await http.get(path, "ev") == {"solar_output_kW": 60.001, "age_ms": 10, "status": "ok"}
    for path in ("/battery-status", "/battery/1.0.0/battery-status"):
        assert await http.get(path, "ev") == {"battery_level_percent": 70.5, "age_ms": 20, "status": "ok"}
    for path in ("/grid-load", "/grid/1.0.0/grid-load"):
        assert await http.get(path, "ev") == {"grid_load_percent": 85.0, "age_ms": 30, "status": "ok"}
    assert set(map(type, link.asked)) == {m.Query}


async def test_what_is_not_known_is_null_with_its_age_and_its_fault(link: FakeLink, http: Http) -> None:
    link.say(
        optimization=m.OptimizationView(
            mode="PAUSE_CHARGING",
            power_w=0,
            rule="grid_unknown",
            reason="the grid load is not known (stale, 11 s old): charging pauses",
            age_ms={"solar": None, "battery": 5, "grid": 11_000},
            fault={"solar": "missing", "battery": "absurd", "grid": "stale"},
            in_force=False,
        )
    )
    body = await http.get("/optimize-charging")
    assert [body[name] for name in ("solar_output_kW", "battery_level_percent", "grid_load_percent")] == [None] * 3
    assert (body["charging_mode"], body["charging_power_kW"], body["in_force"]) == ("PAUSE_CHARGING", 0.0, False)
    assert await http.get("/solar-status") == {"solar_output_kW": None, "age_ms": None, "status": "missing"}
    assert await http.get("/battery-status") == {"battery_level_percent": None, "age_ms": 5, "status": "absurd"}
    assert await http.get("/grid-load") == {"grid_load_percent": None, "age_ms": 11_000, "status": "stale"}


async def test_what_has_neither_value_nor_fault_is_missing(link: FakeLink, http: Http) -> None:
    link.say(optimization=m.OptimizationView(**(FAULT_FREE | {"grid_percent": None, "age_ms": {}})))
    assert await http.get("/grid-load") == {"grid_load_percent": None, "age_ms": None, "status": "missing"}


async def test_zero_is_a_reading(link: FakeLink, http: Http) -> None:
    link.say(optimization=m.OptimizationView(**(FAULT_FREE | {"solar_w": 0, "grid_percent": 0.0})))
    assert await http.get("/solar-status") == {"solar_output_kW": 0.0, "age_ms": 10, "status": "ok"}
    assert await http.get("/grid-load") == {"grid_load_percent": 0.0, "age_ms": 30, "status": "ok"}


@pytest.mark.parametrize("odd", [{"mode": "TURBO"}, {"fault": {"grid": "of_a_newer_central"}}])
async def test_a_word_that_is_not_declared_is_502(link: FakeLink, http: Http, odd: dict[str, Any]) -> None:
    link.say(optimization=m.OptimizationView(**(FAULT_FREE | odd)))
    assert await http.refusal("GET", "/optimize-charging") == (502, "central_answer")
