"""Who stands behind an ``Authorization`` header: the operator's or Central's own token, or an access token.

A good token always passes, also from a source that is throttled: an operator behind the same address as somebody who
guesses must get through.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from http import HTTPStatus

import structlog

from evcharge.net.clock import Clock
from evcharge.sidecar.auth import Scope as Static
from evcharge.sidecar.auth import Tokens
from evcharge.sidecar.oauth.known import KnownClients
from evcharge.sidecar.oauth.tokens import TOKEN_CHARS, BadToken, ClientGone, Expired, Verifier
from evcharge.sidecar.web.problem import Problem, unauthorized
from evcharge.sidecar.web.route import Limit, Principal
from evcharge.sidecar.web.scopes import ROLES, Scope
from evcharge.sidecar.web.throttle import Windows

log = structlog.get_logger()

# Failed authentications of one source: five in ten minutes, then 429 and an incident (features.md, audit record).
FAILURES = Limit("failures", 5, 600)
# Sources whose failures are remembered; the one unseen for longest is forgotten first, so memory stays bounded.
SOURCES = 4_096

# The two tokens that ``init`` makes.
_STATIC: Mapping[Static, Principal] = {
    Static.OPERATOR: Principal(name="operator", scopes=ROLES["admin"]),
    Static.SERVICE: Principal(
        name="central", scopes=frozenset({Scope.REGISTRY_SERVICE, Scope.REGISTRY_READ}), unlimited=True
    ),
}


class Door:
    """Judges tokens and counts those that are none."""

    def __init__(
        self, tokens: Tokens, verifier: Verifier, known: KnownClients, clock: Clock, failures: Limit = FAILURES
    ) -> None:
        """``failures``: how many failed authentications one source may have."""
        self._tokens = tokens
        self._verifier = verifier
        self._known = known
        self._clock = clock
        self._failures = failures
        self._failed = Windows(SOURCES)
        self.decisions: Counter[str] = Counter()
        """Requests by what their token was: accepted, none, expired, failed, throttled (failed too often)."""

    async def principal(self, authorization: str | None, source: str) -> Principal | None:
        """Who asks; None without a token.

        Raises:
            Problem: 401 for a token that is none of ours, 429 after too many of those from one source.
        """
        if authorization is None:
            self.decisions["none"] += 1
            return None
        static = self._tokens.scope_of(authorization)
        if static is not None:
            self.decisions["accepted"] += 1
            return _STATIC[static]
        scheme, _, token = authorization[: TOKEN_CHARS + 16].partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            self.failed(source, "authorization header")
            raise unauthorized("Send a token as 'Authorization: Bearer TOKEN'.", "invalid_request")
        try:
            principal = await self._verify(token)
        except Expired as error:
            self.decisions["expired"] += 1
            raise unauthorized(str(error), "invalid_token") from None
        except BadToken as error:
            self.failed(source, "access token", str(error))
            raise unauthorized(str(error), "invalid_token") from None
        self.decisions["accepted"] += 1
        return principal

    async def _verify(self, token: str) -> Principal:
        now_s = self._clock.steady_ms() / 1000
        try:
            return self._verifier.verify(token, now_s)
        except ClientGone:
            await self._known.look_again()
            return self._verifier.verify(token, now_s)

    def failed(self, source: str, what: str, why: str = "") -> None:
        """Count a failed authentication; past the allowed number it is an incident and a 429."""
        log.warning("http.authentication_failed", source=source, what=what, why=why)
        verdict = self._failed.take(source, self._failures, self._clock.monotonic())
        self.decisions["failed" if verdict.allowed else "throttled"] += 1
        if verdict.allowed:
            return
        wait_s = verdict.reset_s
        log.warning("http.incident", what="failed authentications", source=source, retry_after_s=wait_s)
        raise Problem(
            HTTPStatus.TOO_MANY_REQUESTS,
            "throttled",
            f"Too many failed authentications from this address; wait {wait_s} s.",
            headers={"Retry-After": str(wait_s)},
        )
