"""Who stands behind a cookie, and whether a request was made by the page itself.

A session is a token of the sidecar's own, signed like every other one and for an audience of its own: as a bearer
token it is none, and a bearer token is no session. Nobody guesses one, so a bad cookie is no failed authentication: a
browser sends whatever another sidecar on another port of the same host left there.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol

from yarl import URL

from evcharge.net.clock import Clock
from evcharge.sidecar.login.ended import EndedSessions
from evcharge.sidecar.oauth.clients import OAuthClient, secret_mark
from evcharge.sidecar.oauth.keys import LEEWAY_S
from evcharge.sidecar.oauth.known import KnownClients
from evcharge.sidecar.oauth.tokens import BadToken, ClientGone, Verifier
from evcharge.sidecar.web.problem import Problem, unauthorized
from evcharge.sidecar.web.route import COOKIE, CSRF_HEADER, HOST_COOKIE, Session
from evcharge.sidecar.web.scopes import Scope

if TYPE_CHECKING:
    from aiohttp import web

# ``aud`` of a session.
AUDIENCE = "evcharge-page"
# Methods that change nothing (RFC 9110 §9.2.1).
SAFE = ("GET", "HEAD")
# Random bytes of a session's CSRF token: 128 bits, which nobody guesses within its life.
CSRF_BYTES = 16


class Issue(Protocol):
    """Signs tokens."""

    def __call__(
        self,
        client: OAuthClient,
        scopes: frozenset[Scope],
        *,
        audience: str,
        life_s: int,
        more: Mapping[str, str] | None = None,
    ) -> str:
        """A token for a client that showed its secret."""
        ...


class PageDoor:
    """Opens sessions, judges their cookies, and ends them."""

    def __init__(
        self,
        verifier: Verifier,
        known: KnownClients,
        ended: EndedSessions,
        *,
        issue: Issue,
        clock: Clock,
        entropy: Callable[[int], bytes],
        life_s: int,
        url: str | None = None,
    ) -> None:
        """``verifier`` takes tokens for ``AUDIENCE`` alone; ``url``: where browsers reach the page, if that is told."""
        self._verifier = verifier
        self._known = known
        self._ended = ended
        self._issue = issue
        self._clock = clock
        self._entropy = entropy
        self._life_s = life_s
        self._origin = None if url is None else str(URL(url).origin())

    def open(self, client: OAuthClient, secret: str) -> str:
        """The token of a new session for a client that showed its secret."""
        mark = secret_mark(secret)
        self._known.add(client, mark)
        csrf = base64.urlsafe_b64encode(self._entropy(CSRF_BYTES)).rstrip(b"=").decode()
        return self._issue(
            client, client.scopes, audience=AUDIENCE, life_s=self._life_s, more={"csrf": csrf, "secret": mark}
        )

    async def session(self, request: web.BaseRequest) -> Session | None:
        """Part of ``Browser``."""
        token = request.cookies.get(self._cookie_name(request))
        if token is None:
            return None
        try:
            session = await self.judge(token)
        except BadToken:
            # One sentence for all: what is wrong with a cookie is of no use to a person.
            raise unauthorized("Your session is over; log in again.", "invalid_token") from None
        if request.method not in SAFE:
            self.check_origin(request)
            # The header is missing, or not even ASCII: compared as bytes it is just another wrong one.
            given = request.headers.get(CSRF_HEADER, "").encode("utf-8", "surrogateescape")
            if not hmac.compare_digest(given, session.csrf.encode()):
                raise _forged(f"Send the session's csrf as the header {CSRF_HEADER}; GET /ui/me tells it.")
        return session

    async def judge(self, token: str) -> Session:
        """The session that a token is.

        Raises:
            BadToken
        """
        now_ms = self._clock.steady_ms()
        try:
            session = self._judge(token, now_ms)
        except ClientGone:
            await self._known.look_again()
            session = self._judge(token, now_ms)
        if await self._ended.has(session.id, now_ms):
            raise BadToken("The session was ended by its owner.")
        return session

    def _judge(self, token: str, now_ms: int) -> Session:
        found = self._verifier.verified(token, now_ms / 1000)
        claims = found.claims
        if not (isinstance(claims.csrf, str) and isinstance(claims.jti, str) and isinstance(claims.secret, str)):
            raise BadToken("The token is no session.")
        if not self._known.has_secret(found.principal.name, claims.secret, now_ms):
            raise ClientGone("The secret that opened the session is good no more.")
        return Session(principal=found.principal, id=claims.jti, csrf=claims.csrf, ends_s=int(found.exp))

    async def end(self, session: Session) -> None:
        """Log out: the session's token is none any more, wherever a copy of it is."""
        # The verifier's leeway for clocks goes on top of the token's own end.
        until_ms = session.ends_s * 1000 + LEEWAY_S * 1000
        await self._ended.add(session.id, until_ms, self._clock.steady_ms())

    def check_origin(self, request: web.BaseRequest) -> None:
        """Whether the page itself made this request, as far as the browser says; other clients say nothing.

        Raises:
            Problem: another site made it.
        """
        site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
        scheme = "https" if self._secure(request) else "http"
        good = origin is None or origin.lower() in (f"{scheme}://{request.host}".lower(), self._origin)
        if (site is not None and site != "same-origin") or not good:
            where = "" if self._origin is None else f" at {self._origin}"
            raise _forged(f"Another site made this request; open the page itself{where}, or set [page] url.")

    def cookie(self, request: web.BaseRequest, token: str) -> str:
        """The ``Set-Cookie`` that keeps a session in the browser; an empty ``token`` takes it away."""
        secure = "; Secure" if self._secure(request) else ""
        life_s = self._life_s if token else 0
        return f"{self._cookie_name(request)}={token}; Max-Age={life_s}; Path=/; HttpOnly; SameSite=Strict{secure}"

    def _cookie_name(self, request: web.BaseRequest) -> str:
        return HOST_COOKIE if self._secure(request) else COOKIE

    def _secure(self, request: web.BaseRequest) -> bool:
        return request.secure or (self._origin is not None and self._origin.startswith("https:"))


def _forged(detail: str) -> Problem:
    return Problem(HTTPStatus.FORBIDDEN, "csrf", detail)
