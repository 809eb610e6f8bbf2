"""Declared routes, served: each check in its place, and every refusal in one shape."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Annotated, Any

import msgspec
import pytest
from aiohttp.test_utils import TestClient, TestServer
from msgspec import Meta
from sqlalchemy.exc import OperationalError

from evcharge.sidecar.web.api import Api
from evcharge.sidecar.web.openapi import document
from evcharge.sidecar.web.problem import MEDIA_TYPE, Problem, unauthorized
from evcharge.sidecar.web.route import Answer, Call, Limit, Principal, Route
from evcharge.sidecar.web.scopes import Scope
from tests.sidecar.conftest import HandClock


class Wanted(msgspec.Struct, kw_only=True):
    size: Annotated[int, Meta(ge=1, le=9)]
    name: str = "x"


class Said(msgspec.Struct, kw_only=True):
    client: str
    size: int


WIDE = Limit("wide", 10_000)
ROUTES = [
    Route(
        method="GET",
        path="/open",
        name="look",
        tag="t",
        summary="s",
        scope=None,
        answers={200: None},
        limit=Limit("open", 3),
    ),
    Route(
        method="POST",
        path="/things/{id}",
        also=("/old/{id}",),
        name="make",
        tag="t",
        summary="s",
        scope=Scope.CHARGE,
        answers={201: Said},
        limit=WIDE,
        words={"id": "[a-z]{1,8}"},
        query=Wanted,
        body=Wanted,
        body_bytes=200,
        refusals=(HTTPStatus.CONFLICT,),
    ),
    Route(
        method="GET",
        path="/limited",
        name="limited",
        tag="t",
        summary="s",
        scope=Scope.RECOMMEND,
        answers={200: None},
        limit=Limit("gateway", 10),
    ),
    Route(
        method="GET",
        path="/broken",
        name="broken",
        tag="t",
        summary="s",
        scope=Scope.RECOMMEND,
        answers={200: None},
        limit=WIDE,
    ),
]


class Names:
    """A door that believes the token's word."""

    async def principal(self, authorization: str | None, source: str) -> Principal | None:
        if authorization is None:
            return None
        name = authorization.removeprefix("Bearer ")
        if name == "bad":
            raise unauthorized("The token is no good.", "invalid_token")
        return Principal(name=name, scopes=frozenset({Scope.RECOMMEND} if name == "weak" else Scope))


class Broken:
    error: Exception = ValueError("secret detail")


class Site:
    def __init__(self, client: TestClient[Any, Any], clock: HandClock, broken: Broken) -> None:
        self.client, self.clock, self.broken = client, clock, broken

    async def ask(self, method: str, path: str, name: str | None = "strong", **more: Any) -> tuple[int, Any, Any]:
        head = {} if name is None else {"Authorization": f"Bearer {name}"}
        async with self.client.request(method, path, headers=head | more.pop("headers", {}), **more) as answer:
            text = await answer.text()
            body: Any = msgspec.json.decode(text) if text else {}
            if answer.status >= 400:
                assert answer.content_type == MEDIA_TYPE
                assert {"type", "title", "status", "code", "detail", "request_id"} <= set(body) <= {*ProblemNames}
                assert body["request_id"] == answer.headers["X-Request-ID"]
                assert body["status"] == answer.status
                assert "secret" not in text
            assert answer.headers["Cache-Control"] == "no-store"
            assert answer.headers["Server"] == "evcharge"
            return answer.status, body, answer.headers


ProblemNames = ("type", "title", "status", "code", "detail", "fields", "request_id")


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    broken, clock = Broken(), HandClock()

    async def look(_call: Call) -> Answer:
        return Answer(status=200)

    async def make(call: Call) -> Answer:
        if call.body.name == "taken":
            raise Problem(HTTPStatus.CONFLICT, "taken", "It is taken.")
        return Answer(status=201, body=Said(client=call.client, size=call.body.size + call.query.size))

    async def fail(_call: Call) -> Answer:
        raise broken.error

    handlers = {"look": look, "make": make, "limited": look, "broken": fail}
    api = Api(ROUTES, handlers, door=Names(), clock=clock)
    async with TestClient(TestServer(api.application())) as client:
        yield Site(client, clock, broken)


async def test_what_was_judged_reaches_the_handler(site: Site) -> None:
    for path in ("/things/abc?size=2", "/old/abc?size=2"):
        status, body, headers = await site.ask("POST", path, json={"size": 3})
        assert (status, body) == (201, {"client": "strong", "size": 5})
        assert headers["RateLimit-Policy"] == '"wide";q=10000;w=60'


