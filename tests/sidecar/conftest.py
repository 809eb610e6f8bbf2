"""A registry in a fresh directory, its HTTP application, and a clock that tests advance."""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp.test_utils import TestClient, TestServer
from joserfc.jwk import RSAKey
from sqlalchemy import select

from evcharge.sidecar import assembly
from evcharge.sidecar.assembly import assemble
from evcharge.sidecar.bootstrap import KEYS, Opened, initialise, open_registry
from evcharge.sidecar.database import Database, metadata
from evcharge.sidecar.oauth.keys import KeyFolder
from evcharge.sidecar.services import Services
from evcharge.sidecar.settings import SidecarSettings
from evcharge.sidecar.web.openapi import document
from evcharge.sidecar.web.route import Route
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


@pytest.fixture(scope="session", autouse=True)
def primes_looked_at_once() -> Iterator[None]:
    """A key that was read before is not proven again: every site has a copy of the same one."""
    read = RSAKey.import_key

    @functools.lru_cache(maxsize=8)
    def known(members: frozenset[tuple[str, str]]) -> RSAKey:
        return read(dict(members))

    def import_key(value: Any, *more: Any, **named: Any) -> RSAKey:
        private = isinstance(value, dict) and "p" in value
        return known(frozenset(value.items())) if private and not (more or named) else read(value, *more, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RSAKey, "import_key", import_key)
        yield


@pytest.fixture(scope="session", autouse=True)
def documents_made_once() -> Iterator[None]:
    """The OpenAPI document of the same routes is the same: making it is a third of a site's start."""
    made: list[tuple[object, dict[str, Any]]] = []

    def once(routes: Sequence[Route], **words: str) -> dict[str, Any]:
        asked = (routes, words)
        for known, paper in made:
            if known == asked:
                return paper
        made.append((asked, document(routes, **words)))
        return made[-1][1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(assembly, "document", once)
        yield


def write_page(folder: Path) -> Path:
    """All that a page has to have, in ``folder``."""
    for name, text in {
        "index.html": "<!doctype html><title>evcharge</title>",
        "src/main.js": "export const answer = 42;\n" * 40,
        "style/base.css": "body { margin: 0 }\n",
        "style/favicon.svg": "<svg xmlns='http://www.w3.org/2000/svg'/>",
        "vendor/lit-html/lit-html.js": "export {};\n",
        "vendor/uplot/uPlot.esm.js": "export {};\n",
        # What lies beside the sources and is nobody's business.
        "package.json": "{}",
        "src/main.ts": "secret",
        "node_modules/x/index.js": "secret",
        "vendor/lit-html/lit-html.d.ts": "secret",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture(scope="session")
def small_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For sites whose page nobody looks at: reading and packing the whole one takes a third of a site's start."""
    return write_page(tmp_path_factory.mktemp("page"))


@pytest.fixture
async def make_site(
    tmp_path: Path, clock: HandClock, signing_keys: Path, database_url: str | None, small_page: Path
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
        made = assemble(
            directory, opened, clock=clock, entropy=os.urandom, settings=chosen, services=services, page=small_page
        )
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
