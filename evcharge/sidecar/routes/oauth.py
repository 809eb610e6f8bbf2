"""OAuth2's routes."""

from __future__ import annotations

from http import HTTPStatus

from evcharge.sidecar.oauth.endpoint import (
    JWKS_PATH,
    METADATA_PATH,
    TOKEN_PATH,
    Jwks,
    Metadata,
    TokenAnswer,
    TokenForm,
    as_oauth,
)
from evcharge.sidecar.routes.limits import OPEN, TOKEN
from evcharge.sidecar.web.route import Route

TAG = "oauth2"

ROUTES = (
    Route(
        method="POST",
        path=TOKEN_PATH,
        name="token",
        tag=TAG,
        summary="An access token for a client app (RFC 6749 §4.4), by HTTP Basic or in the form.",
        scope=None,
        body=TokenForm,
        form=True,
        recast=as_oauth,
        bad_fields=HTTPStatus.BAD_REQUEST,
        answers={200: TokenAnswer},
        refusals=(HTTPStatus.UNAUTHORIZED,),
        limit=TOKEN,
    ),
    Route(
        method="GET",
        path=JWKS_PATH,
        name="jwks",
        tag=TAG,
        summary="The keys that verify access tokens (RFC 7517).",
        scope=None,
        answers={200: Jwks},
        limit=OPEN,
    ),
    Route(
        method="GET",
        path=METADATA_PATH,
        name="metadata",
        tag=TAG,
        summary="What an OAuth2 library needs to begin with (RFC 8414).",
        scope=None,
        answers={200: Metadata},
        limit=OPEN,
    ),
)
