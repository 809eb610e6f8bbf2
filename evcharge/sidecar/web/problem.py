"""What goes wrong over HTTP, in one shape: ``application/problem+json`` (RFC 9457).

::

    {"type": "urn:evcharge:problem:throttled", "title": "Too Many Requests", "status": 429, "code": "throttled",
     "detail": "Ten requests a minute are yours; wait 12 s.", "fields": {…}, "request_id": "mzxw6ytboi4tqnzq"}

``code`` is for programs, ``detail`` one sentence for a person that says what to do, ``fields`` has what is wrong with
each bad field, ``request_id`` finds it in the log. Nothing of another server's answer, of a database or of this
program's insides stands in any of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

MEDIA_TYPE = "application/problem+json"
TYPE = "urn:evcharge:problem:"


class Problem(Exception):
    """An answer that is an error."""

    media_type = MEDIA_TYPE

    def __init__(
        self,
        status: HTTPStatus,
        code: str,
        detail: str,
        *,
        fields: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.fields = dict(fields or {})
        self.headers = dict(headers or {})

    def body(self, request_id: str | None = None) -> dict[str, object]:
        """The map that is answered."""
        said: dict[str, object] = {
            "type": TYPE + self.code,
            "title": self.status.phrase,
            "status": int(self.status),
            "code": self.code,
            "detail": self.detail,
        }
        if self.fields:
            said["fields"] = self.fields
        if request_id is not None:
            said["request_id"] = request_id
        return said


def bad_request(detail: str) -> Problem:
    """The request cannot be read."""
    return Problem(HTTPStatus.BAD_REQUEST, "bad_request", detail)


def bad_fields(fields: Mapping[str, str], status: HTTPStatus = HTTPStatus.UNPROCESSABLE_ENTITY) -> Problem:
    """It can be read, and says what cannot be: every bad field with what it should be."""
    detail = " ".join(f"{name}: {why}" for name, why in fields.items())
    return Problem(status, "bad_fields", detail, fields=fields)


def not_found(what: str) -> Problem:
    """``what`` is a sentence."""
    return Problem(HTTPStatus.NOT_FOUND, "not_found", what)


def unauthorized(detail: str, error: str | None = None) -> Problem:
    """No token, or one that is none; ``error`` is RFC 6750's code where a token was sent."""
    challenge = 'Bearer realm="evcharge"' + ("" if error is None else f', error="{error}"')
    return Problem(HTTPStatus.UNAUTHORIZED, "unauthorized", detail, headers={"WWW-Authenticate": challenge})


def forbidden(needed: str) -> Problem:
    """A good token that may not do this; ``needed`` is the scope that may."""
    return Problem(
        HTTPStatus.FORBIDDEN,
        "forbidden",
        f"This token may not do that; it needs the scope {needed}.",
        headers={"WWW-Authenticate": f'Bearer realm="evcharge", error="insufficient_scope", scope="{needed}"'},
    )


def unavailable(code: str, detail: str, retry_after_s: int) -> Problem:
    """What is needed for an answer is away; ``retry_after_s`` says when to ask again."""
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, code, detail, headers={"Retry-After": str(retry_after_s)})
