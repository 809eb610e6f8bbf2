"""What a route is: one declaration from which come its checks, its throttle and its page of the OpenAPI document.

A route that is not declared does not exist, and one that is declared cannot be called without its checks: handlers get
a ``Call``, in which everything was judged already.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
from msgspec.structs import fields as fields_of

from evcharge.sidecar.web.problem import Problem
from evcharge.sidecar.web.scopes import Scope

if TYPE_CHECKING:
    from aiohttp import web

# Largest request body in bytes. The largest legal one, a registration, is under 300. SPEC §2
BODY_BYTES = 16 * 1024
# The cookie of a session. Over https the prefix binds it to this very host: no other one can set or read it.
COOKIE = "evcharge_session"
HOST_COOKIE = f"__Host-{COOKIE}"
# Shows that a request was made by the page that the session belongs to: no other site can read what stands in it.
CSRF_HEADER = "X-CSRF-Token"


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks: a client, by its token."""

    name: str
    """Of the client; the throttle counts it and the logs show it."""
    scopes: frozenset[Scope]
    driver_id: str | None = None
    """The driver that is charged for what this client asks for."""
    external: bool = False
    """By a token of another issuer."""
    unlimited: bool = False
    """Central, whose questions are no load that anybody chose."""


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who logged in by the page, as the cookie of a request shows it."""

    principal: Principal
    id: str
    csrf: str
    """What an unsafe request of the page has to say in a header."""
    ends_s: int
    """UTC seconds."""


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """A request that may be answered: who, from where, and what, all of it judged."""

    principal: Principal | None
    """None: nobody, on an open route."""
    session: Session | None = None
    """Whose cookie it is; None where a token spoke, or nobody."""
    source: str
    """The address that TCP shows, as a throttle counts it."""
    path: Mapping[str, str]
    query: Any = None
    body: Any = None
    request: web.BaseRequest | None = None
    """For headers that only one route reads."""
    request_id: str | None = None
    """For logs, and for Central to write beside what it does: ``trace`` of a command. None: outside of HTTP."""

    @property
    def client(self) -> str:
        """The name of the client, on a route that is not open."""
        assert self.principal is not None, "an open route has no client"
        return self.principal.name


class Stream(Protocol):
    """What is sent piece by piece behind an answer's head, until it ends or whoever reads is gone."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    async def __anext__(self) -> bytes: ...

    async def aclose(self) -> None:
        """Nobody reads any more. It is called once for each that was handed out, also before the first piece."""
        ...


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a handler says: anything that msgspec can write, or bytes as they are."""

    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = {}
    media_type: str = "application/json"
    stream: Stream | None = None
    """In place of ``body``. It is ended as soon as the token that it was opened with is no longer good."""


Handler = Callable[[Call], Awaitable[Answer]]


class Concern(Protocol):
    """One part of the sidecar: the registry, the gateway, the weather …"""

    def handlers(self) -> Mapping[str, Handler]:
        """Its handlers by the names of their routes."""
        ...

    async def run(self) -> None:
        """What it does by itself, until it is cancelled; it ends at no failure of something outside."""
        ...


class Limit(msgspec.Struct, frozen=True):
    """So many requests in so many seconds, counted for each client (each source on an open route)."""

    name: str
    requests: int
    seconds: int = 60


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """A path and method with all that is asked of a request."""

    method: str
    path: str
    name: str
    """``operationId``: snake case, and the name of its handler."""
    tag: str
    summary: str
    scope: Scope | None
    """None: open to everybody."""
    answers: Mapping[int, Any]
    """Status → type of its body; None: no body."""
    limit: Limit
    also: tuple[str, ...] = ()
    """Other paths under which it answers, for clients that know only those."""
    words: Mapping[str, str] = {}
    """Word of the path → regular expression that it has to match; another one is not found."""
    query: type[msgspec.Struct] | None = None
    body: type[msgspec.Struct] | None = None
    refusals: tuple[HTTPStatus, ...] = ()
    """What it may refuse with, besides what every route may."""
    body_bytes: int = BODY_BYTES
    bad_fields: HTTPStatus = HTTPStatus.UNPROCESSABLE_ENTITY
    """Clients that were made for another server may expect 400."""
    session: bool = False
    """Open to whoever logged in by the page, whatever the scopes; a token is of no use there."""
    nobody: bool = False
    """With ``session``: open to who did not log in, too."""
    form: bool = False
    """Whether the body is a form (RFC 6749), not JSON."""
    headers: Mapping[str, str] = {}
    """Headers that it reads, beside those of all routes, with what they do."""
    rules: Mapping[str, Any] = {}
    """What JSON Schema says of the body beside its fields: which go together."""
    streams: str | None = None
    """Media type of what a 200 streams, instead of a body."""
    recast: Callable[[Problem], Problem] | None = None
    """Says a problem in the words of a standard that has its own."""

    @property
    def bodyless(self) -> bool:
        """Whether it takes a request without a body too: nothing in it is required."""
        if self.body is None or self.form or self.rules:
            return False
        return not any(field.required for field in fields_of(self.body))

    @property
    def refused(self) -> tuple[HTTPStatus, ...]:
        """Every status of a problem that this route may answer with."""
        every = {HTTPStatus.BAD_REQUEST, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE, *self.refusals}
        if self.scope is not None or self.session:
            every |= {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
        if self.query is not None or self.body is not None:
            every.add(self.bad_fields)
        if self.body is not None:
            every |= {
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                HTTPStatus.REQUEST_TIMEOUT,
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            }
        return tuple(sorted(every))
