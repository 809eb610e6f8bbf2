"""No forged, foreign or old token gets through HTTP: 401 with a challenge, and nothing of the token in the answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from structlog.testing import capture_logs

from evcharge.sidecar.auth import Tokens
from evcharge.sidecar.oauth.door import Door
from evcharge.sidecar.oauth.known import KnownClients
from evcharge.sidecar.oauth.tokens import TOKEN_CHARS
from evcharge.sidecar.web.api import Api
from evcharge.sidecar.web.route import Answer, Call, Limit
from evcharge.sidecar.web.scopes import Scope
from tests.sidecar.conftest import HandClock
from tests.sidecar.oauth.conftest import route
from tests.sidecar.oauth.test_tokens import ATTACKS, CLIENT, HEADER, NOW, SINCE, claims, signed, token, verifier

# Others never arrive: a header cannot hold their characters, or the server refuses it for its length.
SENT = {name: text for name, text in ATTACKS.items() if text.isascii() and len(text) <= TOKEN_CHARS}


class FixedClock(HandClock):
    """The moment at which the tokens were made."""

    def steady_ms(self) -> int:
        return NOW * 1000


class OneClient(KnownClients):
    """One client app, and no database to look into."""

    def __init__(self) -> None:
        self._since = {CLIENT: SINCE}

    async def look_again(self) -> None:
        return


@pytest.fixture
async def client() -> AsyncIterator[TestClient[Any, Any]]:
    clock, known = FixedClock(), OneClient()
    door = Door(Tokens({}), verifier(known), known, clock, Limit("failures", 1_000))

    async def recommend(call: Call) -> Answer:
        return Answer(body={"client": call.client})

    routes = [route("GET", "/orchestrator/recommend", "recommend", scope=Scope.RECOMMEND)]
    api = Api(routes, {"recommend": recommend}, door=door, clock=clock)
    async with TestClient(TestServer(api.application())) as made:
        yield made


async def ask(client: TestClient[Any, Any], header: str | None) -> tuple[int, str, str]:
    headers = {} if header is None else {"Authorization": header}
    async with client.get("/orchestrator/recommend", headers=headers) as answer:
        return answer.status, answer.headers.get("WWW-Authenticate", ""), await answer.text()


async def test_the_good_token_passes(client: TestClient[Any, Any]) -> None:
    for good in (token(), signed(HEADER, claims())):
        assert (await ask(client, f"Bearer {good}"))[0] == 200
        assert (await ask(client, f"bearer  {good}"))[0] == 200


@pytest.mark.parametrize("name", SENT)
async def test_each_attack_is_a_401_with_a_challenge(client: TestClient[Any, Any], name: str) -> None:
    with capture_logs() as logs:
        status, challenge, body = await ask(client, f"Bearer {SENT[name]}")
    assert status == 401
    assert challenge.startswith('Bearer realm="evcharge", error="')
    for part in SENT[name].split("."):
        if len(part) > 8:
            assert part not in body + repr(logs)


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", f"Token {token()}", f"Basic {token()}", token()])
async def test_what_is_no_bearer_token_is_a_401_too(client: TestClient[Any, Any], header: str | None) -> None:
    status, challenge, _ = await ask(client, header)
    assert status == 401
    assert challenge.startswith('Bearer realm="evcharge"')


async def test_a_token_in_the_query_or_a_cookie_counts_for_nothing(client: TestClient[Any, Any]) -> None:
    async with client.get(f"/orchestrator/recommend?access_token={token()}") as answer:
        assert answer.status == 401
    async with client.get("/orchestrator/recommend", headers={"Cookie": f"access_token={token()}"}) as answer:
        assert answer.status == 401
