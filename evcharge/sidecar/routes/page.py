"""Logging in to the page. The page's own files are no routes of the API: ``web/files.py``."""

from __future__ import annotations

from http import HTTPStatus

from evcharge.sidecar.login.concern import Login, Me
from evcharge.sidecar.routes.limits import LOGIN, SITE
from evcharge.sidecar.web.route import CSRF_HEADER, Route

TAG = "page"

ROUTES = (
    Route(
        method="POST",
        path="/ui/login",
        name="login",
        tag=TAG,
        summary="Log in with a client's name and secret; the answer sets the session's cookie.",
        scope=None,
        body=Login,
        answers={200: Me},
        refusals=(HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN),
        limit=LOGIN,
    ),
    Route(
        method="POST",
        path="/ui/logout",
        name="logout",
        tag=TAG,
        summary="End the session, also for copies of its cookie.",
        scope=None,
        session=True,
        answers={204: None},
        headers={CSRF_HEADER: "The session's csrf."},
        limit=SITE,
    ),
    Route(
        method="GET",
        path="/ui/me",
        name="me",
        tag=TAG,
        summary="Who is logged in; 204: nobody.",
        scope=None,
        session=True,
        nobody=True,
        answers={200: Me, 204: None},
        limit=SITE,
    ),
)
