"""The gateway before a real Central: the recommender's vectors, the rules' boundaries, a charge from end to end."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from evcharge.net.client import Client
from evcharge.net.link import CentralLink
from evcharge.sidecar.gateway.channels import DriverChannels
from evcharge.sidecar.gateway.settings import GatewaySettings
from protocol import messages as m
from protocol.credentials import Credential, Role
from tests.central.conftest import quick  # noqa: F401  # a Central that does not wait
from tests.sidecar.gateway.support import Http, served
from tests.support.central import Site, until

SITE = """
[substations.north]
capacity_kw = 22
charge_points = ["CP-1"]
[substations.south]
capacity_kw = 11
charge_points = ["CP-2"]
"""
WISH = {"vehicle_id": "CAR-1", "requested_kw": 7, "duration_s": 1_800}


class Gate:
    """A Central, the sidecar's link to it and the gateway over HTTP."""

    def __init__(self, site: Site, link: CentralLink, http: Http, channels: DriverChannels) -> None:
        self.site, self.link, self.http, self.channels = site, link, http, channels

    async def read(self, **readings: float) -> None:
        """What sensors say; the grid's comes last, because the rules follow from then on."""
        for name in ("solar_w", "battery_percent", "grid_percent"):
            if name in readings:
                await self.link.ask(m.SensorReading(id=0, name=name, value=readings[name]))  # type: ignore[arg-type]


@asynccontextmanager
async def gate(directory: Path, **settings: Any) -> AsyncIterator[Gate]:
    async with Site(directory, **settings) as site:
        make_client = partial(Client, timers=site.timers, rng=lambda: 0.0)
        known: dict[str, Credential] = {}

        async def credential_of(driver_id: str) -> Credential | None:
            if driver_id not in known:
                known[driver_id] = site.credential(Role.DRIVER, driver_id)
            return known[driver_id]

        address = ("127.0.0.1", site.central.port)
        link = CentralLink(
            site.credential(Role.GATEWAY, "gateway"),
            *address,
            clock=site.clock,
            entropy=os.urandom,
            make_client=make_client,
        )
        channels = DriverChannels(
            credential_of,
            address,
            clock=site.clock,
            timers=site.timers,
            entropy=os.urandom,
            settings=GatewaySettings(),
            make_client=make_client,
        )
        tasks = [asyncio.create_task(link.run()), asyncio.create_task(channels.run())]
        try:
            await until(lambda: link.state == "connected")
            async with served(link, channels, site.clock) as http:
                yield Gate(site, link, http, channels)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
def two_nodes(tmp_path: Path) -> Path:
    path = tmp_path / "site.toml"
    path.write_text(SITE)
    return path


# --- advice -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("battery", "kw", "carbon_g", "price", "queue", "energy", "hours", "kg", "score"),
    [
        (50, 50, 850, 0.25, 2, 30.0, 0.60, 25.5, 125.50),
        (20, 60, 200, 0.18, 0, 48.0, 0.80, 9.6, 164.16),
        (80, 65, 850, 0.30, 5, 12.0, 0.18, 10.2, 149.20),
        (35, 60, 200, 0.25, 1, 39.0, 0.65, 7.8, 163.15),
    ],
)
async def test_the_older_formula_to_the_digit(
    tmp_path: Path,
    battery: int,
    kw: int,
    carbon_g: int,
    price: float,
    queue: int,
    energy: float,
    hours: float,
    kg: float,
    score: float,
) -> None:
    """One charge point of so many kW for each vehicle, and as many vehicles there as the queue has."""
    tariff = {"price_per_kwh": price, "co2_g_per_kwh": carbon_g}
    async with gate(tmp_path, capacity_kw=kw * (queue + 1.0), **tariff) as it:
        await it.site.engine(connectors=max(1, queue), plugged=False, min_w=6_000, max_w=kw * 1_000)
        driver = await it.site.driver()
        for connector in range(1, queue + 1):
            await it.site.charge(driver, connector=connector)
        body = await it.http.get(f"/orchestrator/recommend?mode=legacy&battery_percent={battery}", "ev")
    decision = body["decision"]
    (row,) = decision["all_station_analysis"]
    assert (row["energy_needed_kwh"], row["charging_time_hours"]) == (energy, hours)
    assert (row["carbon_emission_kg"], row["score"]) == (kg, score)
    assert set(row) == {
        "station_id",
        "score",
        "energy_needed_kwh",
        "charging_time_hours",
        "carbon_emission_kg",
        "explanation",
    }
    assert (decision["recommended_station"], decision["metrics"]) == ("CP-1", row)
    assert body["vehicle"]["energy_needed_kwh"] == energy


