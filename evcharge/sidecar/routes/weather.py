"""The weather's routes."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from evcharge.sidecar.routes.limits import SITE
from evcharge.sidecar.weather.schemas import ALERTS, AlertReport, ToldAnswer, WeatherAnswer
from evcharge.sidecar.web.route import Route
from evcharge.sidecar.web.scopes import Scope

_NULL = {"type": "null"}


def _legacy(alert: str, kind: dict[str, Any], active: bool) -> dict[str, Any]:
    """JSON Schema: an older office's word, and nothing beside it that contradicts it."""
    same = {"anyOf": [_NULL, {"const": active}]}
    return {"required": ["alert"], "properties": {"alert": {"const": alert}, "kind": kind, "active": same}}


# Today's words (kind, active), or an older office's (alert).
ALERT_RULES: dict[str, Any] = {
    "anyOf": [
        {"required": ["kind"], "properties": {"kind": {"type": "string"}, "alert": _NULL}},
        *(_legacy(alert, {"anyOf": [_NULL, {"const": kind}]}, active=True) for alert, kind in ALERTS.items()),
        _legacy("WEATHER_OK", {}, active=False),
    ]
}

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
        body=AlertReport,
        rules=ALERT_RULES,
        refusals=(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
    ),
)
