"""The live picture of the site."""

from __future__ import annotations

from evcharge.sidecar.live.hub import LiveQuery
from evcharge.sidecar.routes.limits import LIVE
from evcharge.sidecar.web.route import Route
from evcharge.sidecar.web.scopes import Scope

ROUTES = (
    Route(
        method="GET",
        path="/api/live",
        name="live",
        tag="live",
        summary="The site as it is, and what changes, as server-sent events; it does not end by itself.",
        scope=Scope.SITE_READ,
        limit=LIVE,
        query=LiveQuery,
        headers={
            "Last-Event-ID": "Number of the newest record that the client has: it is told all that came after it."
        },
        answers={200: None},
        streams="text/event-stream",
    ),
)
