"""The stream over HTTP: who may open one, how many, and when it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer
from structlog.testing import capture_logs

from evcharge.net import tail
from evcharge.net.clock import SystemClock
from evcharge.sidecar.live.hub import Live
from evcharge.sidecar.live.settings import LiveSettings
from evcharge.sidecar.routes.live import ROUTES
from evcharge.sidecar.web import streaming
from evcharge.sidecar.web.api import Api
from evcharge.sidecar.web.openapi import document
from evcharge.sidecar.web.problem import unauthorized
from evcharge.sidecar.web.route import Answer, Call, Principal
from evcharge.sidecar.web.scopes import ROLES, Scope
from tests.sidecar.live.reading import LIMIT_S, Page
from tests.sidecar.live.site import FakeSite, charge_point


class Names:
    """A door that believes the token's word: a role, or ``role/name``; until it is told that somebody is gone."""

    def __init__(self) -> None:
        self.gone: set[str] = set()
        self.fewer: set[str] = set()

    async def principal(self, authorization: str | None, source: str) -> Principal | None:
        if authorization is None:
            return None
        word = authorization.removeprefix("Bearer ")
        if word in self.gone:
            raise unauthorized("The token's client is no longer one.", "invalid_token")
        scopes = ROLES[word.partition("/")[0]]
        return Principal(name=word, scopes=scopes - {Scope.SITE_CONTROL} if word in self.fewer else scopes)