async def test_the_default_mode_and_no_station_at_all(tmp_path: Path) -> None:
    async with gate(tmp_path) as it:
        ask = "/orchestrator/recommend?battery_percent=35"
        status, body, _ = await it.http.ask("GET", ask)
        assert (status, body["code"]) == (409, "no_feasible_station")
        await it.site.engine(plugged=False)
        decision = (await it.http.get(ask))["decision"]
        assert decision["recommended_station"] == "CP-1"
        row = decision["metrics"]
        assert (row["rank"], row["power_w"], row["charging_time_hours"], row["cost_minor"]) == (1, 11_000, 2.45, 810)
        assert sum(decision["weights"].values()) == pytest.approx(1)
        weights = (await it.http.get(ask + "&w_cost=0.2&w_time=0.2"))["decision"]["weights"]
        assert (weights["cost"], weights["time"]) == (0.5, 0.5), "only their proportions count"


# --- the energy rules -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("solar_w", "battery", "grid", "mode", "kw", "rule"),
    [
        (60_001, 70.01, 85.01, "PAUSE_CHARGING", 0.0, "grid_high"),
        (60_001, 70.01, 85.0, "FAST_CHARGING", 22.0, "solar_high_battery_high"),
        (60_000, 70.01, 85.0, "NORMAL_CHARGING", 11.0, "solar_medium"),
        (60_001, 70.0, 85.0, "NORMAL_CHARGING", 11.0, "solar_medium"),
        (30_001, 0.0, 0.0, "NORMAL_CHARGING", 11.0, "solar_medium"),
        (30_000, 100.0, 0.0, "SLOW_CHARGING", 5.0, "solar_low"),
        (0, 100.0, 0.0, "SLOW_CHARGING", 5.0, "solar_low"),
    ],
)
async def test_the_boundaries_are_strict(
    tmp_path: Path, solar_w: float, battery: float, grid: float, mode: str, kw: float, rule: str
) -> None:
    async with gate(tmp_path, policy="rules") as it:
        await it.read(solar_w=solar_w, battery_percent=battery, grid_percent=grid)
        body = await it.http.get("/optimize-charging", "ev")
        assert (body["charging_mode"], body["charging_power_kW"], body["rule"]) == (mode, kw, rule)
        assert (body["solar_output_kW"], body["grid_load_percent"]) == (solar_w / 1000, grid)
        assert (body["battery_level_percent"], body["in_force"]) == (battery, True)
        assert await it.http.get("/grid-load", "ev") == {"grid_load_percent": grid, "age_ms": 0, "status": "ok"}


async def test_what_was_never_heard_or_is_stale_is_null_and_pauses(tmp_path: Path) -> None:
    async with gate(tmp_path) as it:
        body = await it.http.get("/optimize-charging")
        assert (body["charging_mode"], body["charging_power_kW"]) == ("PAUSE_CHARGING", 0.0)
        assert body["inputs"]["grid"] == {"age_ms": None, "status": "missing"}
        await it.read(solar_w=40_000, grid_percent=50)
        assert (await it.http.get("/optimize-charging"))["charging_mode"] == "NORMAL_CHARGING"
        it.site.clock.advance(11)
        body = await it.http.get("/optimize-charging")
        assert (body["charging_mode"], body["rule"]) == ("PAUSE_CHARGING", "grid_unknown")
        assert body["inputs"]["grid"] == {"age_ms": 11_000, "status": "stale"}
        assert await it.http.get("/grid-load") == {"grid_load_percent": None, "age_ms": 11_000, "status": "stale"}
        assert await it.http.get("/solar-status") == {"solar_output_kW": 40.0, "age_ms": 11_000, "status": "ok"}
        assert await it.http.get("/battery-status") == {
            "battery_level_percent": None,
            "age_ms": None,
            "status": "missing",
        }


