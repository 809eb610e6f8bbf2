"""The gateway behind its declared routes, with doubles of Central in front of it, or the real one."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
from aiohttp.test_utils import TestClient, TestServer

from evcharge.net.clock import Clock
from evcharge.sidecar.database import Database
from evcharge.sidecar.gateway.gateway import Gateway
from evcharge.sidecar.gateway.settings import GatewaySettings
from evcharge.sidecar.layout import LAYOUT
from evcharge.sidecar.routes.audit import ROUTES as AUDIT_ROUTES
from evcharge.sidecar.routes.gateway import ROUTES as GATEWAY_ROUTES
from evcharge.sidecar.routes.site import ROUTES as SITE_ROUTES
from evcharge.sidecar.web.api import Api
from evcharge.sidecar.web.openapi import ProblemBody
from evcharge.sidecar.web.problem import MEDIA_TYPE
from evcharge.sidecar.web.route import Limit, Principal, Route
from evcharge.sidecar.web.scopes import ROLES, Scope
from protocol import messages as m
from tests.sidecar.conftest import HandClock

# The limits are not what these tests are about.
ROUTES = [
    msgspec.structs.replace(route, limit=Limit("wide", 1_000_000))
    for route in (*GATEWAY_ROUTES, *SITE_ROUTES, *AUDIT_ROUTES)
]

Said = m.Reply | Exception


class FakeLink:
    """A link whose answers the test gives: one for all, or a function of the message."""

    def __init__(self) -> None:
        self.state = "connected"
        self.asked: list[m.Message] = []
        self.says: Callable[[m.Message], Said] = lambda _message: m.Reply(re=0)

    async def ask(self, message: m.Message, timeout_s: float = 1.0) -> m.Reply:
        self.asked.append(message)
        said = self.says(message)
        if isinstance(said, Exception):
            raise said
        return said

    def say(self, **reply: Any) -> None:
        self.says = lambda _message: m.Reply(re=0, **reply)

    def fail(self, error: Exception) -> None:
        self.says = lambda _message: error


class FakeDrivers(FakeLink):
    """The same for drivers' channels; ``asked`` has the driver too."""

    async def ask(self, driver_id: str, message: m.Message) -> m.Reply:  # type: ignore[override]  # not a link
        self.asked.append((driver_id, message))  # type: ignore[arg-type]
        return await super().ask(message)

    async def run(self) -> None:
        raise AssertionError("nobody runs it here")


class Named:
    """A door that believes the token's word: a role, or ``driver/anna`` with the driver that pays."""

    async def principal(self, authorization: str | None, source: str) -> Principal | None:
        if authorization is None:
            return None
        role, _, driver = authorization.removeprefix("Bearer ").partition("/")
        return Principal(name=f"{role}-{driver}", scopes=ROLES.get(role, frozenset(Scope)), driver_id=driver or None)


class Http:
    """Asks, and checks that whatever is answered is declared."""

    def __init__(self, client: TestClient[Any, Any]) -> None:
        self._client = client

    async def ask(
        self, method: str, path: str, who: str | None = "admin/anna", headers: dict[str, str] | None = None, **more: Any
    ) -> tuple[int, Any, Any]:
        """Status, body and headers."""
        head = {} if who is None else {"Authorization": f"Bearer {who}"}
        async with self._client.request(method, path, headers=head | (headers or {}), **more) as answer:
            raw = await answer.read()
            route = _route(method, path.partition("?")[0])
            if answer.status < 400:
                kind = route.answers[answer.status]
                decoded = msgspec.json.decode(raw, type=kind)
                # Every field that was sent is declared, and nothing that is declared is missing.
                assert msgspec.json.decode(msgspec.json.encode(decoded)) == msgspec.json.decode(raw)
            else:
                assert answer.status in route.refused, f"{answer.status} is not declared"
                assert answer.content_type == MEDIA_TYPE
                msgspec.json.decode(raw, type=ProblemBody)
                assert (answer.status in (429, 503)) == ("Retry-After" in answer.headers)
            return answer.status, msgspec.json.decode(raw), answer.headers

    async def get(self, path: str, who: str = "admin/anna") -> Any:
        """The body of an answer that must be 200."""
        status, body, _ = await self.ask("GET", path, who)
        assert status == 200, body
        return body

    async def refusal(self, method: str, path: str, who: str = "admin/anna", **more: Any) -> tuple[int, str]:
        """Status and code of an answer that must be a problem."""
        status, body, _ = await self.ask(method, path, who, **more)
        return status, body["code"]


def _route(method: str, path: str) -> Route:
    for route in ROUTES:
        for known in (route.path, *route.also):
            if route.method == method and re.fullmatch(re.sub(r"{\w+}", "[^/]+", known), path):
                return route
    raise AssertionError(f"{method} {path} is not declared")


@asynccontextmanager
async def served(link: Any, drivers: Any, clock: Clock | None = None, **settings: Any) -> AsyncIterator[Http]:
    """The gateway over HTTP."""
    clock = clock or HandClock()
    with TemporaryDirectory() as folder:
        database = Database.file(Path(folder) / "sidecar.sqlite")
        await database.create(LAYOUT)
        chosen = GatewaySettings(**settings)
        gateway = Gateway(link, drivers, version="1.2.3", settings=chosen, clock=clock, database=database)
        try:
            async with _http(gateway, clock) as http:
                yield http
        finally:
            await database.close()


@asynccontextmanager
async def _http(gateway: Gateway, clock: Clock) -> AsyncIterator[Http]:
    api = Api(ROUTES, gateway.handlers(), door=Named(), clock=clock)
    async with TestClient(TestServer(api.application())) as client:
        yield Http(client)
