"""The registry's routes: the life of a credential, and what Central asks."""

from __future__ import annotations

from http import HTTPStatus

from evcharge.sidecar.registry.schemas import (
    CHECK_RULES,
    REGISTRATION_RULES,
    Changes,
    Check,
    Checked,
    CredentialOnce,
    Credentials,
    Follow,
    Page,
    Registration,
    Rotation,
)
from evcharge.sidecar.registry.views import View
from evcharge.sidecar.routes.limits import REGISTRY, VERIFY
from evcharge.sidecar.web.route import Route
from evcharge.sidecar.web.scopes import Scope

TAG = "registry"

ROUTES = (
    Route(
        method="POST",
        path="/register",
        name="register",
        tag=TAG,
        summary="Register a charge point, monitor, driver, console or gateway; its secret is shown once.",
        scope=Scope.REGISTRY_WRITE,
        body=Registration,
        rules=REGISTRATION_RULES,
        answers={201: CredentialOnce},
        refusals=(HTTPStatus.CONFLICT,),
        limit=REGISTRY,
    ),
    Route(
        method="DELETE",
        path="/register/{id}",
        name="revoke",
        tag=TAG,
        summary="Revoke a credential at once; id: a username, or an entity that has one credential.",
        scope=Scope.REGISTRY_WRITE,
        answers={200: View},
        refusals=(HTTPStatus.CONFLICT, HTTPStatus.NOT_FOUND),
        limit=REGISTRY,
    ),
    Route(
        method="POST",
        path="/rotate/{id}",
        name="rotate",
        tag=TAG,
        summary="A new secret, shown once; the old one stays good for a while.",
        scope=Scope.REGISTRY_WRITE,
        body=Rotation,
        answers={200: CredentialOnce},
        refusals=(HTTPStatus.CONFLICT, HTTPStatus.NOT_FOUND),
        limit=REGISTRY,
    ),
    Route(
        method="GET",
        path="/list",
        name="list_credentials",
        tag=TAG,
        summary="Credentials by username, without secrets.",
        scope=Scope.REGISTRY_READ,
        query=Page,
        answers={200: Credentials},
        limit=REGISTRY,
    ),
    Route(
        method="GET",
        path="/get/{id}",
        name="get_credential",
        tag=TAG,
        summary="One credential, without secrets; id: a username, or an entity that has one credential.",
        scope=Scope.REGISTRY_READ,
        answers={200: View},
        refusals=(HTTPStatus.CONFLICT, HTTPStatus.NOT_FOUND),
        limit=REGISTRY,
    ),
    Route(
        method="POST",
        path="/verify",
        name="verify",
        tag=TAG,
        summary="Whether a username and password are somebody's; Central asks with a public key.",
        scope=None,
        body=Check,
        rules=CHECK_RULES,
        answers={200: Checked},
        refusals=(HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND),
        limit=VERIFY,
    ),
    Route(
        method="GET",
        path="/changes",
        name="changes",
        tag=TAG,
        summary="For Central: signed records that changed after a revision; a long poll.",
        scope=Scope.REGISTRY_SERVICE,
        query=Follow,
        answers={200: Changes},
        refusals=(HTTPStatus.CONFLICT,),
        limit=REGISTRY,
    ),
)
