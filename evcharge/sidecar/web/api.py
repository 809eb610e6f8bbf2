"""From declared routes to an aiohttp application: for each request the same steps in the same order.

    token or cookie → scope → throttle → words of the path → query → body (bounded in bytes and time) → handler → answer

Whatever goes wrong on the way is a problem (RFC 9457); what nobody foresaw is a 500 whose trace is in the log alone.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from typing import Any, Protocol
from urllib.parse import parse_qsl

import msgspec
import structlog
from aiohttp import web
from msgspec.structs import fields as fields_of
from sqlalchemy.exc import SQLAlchemyError

from evcharge.net.clock import Clock
from evcharge.sidecar.web.problem import Problem, bad_request, forbidden, not_found, unauthorized, unavailable
from evcharge.sidecar.web.proxies import Proxies
from evcharge.sidecar.web.reading import decode_object, read
from evcharge.sidecar.web.route import Answer, Call, Handler, Principal, Route, Session
from evcharge.sidecar.web.streaming import send_stream
from evcharge.sidecar.web.tally import HttpTally
from evcharge.sidecar.web.throttle import Windows, headers
from evcharge.sidecar.web.tracing import CLIENT, DETAIL, ROUTE, Tracing, current

log = structlog.get_logger()

# Time for a whole request body, in seconds: 16 KiB over the slowest line that is of use.
BODY_S = 10.0
# Clients and sources that the throttles remember, each: far more than a site has; memory stays bounded.
CLIENTS = 4_096
# Parameters of one query: the longest declared one has twelve.
QUERY_FIELDS = 32
# When to ask again after the database said no, in seconds.
DATABASE_RETRY_S = 5

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Without this the versions of Python and aiohttp stand in every answer.
    "Server": "evcharge",
}


# Who asks, and the session where a cookie says so.
Admitted = tuple[Principal | None, Session | None]


class Door(Protocol):
    """Who decides whose token is good."""

    async def principal(self, authorization: str | None, source: str) -> Principal | None:
        """Who asks; None without a token.

        Raises:
            Problem: 401 for a token that is none of ours, 429 after too many of those from one source.
        """
        ...


class Browser(Protocol):
    """Who decides whose session is good."""

    async def session(self, request: web.BaseRequest) -> Session | None:
        """Who logged in; None without a cookie.

        Raises:
            Problem: 401 for a session that is none or over, 403 for a request that another site may have made.
        """
        ...


class Api:
    """The routes with their handlers, as an application."""

    def __init__(
        self,
        routes: Sequence[Route],
        handlers: Mapping[str, Handler],
        *,
        door: Door,
        clock: Clock,
        browser: Browser | None = None,
        clients: int = CLIENTS,
        entropy: Callable[[int], bytes] = os.urandom,
        proxies: Proxies | None = None,
    ) -> None:
        """``handlers`` by the routes' names; without ``browser`` no cookie is looked at; ``entropy`` for requests' ids;
        ``proxies`` are believed about whom they speak for.

        Raises:
            ValueError: a route without a handler, or a handler without a route.
        """
        if {route.name for route in routes} != set(handlers):
            raise ValueError(f"routes and handlers differ: {sorted({r.name for r in routes} ^ set(handlers))}")
        self._door = door
        self._browser = browser
        self._clock = clock
        self._tracing = Tracing(clock, entropy, proxies)
        # Strangers' sources are counted apart: however many there are, no client's window is forgotten for them.
        self._clients = Windows(clients)
        self._sources = Windows(clients)
        self._others = Windows(clients)
        self._routes = routes
        self.tally = HttpTally()
        self._names: dict[web.AbstractRoute, str] = {}
        self._methods: dict[str, set[str]] = {}
        for route in routes:
            for path in (route.path, *route.also):
                self._methods.setdefault(path, set()).add(route.method)
        self._handlers = handlers

    def application(self) -> web.Application:
        """Ready to be served; callers may add what is no JSON (a page)."""
        most = max(route.body_bytes for route in self._routes)
        middlewares = [self._tracing.middleware, self._counting, self._allowing, answer_problems]
        app = web.Application(middlewares=middlewares, client_max_size=most)
        for route in self._routes:
            handle = self._handle(route)
            for path in (route.path, *route.also):
                added = app.router.add_route(route.method, path, handle, expect_handler=self._expect)
                self._names[added] = route.name
        app.on_response_prepare.append(_add_headers)
        app.on_response_prepare.append(self._tracing.add_header)
        return app

    async def _expect(self, request: web.Request) -> web.StreamResponse | None:
        # aiohttp asks this one before any middleware.
        with self._tracing.during(request):
            return await _expect(request)

    @web.middleware
    async def _counting(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        began_s, answer = self._clock.monotonic(), None
        try:
            answer = await handler(request)
            return answer
        finally:
            # A stream takes as long as its reader likes: that says nothing.
            took_s = self._clock.monotonic() - began_s if isinstance(answer, web.Response) else None
            route = request.match_info.route
            self.tally.note(self._names.get(route) or route.name, None if answer is None else answer.status, took_s)

    @web.middleware
    async def _allowing(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """A path that is declared as it stands has its own methods: a word of another one that fits it adds none."""
        answer = await handler(request)
        methods = self._methods.get(request.path)
        if answer.status == HTTPStatus.METHOD_NOT_ALLOWED and methods:
            return _problem(_not_allowed(methods))
        return answer

    def _handle(self, route: Route) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        handler = self._handlers[route.name]
        words = {word: re.compile(pattern) for word, pattern in route.words.items()}

        async def handle(request: web.Request) -> web.StreamResponse:
            request[ROUTE] = route.name
            source = self._tracing.source_of(request)
            # A form comes from who has no token yet: its header is the client's own secret, not for this door.
            header = None if route.form else request.headers.get("Authorization")
            admit = partial(self._admit, route, request, header, source)
            principal, session = await admit()
            if principal is not None:
                request[CLIENT] = principal.name
                # Central asks once for each peer that connects: thousands at once after a restart.
                request[DETAIL] = principal.unlimited
            if route.scope is not None:
                if principal is None:
                    raise _who(route)
                if route.scope not in principal.scopes:
                    raise forbidden(route.scope.value)
            said = self._throttle(route, principal, source)
            path = dict(request.match_info)
            for word, pattern in words.items():
                if pattern.fullmatch(path[word]) is None:
                    raise not_found(f"There is no such {word}.")
            try:
                answer = await handler(
                    Call(
                        principal=principal,
                        session=session,
                        source=source,
                        path=path,
                        query=_query(request, route),
                        body=await _body(request, route),
                        request=request,
                        request_id=current(),
                    )
                )
            except Problem as error:
                problem = error if route.recast is None else route.recast(error)
                problem.headers = {**said, **problem.headers}
                raise problem from None
            if answer.stream is not None:
                return await send_stream(request, answer, said, partial(_stays, admit, (principal, session)))
            return _response(answer, said)

        return handle

    async def _admit(self, route: Route, request: web.Request, header: str | None, source: str) -> Admitted:
        """Who asks, by token or cookie. Raises Problem."""
        principal = None if route.session else await self._door.principal(header, source)
        session = None
        if header is None and self._browser is not None and (route.scope is not None or route.session):
            session = await self._browser.session(request)
            principal = None if session is None else session.principal
        if route.session and session is None and not route.nobody:
            raise unauthorized("Log in first: POST /ui/login.")
        return principal, session

    def _throttle(self, route: Route, principal: Principal | None, source: str) -> dict[str, str]:
        """Count the request; the headers that tell what is left.

        Raises:
            Problem: there were too many.
        """
        if principal is not None and principal.unlimited:
            return {}
        if principal is None:
            windows, name = self._sources, source
        else:
            # Another issuer may have subjects without number: they forget each other, and none of ours.
            windows, name = self._others if principal.external else self._clients, principal.name
        verdict = windows.take(name, route.limit, self._clock.monotonic())
        said = headers(route.limit, verdict)
        if verdict.allowed:
            return said
        self.tally.throttled += 1
        log.warning("http.throttled", route=route.name, client=name, source=source)
        allowed = f"{route.limit.requests} requests in {route.limit.seconds} s"
        detail = f"{allowed} are the limit here; wait {verdict.reset_s} s."
        raise Problem(HTTPStatus.TOO_MANY_REQUESTS, "throttled", detail, headers=said)


async def _stays(admit: Callable[[], Awaitable[Admitted]], admitted: Admitted) -> bool:
    """Whether whoever opened a stream may still do all that it could then."""
    try:
        return await admit() == admitted
    except Problem:
        return False


async def _expect(request: web.Request) -> web.StreamResponse | None:
    """``Expect: 100-continue``, and nothing else that somebody may expect (RFC 9110 §10.1.1)."""
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        # What was written is no answer yet.
        request.writer.output_size = 0
        return None
    detail = "Only Expect: 100-continue is understood."
    return _problem(Problem(HTTPStatus.EXPECTATION_FAILED, "expectation_failed", detail))


@web.middleware
async def answer_problems(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Everything that goes wrong, as a problem."""
    try:
        return await handler(request)
    except Problem as error:
        return _problem(error)
    except web.HTTPRequestEntityTooLarge:
        return _problem(
            Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", "The body is larger than this route takes.")
        )
    except web.HTTPMethodNotAllowed as error:
        return _problem(_not_allowed(error.allowed_methods))
    except web.HTTPNotFound:
        return _problem(not_found("There is nothing at this path; /openapi.json lists what there is."))
    except web.HTTPException as error:
        return _problem(Problem(HTTPStatus(error.status), "http", f"{error.reason}."))
    except ConnectionError:
        # Who asked has hung up; nobody reads an answer.
        raise
    except (SQLAlchemyError, OSError) as error:
        # The text of a database error may quote what was being stored: its class is enough here.
        log.error("http.database_failed", kind=type(error).__name__)  # noqa: TRY400
        return _problem(
            unavailable(
                "database", "The sidecar's database does not answer; look at its log and disk.", DATABASE_RETRY_S
            )
        )
    except Exception:
        # Our own bug ends this one request; its trace is for the log, not for a stranger.
        log.exception("http.failed", method=request.method, route=request.get(ROUTE))
        detail = "The sidecar made a mistake of its own; its log has the trace."
        return _problem(Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "internal", detail))


