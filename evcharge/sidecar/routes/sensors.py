"""The sensors' route."""

from __future__ import annotations

from evcharge.sidecar.routes.limits import SITE
from evcharge.sidecar.sensors.book import SensorReadings
from evcharge.sidecar.web.route import Route
from evcharge.sidecar.web.scopes import Scope

ROUTES: tuple[Route, ...] = (
    Route(
        method="GET",
        path="/api/sensors",
        name="list_sensors",
        tag="sensors",
        summary="Every sensor of the settings: its reading with its age, or what is wrong.",
        scope=Scope.SITE_READ,
        limit=SITE,
        answers={200: SensorReadings},
    ),
)