@pytest.mark.parametrize(
    ("name", "path", "data", "status", "code"),
    [
        (None, "/things/abc?size=2", b'{"size":3}', 401, "unauthorized"),
        ("bad", "/things/abc?size=2", b'{"size":3}', 401, "unauthorized"),
        ("weak", "/things/abc?size=2", b'{"size":3}', 403, "forbidden"),
        ("weak", "/things/ABC?size=x", b"{", 403, "forbidden"),
        ("strong", "/things/ABC?size=2", b'{"size":3}', 404, "not_found"),
        ("strong", "/nothing", b"", 404, "not_found"),
        ("strong", "/limited", b"", 405, "method_not_allowed"),
        ("strong", "/things/abc", b'{"size":3}', 422, "bad_fields"),
        ("strong", "/things/abc?size=2&size=3", b'{"size":3}', 400, "bad_request"),
        ("strong", "/things/abc?size=2&x=%ff", b'{"size":3}', 400, "bad_request"),
        ("strong", "/things/abc?" + "&".join(f"a{i}=1" for i in range(40)), b'{"size":3}', 400, "bad_request"),
        ("strong", "/things/abc?size=2", b'{"size":0}', 422, "bad_fields"),
        ("strong", "/things/abc?size=2", b"{", 400, "bad_request"),
        ("strong", "/things/abc?size=2", b'{"size":3,"name":"' + b"x" * 200 + b'"}', 413, "too_large"),
        ("strong", "/things/abc?size=2", b'{"size":3,"name":"taken"}', 409, "taken"),
    ],
)
async def test_each_refusal_in_its_place(
    site: Site, name: str | None, path: str, data: bytes, status: int, code: str
) -> None:
    got, body, headers = await site.ask("POST", path, name, data=data, headers={"Content-Type": "application/json"})
    assert (got, body["code"]) == (status, code)
    assert ("WWW-Authenticate" in headers) == (status in (401, 403))
    assert ("Allow" in headers) == (status == 405)


async def test_another_kind_of_body_is_415(site: Site) -> None:
    status, body, _ = await site.ask("POST", "/things/abc?size=2", data={"size": "3"})
    assert (status, body["code"]) == (415, "unsupported_media_type")


async def test_a_body_that_does_not_end_is_408(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evcharge.sidecar.web.api.BODY_S", 0.05)
    forever = asyncio.Event()

    async def drops() -> AsyncIterator[bytes]:
        yield b'{"size":'
        await forever.wait()

    head = {"Content-Type": "application/json"}
    status, body, _ = await site.ask("POST", "/things/abc?size=2", data=drops(), headers=head)
    assert (status, body["code"]) == (408, "timeout")


async def test_ten_in_a_minute_for_each_client(site: Site) -> None:
    for client in ("anna", "ben"):
        for left in range(9, -1, -1):
            status, _, headers = await site.ask("GET", "/limited", client)
            assert (status, headers["RateLimit"]) == (200, f'"gateway";r={left};t=60')
            site.clock.advance(0.5)
        status, body, headers = await site.ask("GET", "/limited", client)
        assert (status, body["code"], headers["Retry-After"]) == (429, "throttled", "55")
        site.clock.advance(float(headers["Retry-After"]))
        assert (await site.ask("GET", "/limited", client))[0] == 200
        site.clock.advance(120)


async def test_an_open_route_counts_sources(site: Site) -> None:
    assert [(await site.ask("GET", "/open", None))[0] for _ in range(4)] == [200, 200, 200, 429]
    assert (await site.ask("GET", "/open", "anna"))[0] == 200, "a client is counted as itself"


async def test_a_database_that_does_not_answer_is_503_and_quotes_nothing(site: Site) -> None:
    site.broken.error = OperationalError("INSERT secret", {}, Exception("secret"))
    status, body, headers = await site.ask("GET", "/broken")
    assert (status, body["code"], headers["Retry-After"]) == (503, "database", "5")


async def test_our_own_bug_is_500_without_its_text(site: Site) -> None:
    status, body, _ = await site.ask("GET", "/broken")
    assert (status, body["code"]) == (500, "internal")


def test_a_route_needs_its_handler_and_a_handler_its_route() -> None:
    async def look(_call: Call) -> Answer:
        return Answer()

    with pytest.raises(ValueError, match="broken"):
        Api(ROUTES, {"look": look, "make": look, "limited": look}, door=Names(), clock=HandClock())
    with pytest.raises(ValueError, match="more"):
        Api(ROUTES[:1], {"look": look, "more": look}, door=Names(), clock=HandClock())


def test_the_document_says_what_the_routes_ask() -> None:
    said = document(ROUTES, title="t", version="1", token_path="/oauth2/token")
    assert set(said["paths"]) == {"/open", "/things/{id}", "/old/{id}", "/limited", "/broken"}
    make = said["paths"]["/things/{id}"]["post"]
    assert make["parameters"][0] == {
        "name": "id",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "pattern": "^[a-z]{1,8}$"},
    }
    assert [(one["name"], one["required"]) for one in make["parameters"][1:]] == [("size", True), ("name", False)]
    assert set(make["responses"]) == {"201", "400", "401", "403", "408", "409", "413", "415", "422", "429", "503"}
    assert make["security"] == [{"oauth2": ["charge"]}, {"bearer": []}, {"session": []}]
    assert "security" not in said["paths"]["/open"]["get"]
    assert said["components"]["schemas"]["Wanted"]["required"] == ["size"]
    assert "type" in said["components"]["schemas"]["ProblemBody"]["properties"]