# --- charges ----------------------------------------------------------------------------------------------------------


async def test_a_charge_from_the_request_to_the_ticket(tmp_path: Path, two_nodes: Path) -> None:
    async with gate(tmp_path, site_file=two_nodes) as it:
        http = it.http
        engines = {cp_id: await it.site.engine(cp_id, plugged=False) for cp_id in ("CP-1", "CP-2")}
        _, sent, _ = await http.ask("POST", "/assign", "operator", json={"requested_kw": 7})
        assert (sent["cp_id"], sent["substation_id"]) == ("CP-1", "north")
        assert [one["cp_id"] for one in sent["alternatives"]] == ["CP-2"]
        missing = {"substation_id": "x"}
        assert await http.refusal("POST", "/assign", json=missing) == (404, "unknown_substation")
        status, made, _ = await http.ask("POST", "/charge", "ev/anna", json=WISH, headers={"Idempotency-Key": "1"})
        assert (status, made["status"], made["requested_wh"]) == (202, "AUTHORIZED", 3_500)
        assert (made["cp_id"], made["substation_id"]) == ("CP-1", "north"), "the emptier one"
        again = await http.ask("POST", "/charge", "ev/anna", json=WISH, headers={"Idempotency-Key": "1"})
        assert again[:2] == (202, made)
        status, other, _ = await http.ask("POST", "/charge", "ev/ben", json=WISH)
        assert (status, other["cp_id"], other["substation_id"]) == (202, "CP-2", "south")
        status, full, headers = await http.ask("POST", "/charge", "ev/carl", json=WISH)
        assert (status, full["code"], headers["Retry-After"]) == (503, "busy", "60"), "the first offer that may lapse"

        session_id = made["session_id"]
        assert [row["driver_id"] for row in (await http.get("/api/sessions", "operator"))["sessions"]].count(
            "anna"
        ) == 1
        assert await http.refusal("DELETE", f"/sessions/{session_id}", "ev/ben") == (404, "unknown_session")
        engine = engines["CP-1"]
        engine.send(m.Plugged(connector=1))
        await engine.start(session_id, meter_wh=1_000)
        assert (await http.get(f"/api/sessions/{session_id}"))["state"] == "SUPPLYING"
        why = await http.get(f"/sessions/{session_id}/why", "ev/anna")
        assert (why["cp_id"], why["state"], why["limit_w"]) == ("CP-1", "SUPPLYING", 11_000)
        assert await http.get(f"/api/sessions/{session_id}/why", "viewer") == why
        assert why["sentence"] and why["node"] == "CP-1/1"
        assert await http.refusal("GET", f"/sessions/{session_id}/why", "ev/ben") == (404, "unknown_session")
        assert (await http.ask("DELETE", f"/sessions/{session_id}", "ev/anna"))[0] == 202
        order = await engine.next(m.StopSupply)
        engine.done(order)
        await engine.end(session_id, meter_wh=3_000, reason="driver_ended")
        told = await http.get(f"/api/sessions/{session_id}", "viewer")
        assert (told["state"], told["session"], told["ticket"]["energy_wh"]) == ("COMPLETED", None, 2_000)
        assert told["ticket"]["driver_id"] == "*na"
        assert [row["session_id"] for row in (await http.get("/api/tickets"))["tickets"]] == [session_id]
        assert await http.refusal("DELETE", f"/sessions/{session_id}", "ev/anna") == (404, "unknown_session")
        totals = (await http.get("/status"))["totals"]
        assert (totals["authorized"], totals["refused"], totals["energy_wh"]) == (2, 1, 2_000)


async def test_a_revoked_driver_is_not_served_any_more(tmp_path: Path) -> None:
    async with gate(tmp_path) as it:
        await it.site.engine(plugged=False)
        assert (await it.http.ask("POST", "/charge", "ev/anna", json=WISH))[0] == 202
        it.site.registry.revoke("driver-anna")
        await it.site.followed()
        assert await it.http.refusal("POST", "/charge", "ev/anna", json=WISH) == (403, "driver_refused")


