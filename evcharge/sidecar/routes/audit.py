"""The audit log's routes."""

from __future__ import annotations

from http import HTTPStatus

from evcharge.sidecar.gateway import audit_schemas as s
from evcharge.sidecar.gateway.problems import ASKING
from evcharge.sidecar.routes.limits import SITE
from evcharge.sidecar.web.route import Route
from evcharge.sidecar.web.scopes import Scope

ROUTES: tuple[Route, ...] = (
    Route(
        method="GET",
        path="/api/audit",
        name="list_audit",
        tag="audit",
        summary="Records of the log, durable ones only, with filters; tail=true: the newest first.",
        scope=Scope.AUDIT_READ,
        limit=SITE,
        query=s.AuditQuery,
        answers={200: s.AuditRecords},
        refusals=(HTTPStatus.NOT_FOUND, *ASKING),
    ),
    Route(
        method="GET",
        path="/api/audit/state",
        name="audit_state",
        tag="audit",
        summary="How far the log is durable, signed and checked.",
        scope=Scope.AUDIT_READ,
        limit=SITE,
        answers={200: s.AuditState},
        refusals=ASKING,
    ),
    Route(
        method="GET",
        path="/api/audit/{seq}/proof",
        name="audit_proof",
        tag="audit",
        summary="A record with the proof that it is in the signed log, for evcharge-audit check-proof.",
        scope=Scope.AUDIT_READ,
        limit=SITE,
        words={"seq": "[0-9]{1,16}"},
        answers={200: s.AuditProof},
        refusals=(HTTPStatus.NOT_FOUND, *ASKING),
    ),
)
