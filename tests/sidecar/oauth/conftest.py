"""A database with client apps, signing keys, and an application that serves OAuth2 and one protected route."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from evcharge.sidecar.auth import Tokens
from evcharge.sidecar.database import Database
from evcharge.sidecar.oauth.clients import Clients, OAuthClient
from evcharge.sidecar.oauth.door import Door
from evcharge.sidecar.oauth.endpoint import JWKS_PATH, METADATA_PATH, TOKEN_PATH, OAuth, TokenForm, as_oauth
from evcharge.sidecar.oauth.keys import KeyFolder
from evcharge.sidecar.oauth.known import KnownClients
from evcharge.sidecar.oauth.tokens import Issuer, Verifier
from evcharge.sidecar.web.api import Api
from evcharge.sidecar.web.route import Answer, Call, Limit, Route
from evcharge.sidecar.web.scopes import Scope
from tests.sidecar.conftest import HandClock, SeededEntropy

ISSUER, AUDIENCE = "greencharge", "ev-clients"
WIDE = Limit("wide", 1_000)


def route(method: str, path: str, name: str, **more: Any) -> Route:
    given: dict[str, Any] = {"tag": "t", "summary": "s", "scope": None, "answers": {200: None}, "limit": WIDE}
    return Route(method=method, path=path, name=name, **(given | more))


ROUTES = [
    route("POST", TOKEN_PATH, "token", body=TokenForm, form=True, recast=as_oauth),
    route("GET", JWKS_PATH, "jwks"),
    route("GET", METADATA_PATH, "metadata"),
    route("GET", "/orchestrator/recommend", "recommend", scope=Scope.RECOMMEND),
]


class OAuthSite:
    """What a test needs of it."""

    def __init__(
        self, client: TestClient[Any, Any], database: Database, clients: Clients, keys: KeyFolder, clock: HandClock
    ) -> None:
        self.database = database
        self.client, self.clients, self.keys, self.clock = client, clients, keys, clock
        self.url = str(client.make_url("")).rstrip("/")

    async def add(self, client_id: str = "app", *scopes: Scope) -> str:
        made = OAuthClient(
            client_id=client_id, scopes=frozenset(scopes or {Scope.RECOMMEND}), created_ms=self.clock.steady_ms()
        )
        return await self.clients.add(made)


@pytest.fixture
async def site(tmp_path: Path, database_url: str | None, signing_keys: Path) -> AsyncIterator[OAuthSite]:
    clock, entropy = HandClock(), SeededEntropy()
    database = Database.file(tmp_path / "sidecar.sqlite") if database_url is None else Database.open(database_url)
    await database.create(b"1")
    clients, keys = Clients(database, entropy), KeyFolder(shutil.copytree(signing_keys, tmp_path / "jwt"))
    keys.refresh()
    own = Issuer(
        name=ISSUER, audience=AUDIENCE, key=lambda kid: found.key if (found := keys.keys.get(kid)) else None, own=True
    )
    known = KnownClients(clients, clock)
    door = Door(Tokens({}), Verifier([own], known), known, clock)
    oauth = OAuth(
        clients,
        keys,
        issuer=ISSUER,
        audience=AUDIENCE,
        url=lambda: str(client.make_url("")).rstrip("/"),
        clock=clock,
        entropy=entropy,
        failures=door,
        known=known,
    )

    async def recommend(call: Call) -> Answer:
        return Answer(body={"client": call.client})

    handlers = {"token": oauth.token, "jwks": oauth.jwks, "metadata": oauth.metadata, "recommend": recommend}
    api = Api(ROUTES, handlers, door=door, clock=clock)
    async with TestClient(TestServer(api.application())) as client:
        yield OAuthSite(client, database, clients, keys, clock)
    await database.close()