def _not_allowed(methods: Iterable[str]) -> Problem:
    allowed = ", ".join(sorted(methods))
    detail = f"This path answers {allowed}."
    return Problem(HTTPStatus.METHOD_NOT_ALLOWED, "method_not_allowed", detail, headers={"Allow": allowed})


def _who(route: Route) -> Problem:
    scope = "" if route.scope is None else route.scope.value
    return Problem(
        HTTPStatus.UNAUTHORIZED,
        "unauthorized",
        f"Send a token with the scope {scope} as 'Authorization: Bearer TOKEN'.",
        headers={"WWW-Authenticate": 'Bearer realm="evcharge"'},
    )


def _query(request: web.Request, route: Route) -> Any:
    given: dict[str, object] = {}
    try:
        pairs = parse_qsl(
            request.rel_url.raw_query_string,
            keep_blank_values=True,
            errors="strict",
            max_num_fields=QUERY_FIELDS,
        )
    except ValueError:
        raise bad_request(f"The query cannot be read: at most {QUERY_FIELDS} parameters, in UTF-8.") from None
    for name, value in pairs:
        if name in given:
            raise bad_request("A parameter of the query is there twice.")
        given[name] = value
    if route.query is None:
        return None
    try:
        return read(given, route.query, text=True)
    except Problem as error:
        raise _bad_fields(error, route) from None


