"""Every route of the sidecar is declared in this folder, one file for each concern, with scope, limits and schemas."""

from __future__ import annotations

from evcharge.sidecar.routes import audit, gateway, oauth, operation, registry, site

ROUTES = (*gateway.ROUTES, *site.ROUTES, *audit.ROUTES, *registry.ROUTES, *oauth.ROUTES, *operation.ROUTES)
