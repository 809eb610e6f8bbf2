"""The registry over HTTP: routes, errors, headers and throttles; every answer is JSON and is never cached.

======  ==================  ==========  =====================================================================
POST    /register           operator    {role, entity, username?, valid_s?} → 201: the credential, once
DELETE  /register/{id}      operator    revokes; id: a username, or an entity with one credential
GET     /list               any token   ?after=&limit=&role= → {credentials, next}
GET     /get/{id}           any token   one credential, without secrets
POST    /verify             open        {username, password} → 200 or a generic 401; throttled per source
POST    /verify             service     {username, public_key} → {record}, signed; not throttled
GET     /changes            service     ?after=REV&wait=S → {rev, records}; a long poll
GET     /health             open        {status, central, rev}
======  ==================  ==========  =====================================================================

An error is ``{error, sentence}``: a code for programs and what to do for people; 400 has ``fields`` as well.
Sources are the addresses that TCP shows: behind a proxy all clients are one source, so the proxy must
throttle too.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any

import msgspec
import structlog
from aiohttp import web
from sqlalchemy.exc import SQLAlchemyError

from evcharge.net.clock import Clock
from evcharge.sidecar.auth import Scope, Throttle, Tokens, source_of
from evcharge.sidecar.registry import Invalid, Registry, RegistryRefused, bad_names
from evcharge.sidecar.settings import LIST_ROWS, SidecarSettings
from protocol.credentials import KEY_SIZE, ROLES, Role, b64url_decode

log = structlog.get_logger()

# Time for a whole request body, in seconds: 16 KiB over the slowest line that is of use.
BODY_S = 10.0
# Largest revision: the largest integer that every JSON reader keeps exact. SPEC §2
MAX_REV = 2**53 - 1

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Without this the versions of Python and aiohttp stand in every answer.
    "Server": "evcharge",
}

# The HTTP status of each refusal of the registry.
STATUS = {
    "bad_request": HTTPStatus.BAD_REQUEST,
    "exists": HTTPStatus.CONFLICT,
    "ambiguous": HTTPStatus.CONFLICT,
    "pinned": HTTPStatus.CONFLICT,
    "rev_ahead": HTTPStatus.CONFLICT,
    "unknown": HTTPStatus.NOT_FOUND,
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ApiError(Exception):
    """An answer that is an error."""

    def __init__(self, status: HTTPStatus, code: str, sentence: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(sentence)
        self.status = status
        self.code = code
        self.sentence = sentence
        self.headers = dict(headers or {})


class Api:
    """The handlers with what they need."""

    def __init__(
        self,
        registry: Registry,
        tokens: Tokens,
        clock: Clock,
        settings: SidecarSettings,
        central: Callable[[], str],
    ) -> None:
        self._registry = registry
        self._tokens = tokens
        self._clock = clock
        self._settings = settings
        self._central = central
        self._checks = Throttle(settings.verify_burst, settings.verify_per_s, settings.sources)
        self._failures = Throttle(settings.failure_burst, settings.failure_per_s, settings.sources)
        self._waiters = 0

    async def register(self, request: web.Request) -> web.Response:
        self._require(request, Scope.OPERATOR)
        body = await _body(request)
        role, entity, username = read_registration(body)
        valid_s = read_life(body)
        answer = await self._registry.register(role, entity, username, valid_s=valid_s)
        life = {} if valid_s is None else {"valid_s": valid_s}
        log.info("registry.registered", role=role.label, entity=entity, source=source_of(request.remote), **life)
        return web.Response(status=201, body=answer, content_type="application/json")

    async def revoke(self, request: web.Request) -> web.Response:
        self._require(request, Scope.OPERATOR)
        view = await self._registry.revoke(request.match_info["id"])
        log.info("registry.revoked", username=view.username, rev=view.rev, source=source_of(request.remote))
        return _json(view)

    async def list_page(self, request: web.Request) -> web.Response:
        self._require(request, Scope.OPERATOR, Scope.SERVICE)
        bad: dict[str, str] = {}
        limit = _whole(request, "limit", LIST_ROWS, 1, bad)
        wanted = request.query.get("role")
        if wanted is not None and wanted not in ROLES:
            bad["role"] = f"is one of {', '.join(ROLES)}."
        if bad:
            raise Invalid(bad)
        role = None if wanted is None else ROLES[wanted]
        rows, following = await self._registry.page(request.query.get("after", ""), limit, role)
        return _json({"credentials": rows, "next": following})

    async def get(self, request: web.Request) -> web.Response:
        self._require(request, Scope.OPERATOR, Scope.SERVICE)
        return _json(await self._registry.get(request.match_info["id"]))

    async def verify(self, request: web.Request) -> web.Response:
        source = source_of(request.remote)
        # Central may share its address with a guesser (loopback, a proxy): its token passes before any throttle.
        if self._tokens.scope_of(request.headers.get("Authorization")) is not Scope.SERVICE:
            self._spend(self._checks, source, "Too many password checks from this address")
        body = await _body(request)
        if "public_key" in body:
            self._require(request, Scope.SERVICE)
            return await self._look_up(body)
        bad = {name: "is a text." for name in ("username", "password") if not isinstance(body.get(name), str)}
        if bad:
            raise Invalid(bad)
        record = await self._registry.verify_password(str(body["username"]), str(body["password"]))
        if record is None:
            self._failed(source)
            raise ApiError(HTTPStatus.UNAUTHORIZED, "invalid", "Username or password is wrong.")
        return _json(
            {
                "valid": True,
                "username": record.username,
                "role": record.role.label,
                "entity": record.entity,
            }
        )

    async def _look_up(self, body: Mapping[str, object]) -> web.Response:
        bad: dict[str, str] = {}
        username, text = body.get("username"), body.get("public_key")
        if not isinstance(username, str):
            bad["username"] = "is a text."
        key = _key(text)
        if key is None:
            bad["public_key"] = f"is {KEY_SIZE} bytes in base64url without padding."
        if bad or key is None:
            raise Invalid(bad)
        signed = await self._registry.look_up(str(username), key)
        if signed is None:
            raise ApiError(HTTPStatus.NOT_FOUND, "unknown", "No credential has this username and key.")
        return _json({"record": signed})

    async def changes(self, request: web.Request) -> web.Response:
        self._require(request, Scope.SERVICE)
        bad: dict[str, str] = {}
        after = _whole(request, "after", 0, 0, bad)
        wait_s = _seconds(request, "wait", self._settings.wait_s, bad)
        if bad:
            raise Invalid(bad)
        if wait_s > 0 and self._waiters >= self._settings.waiters:
            raise ApiError(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "busy",
                "Too many followers are waiting for changes; ask again in a second, or without wait.",
                {"Retry-After": "1"},
            )
        self._waiters += 1
        try:
            rev, records = await self._registry.changes(after, wait_s)
        finally:
            self._waiters -= 1
        return _json({"rev": rev, "records": records})

    async def health(self, _request: web.Request) -> web.Response:
        return _json({"status": "ok", "central": self._central(), "rev": self._registry.rev})

    def _require(self, request: web.Request, *scopes: Scope) -> None:
        """Let only tokens of these scopes pass; a good token passes from a throttled source, too."""
        scope = self._tokens.scope_of(request.headers.get("Authorization"))
        if scope in scopes:
            return
        names = " or ".join(item.value for item in scopes)
        if scope is not None:
            sentence = f"This token is the {scope.value} token; this request needs the {names} token."
            raise ApiError(HTTPStatus.FORBIDDEN, "forbidden", sentence)
        self._failed(source_of(request.remote))
        raise ApiError(
            HTTPStatus.UNAUTHORIZED,
            "unauthorized",
            f"Send the {names} token as 'Authorization: Bearer TOKEN'.",
            {"WWW-Authenticate": 'Bearer realm="evcharge"'},
        )

    def _failed(self, source: str) -> None:
        """Count a failed authentication; past the allowed number it is an incident and a 429."""
        log.warning("registry.authentication_failed", source=source)
        self._spend(self._failures, source, "Too many failed authentications from this address")

    def _spend(self, throttle: Throttle, source: str, what: str) -> None:
        now = self._clock.monotonic()
        if throttle.take(source, now):
            return
        wait_s = throttle.wait_s(source, now)
        log.warning("registry.throttled", source=source, retry_after_s=wait_s)
        raise ApiError(
            HTTPStatus.TOO_MANY_REQUESTS,
            "throttled",
            f"{what}; wait {wait_s} s.",
            {"Retry-After": str(wait_s)},
        )


def make_app(
    registry: Registry,
    tokens: Tokens,
    clock: Clock,
    settings: SidecarSettings | None = None,
    central: Callable[[], str] = lambda: "unset",
) -> web.Application:
    """The HTTP application. ``central`` answers connected, disconnected or unset."""
    settings = settings or SidecarSettings()
    api = Api(registry, tokens, clock, settings, central)
    app = web.Application(middlewares=[answer_errors], client_max_size=settings.body_bytes)
    app.add_routes(
        [
            web.post("/register", api.register),
            web.delete("/register/{id}", api.revoke),
            web.get("/list", api.list_page, allow_head=False),
            web.get("/get/{id}", api.get, allow_head=False),
            web.post("/verify", api.verify),
            web.get("/changes", api.changes, allow_head=False),
            web.get("/health", api.health),
        ]
    )
    app.on_response_prepare.append(_add_headers)
    app.on_shutdown.append(_wake(registry))
    return app


def read_registration(body: Mapping[str, object]) -> tuple[Role, str, str | None]:
    """Role, entity and username of a registration; ``cp_id`` and ``id`` stand for a charge point's entity.

    Raises:
        Invalid: names every bad field.
    """
    bad: dict[str, str] = {}
    label = body.get("role", "cp")
    role = ROLES.get(label) if isinstance(label, str) else None
    names = ("entity", "cp_id", "id") if role in (None, Role.CP) else ("entity",)
    given = {name: body[name] for name in names if name in body}
    entity = next(iter(given.values()), None)
    if not given:
        bad["entity"] = "is missing."
    elif not isinstance(entity, str):
        bad[next(iter(given))] = "is a text."
    elif any(other != entity for other in given.values()):
        bad["entity"] = f"has two values, in {' and '.join(given)}; give one."
    username = body.get("username")
    if username is not None and not isinstance(username, str):
        bad["username"] = "is a text."
    text = entity if isinstance(entity, str) else "x"
    name = username if isinstance(username, str) else None
    # An unknown role is reported like one that cannot be registered here.
    bad = {**bad_names(Role.CENTRAL if role is None else role, text, name), **bad}
    if bad or role is None:
        raise Invalid(bad)
    return role, text, name


def read_life(body: Mapping[str, object]) -> int | None:
    """The life in seconds that a registration asks for, None when it does not.

    Raises:
        Invalid: it is no whole number; the registry judges its range.
    """
    value = body.get("valid_s")
    # A bool is an int to Python, but no number of seconds.
    if value is None or type(value) is int:
        return value
    raise Invalid({"valid_s": "is a whole number of seconds."})


@web.middleware
async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every refusal into its JSON. Anything unexpected is aiohttp's 500, logged with its trace."""
    try:
        return await handler(request)
    except ApiError as error:
        return _error(error.status, error.code, error.sentence, headers=error.headers)
    except Invalid as error:
        return _error(STATUS[error.code], error.code, error.sentence, fields=error.fields)
    except RegistryRefused as error:
        return _error(STATUS[error.code], error.code, error.sentence)
    except web.HTTPRequestEntityTooLarge:
        return _error(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", "The body is larger than 16 KiB.")
    except web.HTTPMethodNotAllowed as error:
        allowed = ", ".join(sorted(error.allowed_methods))
        return _error(
            HTTPStatus.METHOD_NOT_ALLOWED,
            "method_not_allowed",
            f"This path answers {allowed}.",
            headers={"Allow": allowed},
        )
    except web.HTTPException as error:
        return _error(HTTPStatus(error.status), "http", f"{error.reason}; see /health and the manual's routes.")
    except (SQLAlchemyError, OSError) as error:
        # The text of a database error may quote what was being stored: its class is enough here.
        log.error("registry.database_failed", kind=type(error).__name__)  # noqa: TRY400
        return _error(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "database",
            "The registry's database does not answer; look at the sidecar's log and disk.",
            headers={"Retry-After": "5"},
        )


async def _body(request: web.Request) -> dict[str, object]:
    """The request's JSON object.

    Raises:
        ApiError: no JSON, not an object, or not there in time.
        HTTPRequestEntityTooLarge
    """
    try:
        async with asyncio.timeout(BODY_S):
            data = await request.read()
    except TimeoutError:
        raise ApiError(
            HTTPStatus.REQUEST_TIMEOUT, "timeout", "The body did not arrive in 10 s; send it again."
        ) from None
    try:
        value = msgspec.json.decode(data)
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise ApiError(HTTPStatus.BAD_REQUEST, "bad_request", "The body is not JSON.") from None
    if not isinstance(value, dict):
        raise ApiError(HTTPStatus.BAD_REQUEST, "bad_request", "The body is JSON, but not an object.")
    return value


def _key(text: object) -> bytes | None:
    try:
        key = b64url_decode(text) if isinstance(text, str) else b""
    except ValueError:
        return None
    return key if len(key) == KEY_SIZE else None


def _whole(request: web.Request, name: str, default: int, least: int, bad: dict[str, str]) -> int:
    text = request.query.get(name)
    if text is None:
        return default
    # isascii: isdigit alone accepts digits that int() does not; 16 digits hold every allowed number.
    value = int(text) if text.isascii() and text.isdigit() and len(text) <= 16 else -1
    if not least <= value <= MAX_REV:
        bad[name] = f"is a whole number from {least}."
        return default
    return value


def _seconds(request: web.Request, name: str, most: float, bad: dict[str, str]) -> float:
    try:
        value = float(request.query.get(name, "0"))
    except ValueError:
        value = math.nan
    if not value >= 0:
        bad[name] = f"is seconds, 0 to {most:g}."
        return 0.0
    return min(value, most)


def _json(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(
        status=status, body=msgspec.json.encode(value), content_type="application/json", headers=headers
    )


def _error(
    status: HTTPStatus,
    code: str,
    sentence: str,
    *,
    headers: Mapping[str, str] | None = None,
    fields: Mapping[str, str] | None = None,
) -> web.Response:
    body: dict[str, object] = {"error": code, "sentence": sentence}
    if fields is not None:
        body["fields"] = fields
    return _json(body, int(status), headers)


async def _add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(HEADERS)


def _wake(registry: Registry) -> Callable[[web.Application], Awaitable[None]]:
    async def wake(_app: web.Application) -> None:
        registry.close()

    return wake
