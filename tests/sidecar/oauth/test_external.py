"""Tokens of one other issuer are good by its JWKS, which is fetched when it is wanted and never too often."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from joserfc.jwk import RSAKey

from evcharge.sidecar.oauth import external as module
from evcharge.sidecar.oauth.external import ExternalKeys, parse
from evcharge.sidecar.oauth.keys import make_key

KEY = make_key(0)


def jwks(*kids: str, **more: str) -> bytes:
    return json.dumps({"keys": [{**KEY.public, "kid": kid, **more} for kid in kids]}).encode()


class Issuer:
    """An issuer's server that says what the test wants."""

    def __init__(self) -> None:
        self.answer: bytes | int = jwks("a")
        self.asked = 0
        self.url = ""

    async def serve(self, _request: web.Request) -> web.Response:
        self.asked += 1
        if isinstance(self.answer, int):
            return web.Response(status=self.answer, headers={"Location": "/elsewhere"})
        return web.Response(body=self.answer)


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    made = Issuer()
    app = web.Application()
    app.router.add_get("/jwks", made.serve)
    app.router.add_get("/elsewhere", lambda _request: web.Response(body=jwks("stolen")))
    async with TestServer(app) as server:
        made.url = str(server.make_url("/jwks"))
        yield made


async def test_its_keys_are_known_after_a_look(issuer: Issuer) -> None:
    keys = ExternalKeys(issuer.url)
    assert keys.find("a") is None
    await keys.refresh()
    found = keys.find("a")
    assert isinstance(found, RSAKey)
    assert found.as_dict(private=False)["n"] == KEY.public["n"]
    assert not found.is_private


@pytest.mark.parametrize(
    "answer",
    [302, 404, 500, b"", b"{}", b"[]", b'{"keys": 1}', b"\xff", b'{"keys": [' * 50, b" " * (module.JWKS_BYTES + 1)],
)
async def test_an_answer_that_is_none_leaves_the_keys(issuer: Issuer, answer: bytes | int) -> None:
    keys = ExternalKeys(issuer.url)
    await keys.refresh()
    issuer.answer = answer
    await keys.refresh()
    assert keys.find("a") is not None
    assert keys.find("stolen") is None
    issuer.answer = jwks("b")
    await keys.refresh()
    assert keys.find("a") is None, "what the issuer took away is good no longer"
    assert keys.find("b") is not None


async def test_an_issuer_that_is_away_leaves_the_keys() -> None:
    keys = ExternalKeys("http://127.0.0.1:1/jwks")
    await keys.refresh()
    assert keys.find("a") is None


async def test_an_unknown_key_asks_for_one_more_look_and_never_more_often(issuer: Issuer) -> None:
    pauses: asyncio.Queue[float] = asyncio.Queue()
    over: asyncio.Queue[None] = asyncio.Queue()

    async def pause(seconds: float) -> None:
        pauses.put_nowait(seconds)
        await over.get()

    keys = ExternalKeys(issuer.url, pause)
    running = asyncio.create_task(keys.run())
    try:
        assert await pauses.get() == module.LEAST_S
        issuer.answer = jwks("a", "new")
        for _ in range(100):
            assert keys.find("new") is None
        assert issuer.asked == 1
        over.put_nowait(None)
        await pauses.get()
        assert issuer.asked == 2
        assert keys.find("new") is not None
    finally:
        running.cancel()


@pytest.mark.parametrize(
    "entry",
    [
        {"kty": "oct", "k": "AAAA"},
        {"use": "enc"},
        {"alg": "HS256"},
        {"alg": "PS256"},
        {"n": "AQAB"},
        {"n": "!"},
        {"e": ""},
        {"kid": ""},
    ],
)
def test_other_keys_are_left_out(entry: dict[str, Any]) -> None:
    good, other = {**KEY.public, "kid": "a"}, {**KEY.public, "kid": "b", **entry}
    assert set(parse(json.dumps({"keys": [other, good]}).encode())) == {"a"}