async def _body(request: web.Request, route: Route) -> Any:
    if route.body is None:
        return None
    if route.bodyless and not request.body_exists:
        return read({}, route.body)
    wanted = "application/x-www-form-urlencoded" if route.form else "application/json"
    if request.content_type != wanted:
        raise Problem(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", f"Send the body as 'Content-Type: {wanted}'."
        )
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        # A few bytes of a compressed body may be gigabytes.
        detail = "Send the body as it is, without Content-Encoding."
        raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail)
    if request.content_length is not None and request.content_length > route.body_bytes:
        raise web.HTTPRequestEntityTooLarge(max_size=route.body_bytes, actual_size=request.content_length)
    try:
        async with asyncio.timeout(BODY_S):
            data = await request.read()
    except TimeoutError:
        raise Problem(
            HTTPStatus.REQUEST_TIMEOUT, "timeout", f"The body did not arrive in {BODY_S:g} s; send it again."
        ) from None
    if len(data) > route.body_bytes:
        raise web.HTTPRequestEntityTooLarge(max_size=route.body_bytes, actual_size=len(data))
    return read_body(data, route)


def read_body(data: bytes, route: Route) -> Any:
    """The body of a route as its struct.

    Raises:
        Problem
    """
    assert route.body is not None
    try:
        if route.form:
            # RFC 6749 §3.2: what is not known is ignored, and what has no value is not there.
            known = {field.encode_name for field in fields_of(route.body)}
            return read({name: value for name, value in _form(data).items() if name in known and value}, route.body)
        return read(decode_object(data), route.body)
    except Problem as error:
        raise _bad_fields(error, route) from None


def _bad_fields(problem: Problem, route: Route) -> Problem:
    """With the status that this route's clients expect for bad fields, of a query as of a body."""
    if problem.fields:
        problem.status = route.bad_fields
    return problem


def _form(data: bytes) -> dict[str, object]:
    try:
        pairs = parse_qsl(data.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=QUERY_FIELDS)
    except ValueError:
        raise bad_request("The body is no form in application/x-www-form-urlencoded.") from None
    if len({name for name, _ in pairs}) < len(pairs):
        raise bad_request("A parameter of the form is there twice.")
    return dict(pairs)


def _response(answer: Answer, more: Mapping[str, str]) -> web.Response:
    if answer.body is None:
        return web.Response(status=answer.status, headers={**more, **answer.headers})
    data = answer.body if isinstance(answer.body, bytes) else msgspec.json.encode(answer.body)
    return web.Response(
        status=answer.status, body=data, content_type=answer.media_type, headers={**more, **answer.headers}
    )


def _problem(problem: Problem) -> web.Response:
    return web.Response(
        status=int(problem.status),
        body=msgspec.json.encode(problem.body(current())),
        content_type=problem.media_type,
        headers=problem.headers,
    )


async def _add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    # Not set by setdefault: aiohttp has put its own there.
    response.headers["Server"] = HEADERS["Server"]
