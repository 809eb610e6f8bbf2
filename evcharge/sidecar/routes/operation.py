"""Open routes for probes and tools, and the level of the log."""

from __future__ import annotations

from evcharge.sidecar.operation import Document, Health, LogLevel, Readiness, WantedLevel
from evcharge.sidecar.routes.limits import OPEN, SITE
from evcharge.sidecar.web.route import Route
from evcharge.sidecar.web.scopes import Scope

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
    Route(
        method="GET",
        path="/api/log-level",
        name="log_level",
        tag=TAG,
        summary="How much this sidecar logs.",
        scope=Scope.OPERATION_WRITE,
        answers={200: LogLevel},
        limit=SITE,
    ),
    Route(
        method="PUT",
        path="/api/log-level",
        name="set_log_level",
        tag=TAG,
        summary="Log more or less from now on, until it is changed again or the sidecar restarts.",
        scope=Scope.OPERATION_WRITE,
        body=WantedLevel,
        answers={200: LogLevel},
        limit=SITE,
    ),
)
