"""Every route of the sidecar is declared in this folder, one file for each concern, with scope, limits and schemas."""

from __future__ import annotations

from evcharge.sidecar.routes import oauth, operation, registry

ROUTES = (*registry.ROUTES, *oauth.ROUTES, *operation.ROUTES)
