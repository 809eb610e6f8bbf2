"""A registry in a fresh directory, its HTTP application, and a clock that tests advance."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp.test_utils import TestClient, TestServer
from sqlalchemy import select

from evcharge.sidecar.assembly import KEYS, assemble
from evcharge.sidecar.bootstrap import Opened, initialise, open_registry
from evcharge.sidecar.database import Database, metadata
from evcharge.sidecar.oauth.keys import KeyFolder
from evcharge.sidecar.services import Services
from evcharge.sidecar.settings import SidecarSettings
from protocol.credentials import b64url_decode
from protocol.records import RegistryRecord, SignedRecord, open_record
from tests.support.postgres import Postgres, running

START_MS = 1_763_683_200_000


async def everything(database: Database) -> bytes:
    """Every value of every table, and the file's bytes where it is one."""
    file = database.engine.url.database if database.sqlite else None
    found = [] if file is None else [path.read_bytes() for path in Path(file).parent.glob("*.sqlite*")]
    async with database.reading() as connection:
        for table in metadata.sorted_tables:
            for row in await connection.execute(select(table)):
                found += [value if isinstance(value, bytes) else str(value).encode() for value in row]
    return b"\n".join(found)


class HandClock:
    """Time that only the test moves."""

    speed = 1.0

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s

    def steady_ms(self) -> int:
        return START_MS + int((self.now_s - 1000.0) * 1000)

    def site_ms(self) -> int:
        return self.steady_ms()

    def advance(self, seconds: float) -> None:
        self.now_s += seconds


class SeededEntropy:
    """Bytes that are random enough and the same in every run; remembers what it gave."""

    def __init__(self) -> None:
        self.count = 0
        self.given: list[bytes] = []

    def __call__(self, size: int) -> bytes:
        self.count += 1
        value = hashlib.shake_256(self.count.to_bytes(8, "big")).digest(size)
        self.given.append(value)
        return value


class Site:
    """A served registry with its tokens, for tests of the HTTP side."""

    def __init__(self, opened: Opened, client: TestClient[Any, Any], directory: Path, clock: HandClock) -> None:
        self.opened = opened
        self.client = client
        self.directory = directory
        self.clock = clock
        self.database = opened.store.database
        self.operator = (directory / "operator.token").read_text().strip()
        self.central = msgspec.json.decode((directory / "central.json").read_bytes())
        self.service = str(self.central["registry"]["service_token"])
        self.signer = b64url_decode(self.central["registry"]["public_key"])
        self.answers: list[str] = []
        """The text and headers of every answer but registrations."""

    async def ask(
        self, method: str, path: str, *, token: str | None = None, body: object = None, data: bytes | None = None
    ) -> tuple[int, Any, dict[str, str]]:
        """Status, decoded JSON and headers of one request."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        if method == "POST":
            headers["Content-Type"] = "application/json"
        content = data if data is not None else None if body is None else msgspec.json.encode(body)
        async with self.client.request(method, path, headers=headers, data=content) as response:
            raw = await response.read()
            if response.status != 201:
                self.answers.append(raw.decode() + repr(dict(response.headers)))
            return response.status, msgspec.json.decode(raw), dict(response.headers)

    async def register(self, entity: str, role: str = "cp", **more: object) -> dict[str, Any]:
        """A registration that must succeed."""
        body = {"role": role, "entity": entity, **more}
        status, answer, _ = await self.ask("POST", "/register", token=self.operator, body=body)
        assert status == 201, answer
        return dict(answer)

    async def changes(self, after: int = 0, wait: float | None = None) -> tuple[int, list[RegistryRecord]]:
        """The change feed with every signature checked."""
        path = f"/changes?after={after}" + ("" if wait is None else f"&wait={wait}")
        status, answer, _ = await self.ask("GET", path, token=self.service)
        assert status == 200, answer
        return answer["rev"], [self.open(record) for record in answer["records"]]

    def open(self, record: dict[str, str]) -> RegistryRecord:
        return open_record(msgspec.convert(record, SignedRecord), self.signer)


MakeSite = Callable[..., Any]


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with running() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgres"])
async def database_url(request: pytest.FixtureRequest) -> AsyncIterator[str | None]:
    """Each test that asks for it runs twice: on a file in the data directory (None) and on a real server."""
    if request.param == "sqlite":
        yield None
        return
    server: Postgres = request.getfixturevalue("postgres")
    url = await server.make()
    yield url
    await server.drop(url)


# For a test of what is refused before any table is asked: once is enough.
one_database = pytest.mark.parametrize("database_url", [None], ids=["sqlite"])


@pytest.fixture(scope="session")
def signing_keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one key: making RSA primes takes a good part of a second."""
    folder = tmp_path_factory.mktemp("keys") / KEYS
    KeyFolder(folder).add(START_MS)
    return folder


@pytest.fixture
async def make_site(
    tmp_path: Path, clock: HandClock, signing_keys: Path, database_url: str | None
) -> AsyncIterator[MakeSite]:
    """Makes a served registry with the settings that a test needs."""
    sites: list[Site] = []

    async def make(failed_authentications: int = 5, **settings: Any) -> Site:
        directory = tmp_path / f"registry{len(sites)}"
        url = "http://127.0.0.1:8080"
        await initialise(directory, url, clock=clock, entropy=os.urandom, database_url=database_url)
        shutil.copytree(signing_keys, directory / KEYS)
        chosen = SidecarSettings(**settings)
        opened = await open_registry(
            directory, clock=clock, entropy=os.urandom, settings=chosen, database_url=database_url
        )
        services = Services(failed_authentications=failed_authentications)
        made = assemble(directory, opened, clock=clock, entropy=os.urandom, settings=chosen, services=services)
        client: TestClient[Any, Any] = TestClient(TestServer(made.application))
        await client.start_server()
        sites.append(Site(opened, client, directory, clock))
        return sites[-1]

    yield make
    for site in sites:
        await site.client.close()
        await site.opened.store.close()


@pytest.fixture
async def site(make_site: MakeSite) -> Site:
    made: Site = await make_site()
    return made
