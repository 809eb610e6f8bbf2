"""Open routes for probes and tools."""

from __future__ import annotations

from evcharge.sidecar.operation import Document, Health, Readiness
from evcharge.sidecar.routes.limits import OPEN
from evcharge.sidecar.web.route import Route

TAG = "operation"

ROUTES = (
    Route(
        method="GET",
        path="/health",
        name="health",
        tag=TAG,
        summary="The sidecar lives.",
        scope=None,
        answers={200: Health},
        limit=OPEN,
    ),
    Route(
        method="GET",
        path="/ready",
        name="ready",
        tag=TAG,
        summary="The sidecar's database and Central answer.",
        scope=None,
        answers={200: Readiness},
        limit=OPEN,
    ),
    Route(
        method="GET",
        path="/openapi.json",
        name="openapi",
        tag=TAG,
        summary="This document.",
        scope=None,
        answers={200: Document},
        limit=OPEN,
    ),
)
