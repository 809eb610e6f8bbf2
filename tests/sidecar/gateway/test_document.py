"""What the routes declare: established paths, scopes, and a document that has all of it."""

from __future__ import annotations

import json

from evcharge.sidecar.database import Database
from evcharge.sidecar.gateway.gateway import Gateway
from evcharge.sidecar.gateway.settings import GatewaySettings
from evcharge.sidecar.routes import gateway, site
from evcharge.sidecar.routes.limits import GATEWAY, SITE
from evcharge.sidecar.web.openapi import document
from evcharge.sidecar.web.scopes import ROLES, Scope
from tests.sidecar.conftest import HandClock
from tests.sidecar.gateway.support import ROUTES


def test_established_paths_are_there_with_the_limit_of_a_gateway() -> None:
    limits = {(route.method, path): route.limit for route in gateway.ROUTES for path in (route.path, *route.also)}
    for path in (
        "/orchestrator/recommend",
        "/optimize-charging",
        "/orchestrator/1.0.0/optimize-charging",
        "/solar-status",
        "/solar/1.0.0/solar-status",
        "/battery-status",
        "/battery/1.0.0/battery-status",
        "/grid-load",
        "/grid/1.0.0/grid-load",
    ):
        assert limits["GET", path] is GATEWAY
    assert limits["POST", "/charge"] is GATEWAY
    assert limits["DELETE", "/sessions/{id}"] is SITE, "who asked ten times must be able to end his charge"
    assert (GATEWAY.requests, GATEWAY.seconds) == (10, 60)


def test_whoever_changes_something_needs_more_than_to_read() -> None:
    for route in (*gateway.ROUTES, *site.ROUTES):
        assert route.scope is not None, "nothing here is open"
        if route.method != "GET":
            assert route.scope in {Scope.CHARGE, Scope.SITE_CONTROL, Scope.ASSIGN}
            assert route.scope not in ROLES["viewer"]


def test_every_route_has_its_handler() -> None:
    database = Database.open("sqlite+aiosqlite://")
    made = Gateway(None, None, version="1", settings=GatewaySettings(), clock=HandClock(), database=database)
    assert set(made.handlers()) == {route.name for route in ROUTES}


def test_the_document_has_units_ranges_and_every_refusal() -> None:
    said = document(ROUTES, title="t", version="1", token_path="/oauth2/token")
    json.dumps(said)
    recommend = said["paths"]["/orchestrator/recommend"]["get"]
    by_name = {one["name"]: one for one in recommend["parameters"]}
    assert by_name["battery_percent"]["required"] and by_name["battery_percent"]["schema"]["maximum"] == 100
    assert by_name["mode"]["schema"]["enum"] == ["legacy", "pareto"]
    assert not by_name["plug"]["required"] and by_name["plug"]["schema"]["type"] == "string"
    assert {"409", "422", "502", "503", "504"} <= set(recommend["responses"])
    schemas = said["components"]["schemas"]
    assert {"solar_output_kW", "charging_power_kW"} <= set(schemas["Optimization"]["required"])
    assert schemas["ChargeBody"]["required"] == ["vehicle_id", "requested_kw", "duration_s"]
