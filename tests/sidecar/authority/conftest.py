"""The charge authorization over a database, with a receiver of callbacks and names that lead where the test wants."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from cryptography.fernet import Fernet
from sqlalchemy import func, select

from evcharge.sidecar.authority.concern import Authority
from evcharge.sidecar.authority.sealing import Sealer
from evcharge.sidecar.authority.settings import AuthoritySettings
from evcharge.sidecar.authority.tables import acl_table, callbacks_table, queue_table, requests_table
from evcharge.sidecar.database import Database
from evcharge.sidecar.outgoing.caller import Caller
from evcharge.sidecar.outgoing.guard import Guard
from evcharge.sidecar.outgoing.settings import OutgoingSettings
from evcharge.sidecar.routes.authority import ROUTES
from evcharge.sidecar.web.api import Api
from evcharge.sidecar.web.problem import MEDIA_TYPE
from evcharge.sidecar.web.route import Principal, Route
from evcharge.sidecar.web.scopes import Scope
from tests.sidecar.conftest import HandClock, SeededEntropy

PEPPER = b"p" * 32
SECRET = b"s" * 32
SEAL_KEY = Fernet.generate_key()
STATION = "0f8fad5b-d9cb-469f-a165-70867728950e"
TOKEN = "driver-token.of_20~chars"
TABLES = {"requests": requests_table, "queue": queue_table, "callbacks": callbacks_table, "acl": acl_table}


class Names:
    """A door that believes: the token is the client's name, with the scopes after it ("shop authority:read")."""

    async def principal(self, authorization: str | None, source: str) -> Principal | None:
        if authorization is None:
            return None
        name, *scopes = authorization.removeprefix("Bearer ").split()
        chosen = frozenset(map(Scope, scopes)) if scopes else frozenset(Scope)
        return Principal(name=name, scopes=chosen, unlimited=True)


def _pattern(route: Route) -> re.Pattern[str]:
    """Its paths, with a query or without."""
    paths = (re.sub(r"{\w+}", "[^/?]+", path) for path in (route.path, *route.also))
    return re.compile(rf"(?:{'|'.join(paths)})(?:\?.*)?$")


class Receiver:
    """Takes callbacks on 127.0.0.1; answers by its script for a path, otherwise 204."""

    def __init__(self) -> None:
        self.got: list[tuple[str, dict[str, Any], dict[str, str]]] = []
        self.script: dict[str, list[int | dict[str, str]]] = {}
        self.gates: dict[str, asyncio.Event] = {}
        """Paths that answer when their gate opens."""
        self.open = 0
        self.port = 0

    def bodies(self, path: str = "/hook") -> list[dict[str, Any]]:
        return [body for where, body, _ in self.got if where == path]

    async def handle(self, request: web.Request) -> web.Response:
        raw = await request.read()
        head = dict(request.headers)
        signed = b".".join((head["webhook-id"].encode(), head["webhook-timestamp"].encode(), raw))
        good = "v1," + base64.b64encode(hmac.digest(SECRET, signed, hashlib.sha256)).decode()
        assert head["webhook-signature"] == good
        assert request.content_type == "application/json"
        self.got.append((request.path, msgspec.json.decode(raw), head))
        self.open += 1
        try:
            if gate := self.gates.get(request.path):
                await gate.wait()
        finally:
            self.open -= 1
        script = self.script.get(request.path, [])
        answer: Any = script.pop(0) if script else 204
        if isinstance(answer, dict):
            return web.Response(status=int(answer["status"]), headers={"Retry-After": answer["retry_after"]})
        return web.Response(status=answer)


