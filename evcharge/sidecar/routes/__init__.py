"""Every route of the sidecar is declared in this folder, one file for each concern, with scope, limits and schemas."""

from __future__ import annotations

from evcharge.sidecar.routes import gateway, oauth, operation, registry, site

ROUTES = (*gateway.ROUTES, *site.ROUTES, *registry.ROUTES, *oauth.ROUTES, *operation.ROUTES)
