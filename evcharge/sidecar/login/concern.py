"""Logging in and out of the page, and who is logged in."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Annotated, Literal, Protocol

import msgspec
import structlog
from msgspec import Meta

from evcharge.net.clock import Clock
from evcharge.sidecar.login.door import PageDoor
from evcharge.sidecar.oauth.clients import Clients
from evcharge.sidecar.web.problem import unauthorized
from evcharge.sidecar.web.route import Answer, Call, Handler, Session
from evcharge.sidecar.web.scopes import ROLES, Scope

log = structlog.get_logger()

# Roles of people, as the page names them.
PEOPLE: tuple[Literal["viewer", "operator", "admin"], ...] = ("viewer", "operator", "admin")


class Login(msgspec.Struct, frozen=True, kw_only=True):
    """A client's name and secret, as ``client add`` showed them."""

    client_id: Annotated[str, Meta(min_length=1, max_length=64)]
    client_secret: Annotated[str, Meta(min_length=1, max_length=256)]


class Me(msgspec.Struct, frozen=True, kw_only=True):
    """Who is logged in."""

    name: str
    role: Literal["viewer", "operator", "admin", "custom"]
    """The role whose scopes these are; custom: no role's."""
    scopes: list[str]
    csrf: str
    """To be sent as X-CSRF-Token with every method other than GET and HEAD."""
    expires_ms: int
    """UTC."""
    now_ms: int
    """UTC."""


class Failures(Protocol):
    """Counts what did not authenticate."""

    def failed(self, source: str, what: str) -> None:
        """Count one. Raises Problem (429) when there were too many."""
        ...


class LoginConcern:
    """The handlers."""

    def __init__(self, clients: Clients, door: PageDoor, failures: Failures, clock: Clock) -> None:
        self._clients = clients
        self._door = door
        self._failures = failures
        self._clock = clock

    def handlers(self) -> Mapping[str, Handler]:
        """Part of ``Concern``."""
        return {"login": self.login, "logout": self.logout, "me": self.me}

    async def run(self) -> None:
        """Part of ``Concern``: there is nothing to do between requests."""
        await asyncio.Event().wait()

    async def login(self, call: Call) -> Answer:
        """A session for who knows a client's secret; the cookie of another one is replaced."""
        assert call.request is not None
        self._door.check_origin(call.request)
        wanted: Login = call.body
        client = await self._clients.authenticate(wanted.client_id, wanted.client_secret, self._clock.steady_ms())
        if client is None:
            self._failures.failed(call.source, "login")
            raise unauthorized("The name or the secret is not known.")
        token = self._door.open(client, wanted.client_secret)
        log.info("page.login", client=client.client_id, source=call.source)
        session = await self._door.judge(token)
        return Answer(body=self._me(session), headers={"Set-Cookie": self._door.cookie(call.request, token)})

    async def logout(self, call: Call) -> Answer:
        """End the session and take its cookie away."""
        assert call.request is not None
        assert call.session is not None, "the route asks for a session"
        await self._door.end(call.session)
        log.info("page.logout", client=call.session.principal.name, source=call.source)
        return Answer(status=204, headers={"Set-Cookie": self._door.cookie(call.request, "")})

    async def me(self, call: Call) -> Answer:
        """Who is logged in. Nobody is no mistake: a page asks before it knows, and browsers count each 401."""
        return Answer(status=204) if call.session is None else Answer(body=self._me(call.session))

    def _me(self, session: Session) -> Me:
        return Me(
            name=session.principal.name,
            role=role_of(session.principal.scopes),
            scopes=sorted(scope.value for scope in session.principal.scopes),
            csrf=session.csrf,
            expires_ms=session.ends_s * 1000,
            now_ms=self._clock.steady_ms(),
        )


def role_of(scopes: frozenset[Scope]) -> Literal["viewer", "operator", "admin", "custom"]:
    """The role of a person who may do exactly this."""
    for role in PEOPLE:
        if ROLES[role] == scopes:
            return role
    return "custom"