async def test_stop_and_resume_of_one_and_of_all(tmp_path: Path, two_nodes: Path) -> None:
    async with gate(tmp_path, site_file=two_nodes) as it:
        http = it.http
        for cp_id in ("CP-1", "CP-2"):
            await it.site.engine(cp_id, plugged=False)
        _, body, _ = await http.ask("POST", "/api/cps/CP-2/stop", "operator")
        assert body == {"cp_id": "CP-2", "changed": True, "state": "STOPPED", "holds": ["ADMIN"]}
        _, body, _ = await http.ask("POST", "/api/cps/CP-2/stop", "operator")
        assert body["changed"] is False
        assert await http.refusal("POST", "/api/cps/CP-9/stop") == (404, "unknown_charge_point")
        assert (await http.ask("POST", "/api/cps/stop", "operator"))[1] == {"charge_points": 2, "stopped": 2}
        assert await http.refusal("POST", "/charge", "ev/anna", json=WISH) == (503, "busy")
        _, body, _ = await http.ask("POST", "/api/cps/CP-1/resume", "operator")
        assert body == {"cp_id": "CP-1", "changed": True, "state": "ACTIVATED", "holds": []}
        assert (await http.ask("POST", "/api/cps/resume", "operator"))[1] == {"charge_points": 2, "stopped": 0}
        rows = (await http.get("/substations"))["substations"]
        assert [(row["substation_id"], row["capacity_w"], row["health"]) for row in rows] == [
            ("north", 22_000, "UP"),
            ("south", 11_000, "UP"),
        ]
        assert [row["cp_id"] for row in (await http.get("/api/cps?limit=1"))["charge_points"]] == ["CP-1"]
        assert (await http.get("/api/cps/CP-2"))["state"] == "ACTIVATED"


async def test_a_request_is_found_again_in_the_audit_log(tmp_path: Path) -> None:
    """By its id and by its client, whoever's channel it went over; what follows by itself later has neither."""
    async with gate(tmp_path) as it:
        http = it.http
        engine = await it.site.engine(plugged=False)
        charge = {"X-Request-ID": "charge-1"}
        assert (await http.ask("POST", "/charge", "ev/anna", headers=charge, json=WISH))[0] == 202
        await engine.next(m.Authorize)
        stop = {"X-Request-ID": "stop-1"}
        assert (await http.ask("POST", "/api/cps/CP-1/stop", "operator/x", headers=stop))[0] == 200

        async def found(query: str) -> list[tuple[Any, ...]]:
            rows = (await http.get(f"/api/audit?{query}"))["records"]
            return [(row["kind"], row["actor"], row["by"], row["trace"]) for row in rows]

        (asked, *_) = by_charge = await found("trace=charge-1")
        assert asked == ("charge_authorized", "driver:anna", "ev-anna", "charge-1")
        by_stop = await found("trace=stop-1")
        assert by_stop[0] == ("hold_placed", "operator:gateway", "operator-x", "stop-1")
        assert await found("by=ev-anna") == by_charge and await found("by=operator-x&kind=hold_placed") == by_stop[:1]
        assert await found("trace=stop-2") == []
        others = [row for row in await found("limit=100") if row not in (*by_charge, *by_stop)]
        assert others and all(row[2:] == (None, None) for row in others)


async def test_central_goes_and_comes_back_without_a_restart_here(tmp_path: Path) -> None:
    async with gate(tmp_path) as it:
        await it.site.engine(plugged=False)
        assert (await it.http.ask("POST", "/charge", "ev/anna", json=WISH))[0] == 202
        await it.site.stop()
        await until(lambda: it.link.state == "disconnected")
        for method, path in (("GET", "/grid-load"), ("GET", "/api/cps"), ("DELETE", "/sessions/s-1")):
            status, body, headers = await it.http.ask(method, path)
            assert (status, body["code"], headers["Retry-After"]) == (503, "central_away", "5")
        assert (await it.http.get("/status"))["central"] == "disconnected"
        await it.site.start(port=it.site.central.port)

        def back() -> bool:
            it.site.clock.advance(0.1)
            return it.link.state == "connected"

        await until(back)
        assert len((await it.http.get("/api/cps"))["charge_points"]) == 1
        sessions = (await it.http.get("/api/sessions"))["sessions"]
        (session_id,) = (row["session_id"] for row in sessions)
        assert (await it.http.ask("DELETE", f"/sessions/{session_id}", "ev/anna"))[0] == 202
