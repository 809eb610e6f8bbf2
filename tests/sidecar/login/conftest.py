"""The sidecar as it is put together, with client apps of people, and a browser that keeps cookies or shows none."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import DummyCookieJar
from aiohttp.test_utils import TestClient, TestServer

from evcharge.sidecar.assembly import assemble
from evcharge.sidecar.bootstrap import KEYS, Opened, initialise, open_registry
from evcharge.sidecar.login.door import AUDIENCE
from evcharge.sidecar.oauth.clients import Clients, OAuthClient
from evcharge.sidecar.oauth.concern import OAuthConcern
from evcharge.sidecar.oauth.keys import KeyFolder, signs
from evcharge.sidecar.oauth.tokens import issue
from evcharge.sidecar.services import Services
from evcharge.sidecar.web.route import COOKIE, CSRF_HEADER, HOST_COOKIE, Concern
from evcharge.sidecar.web.scopes import ROLES, Scope
from tests.sidecar.conftest import HandClock, write_page

URL = "http://127.0.0.1:8080"


class LoggedIn(msgspec.Struct, frozen=True):
    """What a login gave."""

    me: dict[str, Any]
    cookie: str
    """Its value."""
    header: str
    """The whole Set-Cookie."""
    name: str
    """Of the cookie."""

    @property
    def headers(self) -> dict[str, str]:
        """What the browser sends along from now on."""
        return {"Cookie": f"{self.name}={self.cookie}"}

    @property
    def unsafe(self) -> dict[str, str]:
        """What the page sends along with a method that changes something."""
        return {**self.headers, CSRF_HEADER: self.me["csrf"]}


class LoginSite:
    """A served sidecar."""

    def __init__(
        self, client: TestClient[Any, Any], opened: Opened, concerns: list[Concern], folder: Path, clock: HandClock
    ) -> None:
        self.client, self.opened, self.clock = client, opened, clock
        self.database = opened.store.database
        self.clients = Clients(self.database, os.urandom)
        self.operator = (folder / "operator.token").read_text().strip()
        self._keys = KeyFolder(folder / KEYS)
        self._oauth = next(concern for concern in concerns if isinstance(concern, OAuthConcern))

    async def add(self, name: str = "anna", role: str = "operator", *, scopes: frozenset[Scope] | None = None) -> str:
        """A person's account: its secret."""
        made = OAuthClient(
            client_id=name, scopes=ROLES[role] if scopes is None else scopes, created_ms=self.clock.steady_ms()
        )
        return await self.clients.add(made)

    async def look(self) -> None:
        """What the sidecar does by itself every few seconds."""
        await self._oauth._known.refresh()

    async def ask(self, method: str, path: str, headers: dict[str, str] | None = None, **more: Any) -> tuple[int, Any]:
        """Status and decoded body."""
        async with self.client.request(method, path, headers=headers, **more) as answer:
            data = await answer.read()
            return answer.status, msgspec.json.decode(data) if data else None

    async def try_login(self, name: str, secret: str, headers: dict[str, str] | None = None) -> tuple[int, Any, str]:
        """Status, body and Set-Cookie of a login."""
        body = {"client_id": name, "client_secret": secret}
        async with self.client.post("/ui/login", json=body, headers=headers) as answer:
            return answer.status, await answer.json(content_type=None), answer.headers.get("Set-Cookie", "")

    async def login(self, name: str, secret: str) -> LoggedIn:
        """A login that must succeed."""
        status, me, header = await self.try_login(name, secret)
        assert status == 200, me
        cookie, _, _ = header.partition(";")
        kind, _, value = cookie.partition("=")
        assert kind in (COOKIE, HOST_COOKIE)
        return LoggedIn(me, value, header, kind)

    def token(self, name: str, scopes: frozenset[Scope], *, audience: str = AUDIENCE, **more: Any) -> str:
        """A token signed with the sidecar's own key."""
        self._keys.refresh()
        now_ms = self.clock.steady_ms()
        asked: dict[str, Any] = {"issuer": URL, "now_s": now_ms // 1000, "life_s": 900, "since": now_ms}
        return issue(
            signs(self._keys.keys.values(), now_ms),
            audience=audience,
            client=name,
            scopes=scopes,
            entropy=os.urandom,
            **(asked | more),
        )


MakeLoginSite = Callable[..., Any]


@pytest.fixture
def built_page(tmp_path: Path) -> Path:
    """A folder with all that a page has to have."""
    return write_page(tmp_path / "page")


@pytest.fixture
async def make_login_site(
    tmp_path: Path, clock: HandClock, signing_keys: Path, database_url: str | None, built_page: Path
) -> AsyncIterator[MakeLoginSite]:
    """Makes one with the services and the page that a test needs; a second one serves the same data directory."""
    sites: list[LoginSite] = []
    folder = tmp_path / "registry"

    async def make(services: Services | None = None, page: Path = built_page, **server: Any) -> LoginSite:
        if not sites:
            await initialise(folder, URL, clock=clock, entropy=os.urandom, database_url=database_url)
            shutil.copytree(signing_keys, folder / KEYS)
        opened = await open_registry(folder, clock=clock, entropy=os.urandom, database_url=database_url)
        made = assemble(folder, opened, clock=clock, entropy=os.urandom, services=services, page=page)
        client: TestClient[Any, Any] = TestClient(TestServer(made.application, **server), cookie_jar=DummyCookieJar())
        await client.start_server()
        sites.append(LoginSite(client, opened, list(made.concerns), folder, clock))
        return sites[-1]

    yield make
    for site in sites:
        await site.client.close()
        await site.opened.store.close()


@pytest.fixture
async def site(make_login_site: MakeLoginSite) -> LoginSite:
    made: LoginSite = await make_login_site()
    return made