class Http:
    def __init__(self, site: FakeSite, live: Live, door: Names, client: TestClient[Any, Any]) -> None:
        self.site, self.live, self.door, self.client = site, live, door, client

    async def open(self, who: str = "operator", path: str = "/api/live", **headers: str) -> ClientResponse:
        head = {"Authorization": f"Bearer {who}"} | {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.get(path, headers=head)

    async def refusal(self, who: str | None, path: str = "/api/live", **headers: str) -> tuple[int, str, Any]:
        head = {} if who is None else {"Authorization": f"Bearer {who}"}
        head |= {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.client.get(path, headers=head) as answer:
            return answer.status, msgspec.json.decode(await answer.read())["code"], answer.headers


async def pieces(answer: ClientResponse) -> AsyncIterator[bytes]:
    """Whole events as they come."""
    held = b""
    async for data in answer.content.iter_any():
        whole, blank, held = (held + data).rpartition(b"\n\n")
        if blank:
            yield whole + blank


@asynccontextmanager
async def http_of(site: FakeSite, **settings: int) -> AsyncIterator[Http]:
    live, door, clock = (
        Live(site, clock=SystemClock(), version="1", settings=LiveSettings(**settings)),
        Names(),
        SystemClock(),
    )
    api = Api(ROUTES, live.handlers(), door=door, clock=clock)
    application = api.application()

    async def close(_application: web.Application) -> None:
        live.close()

    application.on_shutdown.append(close)
    running = asyncio.create_task(live.run())
    async with TestClient(TestServer(application)) as client:
        yield Http(site, live, door, client)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@pytest.fixture
async def http(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Http]:
    monkeypatch.setattr(tail, "PACE_S", 0.0)
    site = FakeSite()
    site.put(charge_point("CP-1", driver="d-anna-0001"))
    site.grow(5)
    async with http_of(site, streams=4, streams_per_client=2) as made:
        yield made


async def test_a_stream_is_an_answer_like_any_other_and_goes_on(http: Http) -> None:
    async with await http.open() as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "text/event-stream"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Server"] == "evcharge"
        assert answer.headers["X-Accel-Buffering"] == "no"
        assert "RateLimit" in answer.headers
        page = Page(pieces(answer))
        assert (await page.next("picture"))["charge_points"][0]["cp_id"] == "CP-1"
        await page.until(5)
        http.site.grow(2)
        await page.until(7)
        assert page.seqs == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize(
    ("path", "headers", "begins"),
    [
        ("/api/live", {"Last_Event_ID": "3"}, 4),
        ("/api/live?after=2", {}, 3),
        ("/api/live?after=2", {"Last_Event_ID": "4"}, 5),
        ("/api/live?after=0", {}, 1),
    ],
)
async def test_where_a_page_goes_on(http: Http, path: str, headers: dict[str, str], begins: int) -> None:
    async with await http.open(path=path, **headers) as answer:
        page = Page(pieces(answer))
        assert (await page.next("hello"))["resumed"] is True
        await page.until(5)
        assert page.seqs == list(range(begins, 6))


@pytest.mark.parametrize("said", ["x", "-1", "1.0", "9" * 17, "٣", "1 2"])
async def test_a_number_that_is_none(http: Http, said: str) -> None:
    assert (await http.refusal("operator", Last_Event_ID=said))[:2] == (400, "bad_request")


async def test_who_may_not_look(http: Http) -> None:
    assert (await http.refusal(None))[:2] == (401, "unauthorized")
    assert (await http.refusal("driver"))[:2] == (403, "forbidden")
    assert (await http.refusal("operator", "/api/live?after=-1"))[:2] == (422, "bad_fields")
    assert (await http.refusal("operator", "/api/live?since=1"))[0] == 422
    assert http.live.opened == 0


async def test_a_viewers_drivers_are_masked(http: Http) -> None:
    async with await http.open("viewer") as answer:
        picture = await Page(pieces(answer)).next("picture")
        assert picture["charge_points"][0]["connectors"][0]["driver"] == "*0001"


async def test_as_many_as_may_and_not_one_more(http: Http) -> None:
    opened = [await http.open(who) for who in ("operator", "operator")]
    status, code, headers = await http.refusal("operator")
    assert (status, code) == (429, "too_many_streams")
    assert int(headers["Retry-After"]) > 0
    opened += [await http.open(who) for who in ("viewer/a", "viewer/b")]
    status, code, headers = await http.refusal("viewer/c")
    assert (status, code) == (503, "too_many_streams")
    assert int(headers["Retry-After"]) > 0
    assert (http.live.clients, http.live.turned_away) == (4, 2)
    for answer in opened:
        answer.close()
    # Who hangs up makes room, as soon as that is seen.
    async with asyncio.timeout(LIMIT_S):
        while http.live.clients:
            http.site.grow(1)
            await asyncio.sleep(0.01)
    async with await http.open("viewer/c") as answer:
        assert answer.status == 200


@pytest.mark.parametrize("how", ["gone", "fewer"])
async def test_a_client_that_is_no_longer_one_is_told_nothing_more(
    http: Http, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(streaming, "CHECK_S", 0.01)
    async with await http.open("operator/anna") as answer, await http.open("viewer") as other:
        page = Page(pieces(answer))
        await page.until(5)
        getattr(http.door, how).add("operator/anna")
        async with asyncio.timeout(LIMIT_S):
            while not page.over:
                await page.read()
        if how == "gone":
            assert (await http.refusal("operator/anna"))[0] == 401
        # Nobody else is concerned.
        http.site.grow(1)
        await Page(pieces(other)).until(6)
        assert http.live.clients == 1


async def test_a_drain_ends_all_streams_at_once(http: Http) -> None:
    async with await http.open() as answer:
        page = Page(pieces(answer))
        await page.until(5)
        http.live.close()
        async with asyncio.timeout(LIMIT_S):
            while not page.over:
                await page.read()
    assert http.live.clients == 0
    assert (await http.refusal("operator"))[:2] == (503, "draining")


async def test_who_hangs_up_leaves_nothing_behind(http: Http, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "CHECK_S", 0.01)
    answer = await http.open()
    await Page(pieces(answer)).until(5)
    answer.close()
    async with asyncio.timeout(LIMIT_S):
        while http.live.clients:
            await asyncio.sleep(0.01)
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("stream")]


def test_the_document_says_what_streams() -> None:
    said = document(ROUTES, title="t", version="1", token_path="/t")
    operation = said["paths"]["/api/live"]["get"]
    assert operation["responses"]["200"]["content"] == {"text/event-stream": {"schema": {"type": "string"}}}
    assert {"400", "401", "403", "422", "429", "503"} <= set(operation["responses"])
    assert {one["name"] for one in operation["parameters"]} == {"after", "Last-Event-ID"}


# --- streams of any kind ----------------------------------------------------------------------------------------------


class Once:
    """A stream of what the test gives; an exception is raised."""

    def __init__(self, *pieces: bytes | Exception) -> None:
        self._pieces = list(pieces)
        self.closed = 0

    def __aiter__(self) -> Once:
        return self

    async def __anext__(self) -> bytes:
        if not self._pieces:
            raise StopAsyncIteration
        piece = self._pieces.pop(0)
        if isinstance(piece, Exception):
            raise piece
        return piece

    async def aclose(self) -> None:
        self.closed += 1


@asynccontextmanager
async def serving(stream: Any) -> AsyncIterator[TestClient[Any, Any]]:
    async def handler(_call: Call) -> Answer:
        return Answer(stream=stream, media_type="text/event-stream")

    api = Api(ROUTES, {"live": handler}, door=Names(), clock=SystemClock())
    async with TestClient(TestServer(api.application())) as client:
        yield client


HEAD = {"Authorization": "Bearer viewer"}


async def test_a_stream_that_ends_is_whole_and_closed_once() -> None:
    stream = Once(b"a" * 200_000, b"b")
    async with serving(stream) as client, client.get("/api/live", headers=HEAD) as answer:
        assert await answer.read() == b"a" * 200_000 + b"b"
    assert stream.closed == 1


async def test_our_own_bug_in_a_stream_breaks_it_off_and_is_logged() -> None:
    stream = Once(b"a", ValueError("ours"))
    with capture_logs() as logs:
        async with serving(stream) as client, client.get("/api/live", headers=HEAD) as answer:
            with pytest.raises(Exception, match="payload"):
                await answer.read()
    assert stream.closed == 1
    assert [one["event"] for one in logs if one["log_level"] == "error"] == ["http.stream_failed"]


async def test_who_takes_nothing_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "WRITE_S", 0.05)
    stream = Once(*[b"x" * (1 << 20)] * 200)
    async with serving(stream) as client:
        reader, writer = await asyncio.open_connection(client.host, client.port, limit=1_024)
        writer.write(b"GET /api/live HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer viewer\r\n\r\n")
        await reader.readline()
        async with asyncio.timeout(LIMIT_S):
            while not stream.closed:
                await asyncio.sleep(0.01)
        writer.close()
