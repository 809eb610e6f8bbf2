"""Advice, the energy rules and charges."""

from __future__ import annotations

from http import HTTPStatus

from evcharge.sidecar.gateway import schemas as s
from evcharge.sidecar.gateway.problems import ASKING
from evcharge.sidecar.gateway.site_schemas import SessionFound
from evcharge.sidecar.routes.limits import GATEWAY, SITE
from evcharge.sidecar.web.route import Route
from evcharge.sidecar.web.scopes import Scope

# Ids of charge points and sessions: what the registry lets an entity be called, and Central a session.
ID = r"[A-Za-z0-9][A-Za-z0-9._:@+-]{0,63}"

ROUTES: tuple[Route, ...] = (
    Route(
        method="GET",
        path="/orchestrator/recommend",
        name="recommend",
        tag="recommendation",
        summary="Where to charge this vehicle, and why; 409 where no station can.",
        scope=Scope.RECOMMEND,
        limit=GATEWAY,
        query=s.RecommendQuery,
        answers={200: s.Recommendation},
        refusals=ASKING,
    ),
    Route(
        method="GET",
        path="/optimize-charging",
        also=("/orchestrator/1.0.0/optimize-charging",),
        name="optimize_charging",
        tag="energy",
        summary="What the energy rules allow each vehicle now, with rule, reason and age of each reading.",
        scope=Scope.ENERGY_READ,
        limit=GATEWAY,
        answers={200: s.Optimization},
        refusals=ASKING,
    ),
    Route(
        method="GET",
        path="/solar-status",
        also=("/solar/1.0.0/solar-status",),
        name="solar_status",
        tag="energy",
        summary="The newest solar reading; null when it is missing or stale.",
        scope=Scope.ENERGY_READ,
        limit=GATEWAY,
        answers={200: s.SolarStatus},
        refusals=ASKING,
    ),
    Route(
        method="GET",
        path="/battery-status",
        also=("/battery/1.0.0/battery-status",),
        name="battery_status",
        tag="energy",
        summary="The newest battery reading; null when it is missing or stale.",
        scope=Scope.ENERGY_READ,
        limit=GATEWAY,
        answers={200: s.BatteryStatus},
        refusals=ASKING,
    ),
    Route(
        method="GET",
        path="/grid-load",
        also=("/grid/1.0.0/grid-load",),
        name="grid_load",
        tag="energy",
        summary="The newest grid reading; null when it is missing or stale.",
        scope=Scope.ENERGY_READ,
        limit=GATEWAY,
        answers={200: s.GridLoad},
        refusals=ASKING,
    ),
    Route(
        method="POST",
        path="/assign",
        name="assign",
        tag="charging",
        summary="Where somebody would be sent now, and why there; nothing is reserved. 503 where all are full.",
        scope=Scope.ASSIGN,
        limit=GATEWAY,
        body=s.AssignBody,
        answers={200: s.Assignment},
        refusals=(HTTPStatus.NOT_FOUND, *ASKING),
    ),
    Route(
        method="POST",
        path="/charge",
        name="charge",
        tag="charging",
        summary="A session for the client's driver, at the charge point with most room; 503 where all are full. "
        "The same Idempotency-Key again gives the same session.",
        scope=Scope.CHARGE,
        limit=GATEWAY,
        body=s.ChargeBody,
        headers={"Idempotency-Key": "Makes it safe to ask again: 1 to 128 printable characters, new for each charge."},
        answers={202: s.Charge},
        refusals=ASKING,
    ),
    Route(
        method="GET",
        path="/sessions/{id}",
        name="own_session",
        tag="charging",
        summary="A session of the client's driver: how it goes while it is open, and its ticket when it is over.",
        scope=Scope.CHARGE,
        limit=SITE,
        words={"id": ID},
        answers={200: SessionFound},
        refusals=(HTTPStatus.NOT_FOUND, *ASKING),
    ),
    Route(
        method="DELETE",
        path="/sessions/{id}",
        name="end_charge",
        tag="charging",
        summary="End a session of the client's driver.",
        scope=Scope.CHARGE,
        limit=SITE,
        words={"id": ID},
        answers={202: s.Ending},
        refusals=(HTTPStatus.NOT_FOUND, *ASKING),
    ),
    Route(
        method="GET",
        path="/sessions/{id}/why",
        name="why",
        tag="charging",
        summary="Why a session of the client's driver gets what it gets.",
        scope=Scope.CHARGE,
        limit=SITE,
        words={"id": ID},
        answers={200: s.Why},
        refusals=(HTTPStatus.NOT_FOUND, *ASKING),
    ),
)
