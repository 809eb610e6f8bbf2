"""The weather's routes."""

from __future__ import annotations

from http import HTTPStatus

from evcharge.sidecar.routes.limits import SITE
from evcharge.sidecar.weather.schemas import ToldAnswer, WeatherAlertBody, WeatherAnswer
from evcharge.sidecar.web.route import Route
from evcharge.sidecar.web.scopes import Scope

ROUTES: tuple[Route, ...] = (
    Route(
        method="GET",
        path="/api/weather",
        name="weather",
        tag="weather",
        summary="The weather at each place of the site, its provider's state, and the active alerts",
        scope=Scope.SITE_READ,
        answers={200: WeatherAnswer},
        limit=SITE,
    ),
    Route(
        method="POST",
        path="/api/weather_alert",
        name="weather_alert",
        tag="weather",
        summary="Tell Central of a weather alert, or that it is over",
        scope=Scope.WEATHER_WRITE,
        answers={200: ToldAnswer},
        limit=SITE,
        body=WeatherAlertBody,
        refusals=(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
    ),
)
