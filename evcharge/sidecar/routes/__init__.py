"""Every route of the sidecar is declared in this folder, one file for each concern, with scope, limits and schemas."""

from __future__ import annotations

from evcharge.sidecar.routes import (
    audit,
    authority,
    gateway,
    history,
    live,
    oauth,
    operation,
    page,
    registry,
    sensors,
    site,
    weather,
)

ROUTES = (
    *gateway.ROUTES,
    *site.ROUTES,
    *audit.ROUTES,
    *live.ROUTES,
    *history.ROUTES,
    *weather.ROUTES,
    *sensors.ROUTES,
    *authority.ROUTES,
    *registry.ROUTES,
    *oauth.ROUTES,
    *page.ROUTES,
    *operation.ROUTES,
)
