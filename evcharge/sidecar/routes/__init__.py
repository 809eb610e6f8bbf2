"""Every route of the sidecar is declared in this folder, one file for each concern, with scope, limits and schemas."""

from __future__ import annotations

from evcharge.sidecar.routes import (
    audit,
    authority,
    gateway,
    history,
    oauth,
    operation,
    registry,
    sensors,
    site,
    weather,
)

ROUTES = (
    *gateway.ROUTES,
    *site.ROUTES,
    *audit.ROUTES,
    *history.ROUTES,
    *weather.ROUTES,
    *sensors.ROUTES,
    *authority.ROUTES,
    *registry.ROUTES,
    *oauth.ROUTES,
    *operation.ROUTES,
)