class Place:
    """What a test needs of it all."""

    def __init__(self, client: TestClient[Any, Any], concern: Authority, parts: dict[str, Any]) -> None:
        self.client = client
        self.concern = concern
        self.database: Database = parts["database"]
        self.clock: HandClock = parts["clock"]
        self.receiver: Receiver = parts["receiver"]
        self.names: dict[str, list[str]] = parts["names"]
        self.random: list[float] = parts["random"]
        self.texts: list[str] = []
        """Every answer's text."""

    async def ask(self, method: str, path: str, who: str = "shop", **more: Any) -> tuple[int, Any, Any]:
        async with self.client.request(method, path, headers={"Authorization": f"Bearer {who}"}, **more) as answer:
            text = await answer.text()
            self.texts.append(text)
            assert answer.status < 400 or answer.content_type == MEDIA_TYPE
            route = next(one for one in ROUTES if one.method == method and _pattern(one).match(path))
            declared = route.refused if answer.status >= 400 else route.answers
            assert answer.status in declared, (path, answer.status)
            if answer.status < 400 and text:
                said = msgspec.json.decode(text, type=route.answers[answer.status])
                assert msgspec.json.encode(said) == text.encode(), "as the schema says, and nothing more"
            return answer.status, msgspec.json.decode(text) if text else None, answer.headers

    def hook(self, path: str = "/hook", host: str = "receiver.example") -> str:
        return f"http://{host}:{self.receiver.port}{path}"

    async def request(self, token: str = TOKEN, who: str = "shop", **more: Any) -> str:
        """A request that has to be accepted; its id."""
        body = {"station_id": STATION, "driver_token": token, "callback_url": self.hook(), **more}
        status, said, _ = await self.ask("POST", "/api/chargingRequestValidator/", who, json=body)
        assert (status, said["status"]) == (202, "accepted"), said
        return str(said["request_id"])

    async def allow(self, token: str = TOKEN, station: str = STATION, **more: Any) -> dict[str, Any]:
        body = {"station_id": station, "driver_token": token, **more}
        status, said, _ = await self.ask("POST", "/api/insertACL/", json=body)
        assert status in (200, 201), said
        return dict(said)

    async def logged(self, request_id: str) -> dict[str, Any]:
        _, said, _ = await self.ask("GET", f"/api/getrequestlog/?request_id={request_id}")
        (entry,) = said["entries"]
        return dict(entry)

    async def rows(self, name: str) -> int:
        async with self.database.reading() as connection:
            return int(await connection.scalar(select(func.count()).select_from(TABLES[name])) or 0)

    async def until_logged(self, request_id: str, **wanted: object) -> dict[str, Any]:
        """Its entry, as soon as it says this."""
        found: dict[str, Any] = {}
        async with asyncio.timeout(20):
            while wanted != {name: found.get(name) for name in wanted}:
                found = await self.logged(request_id)
        return found

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """With the work beside the handlers."""
        running = asyncio.create_task(self.concern.run())
        try:
            yield
            assert not running.done()
        finally:
            running.cancel()
            await asyncio.wait([running])
        assert running.cancelled()


@pytest.fixture
async def database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database_url: str | None
) -> AsyncIterator[Database]:
    # A lock that stays is told at once: nobody here waits for one that goes away.
    monkeypatch.setattr("evcharge.sidecar.database.BUSY_S", 0.05)
    made = Database.file(tmp_path / "sidecar.sqlite") if database_url is None else Database.open(database_url)
    await made.create(b"2")
    yield made
    await made.close()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    made = Receiver()
    app = web.Application()
    app.router.add_post("/{rest:.*}", made.handle)
    server = TestServer(app)
    await server.start_server()
    assert server.port is not None
    made.port = server.port
    yield made
    for gate in made.gates.values():
        gate.set()
    await server.close()


MakePlace = Callable[..., Any]


@pytest.fixture
async def make_place(database: Database, receiver: Receiver, clock: HandClock) -> AsyncIterator[MakePlace]:
    """Makes one with the settings and other parts that a test needs."""
    clients: list[TestClient[Any, Any]] = []
    entropy = SeededEntropy()

    async def make(settings: AuthoritySettings | None = None, **more: Any) -> Place:
        names: dict[str, list[str]] = {"receiver.example": ["127.0.0.1"], "other.example": ["127.0.0.1"]}
        random = [0.5]

        async def lookup(host: str, _port: int) -> list[str]:
            if host not in names:
                raise OSError("no such name")
            return names[host]

        guard = more.pop("guard", None) or Guard(OutgoingSettings(allow_networks=("127.0.0.1/32",)))
        chosen = settings or AuthoritySettings(database_retry_s=0.01)
        concern = Authority(
            database,
            Caller(guard, timeout_s=chosen.callback_s, lookup=lookup),
            Sealer(PEPPER, SEAL_KEY),
            signing=(SECRET,),
            clock=clock,
            entropy=entropy,
            random=lambda: random[0],
            settings=chosen,
            **more,
        )
        api = Api(ROUTES, concern.handlers(), door=Names(), clock=clock)
        client: TestClient[Any, Any] = TestClient(TestServer(api.application()))
        await client.start_server()
        clients.append(client)
        parts = {"database": database, "clock": clock, "receiver": receiver, "names": names, "random": random}
        return Place(client, concern, parts)

    yield make
    for client in clients:
        await client.close()


@pytest.fixture
async def place(make_place: MakePlace) -> Place:
    made: Place = await make_place()
    return made
