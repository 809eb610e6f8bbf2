"""One request for a token however many want one, renewed early, and a failure that is not kept for long."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from hypothesis import given
from hypothesis import strategies as st

from evcharge.sidecar.outgoing.http import Fetched, Http
from evcharge.sidecar.outgoing.tokens import (
    BACKOFF_MAX_S,
    REFUSED_S,
    ClientCredentials,
    Granted,
    NoToken,
    TokenCache,
    ask_for_token,
    with_token,
)
from tests.support.driven import DrivenClock, settle


class Endpoint:
    """Answers when the test says so; each answer is another token."""

    def __init__(self, life_s: float = 600.0) -> None:
        self.asked = 0
        self.life_s = life_s
        self.down = False
        self.gate: asyncio.Event | None = None

    async def __call__(self) -> Granted:
        self.asked += 1
        number = self.asked
        if self.gate is not None:
            await self.gate.wait()
        if self.down:
            raise NoToken("No token: it is down.")
        return Granted(f"t{number}", self.life_s)


def cache_of(endpoint: Endpoint, clock: DrivenClock) -> TokenCache:
    return TokenCache(endpoint, clock=clock, name="test")


async def test_a_token_is_kept_and_renewed_before_its_end() -> None:
    endpoint, clock = Endpoint(600.0), DrivenClock()
    cache = cache_of(endpoint, clock)
    assert await cache.token() == "t1"
    clock.advance(539.0)
    assert (await cache.token(), endpoint.asked) == ("t1", 1)
    clock.advance(1.0)
    assert (await cache.token(), endpoint.asked) == ("t2", 2), "a minute before its end"


async def test_a_short_token_is_not_renewed_at_once() -> None:
    endpoint, clock = Endpoint(30.0), DrivenClock()
    cache = cache_of(endpoint, clock)
    await cache.token()
    clock.advance(14.0)
    assert await cache.token() == "t1"
    clock.advance(1.0)
    assert await cache.token() == "t2"


async def test_all_who_wait_share_one_request_and_one_who_goes_takes_nothing_along() -> None:
    endpoint, clock = Endpoint(), DrivenClock()
    endpoint.gate = asyncio.Event()
    cache = cache_of(endpoint, clock)
    waiting = [asyncio.create_task(cache.token()) for _ in range(5)]
    await settle()
    assert endpoint.asked == 1
    waiting[0].cancel()
    await settle()
    assert waiting[0].cancelled()
    endpoint.gate.set()
    assert [await task for task in waiting[1:]] == ["t1"] * 4
    assert endpoint.asked == 1


async def test_all_who_wait_may_go_and_the_token_is_there_later() -> None:
    endpoint, clock = Endpoint(), DrivenClock()
    endpoint.gate = asyncio.Event()
    cache = cache_of(endpoint, clock)
    alone = asyncio.create_task(cache.token())
    await settle()
    alone.cancel()
    endpoint.gate.set()
    await settle()
    assert (await cache.token(), endpoint.asked) == ("t1", 1)


async def test_a_failure_is_kept_for_a_moment_only() -> None:
    endpoint, clock = Endpoint(), DrivenClock()
    endpoint.down = True
    cache = cache_of(endpoint, clock)
    for _ in range(3):
        with pytest.raises(NoToken, match="down"):
            await cache.token()
    assert endpoint.asked == 1, "who asks again at once hears the same"
    endpoint.down = False
    clock.advance(1.0)
    assert (await cache.token(), endpoint.asked) == ("t2", 2)


async def test_failures_in_a_row_are_asked_about_less_often() -> None:
    endpoint, clock = Endpoint(), DrivenClock()
    endpoint.down = True
    cache = cache_of(endpoint, clock)
    times = []
    for _ in range(200):
        before = endpoint.asked
        with pytest.raises(NoToken):
            await cache.token()
        if endpoint.asked > before:
            times.append(clock.monotonic() - 1000.0)
        clock.advance(1.0)
    assert times[:6] == [0, 1, 3, 7, 15, 31]
    assert times[-1] - times[-2] == BACKOFF_MAX_S


async def test_where_renewing_fails_the_old_token_serves_to_its_end() -> None:
    endpoint, clock = Endpoint(600.0), DrivenClock()
    cache = cache_of(endpoint, clock)
    await cache.token()
    endpoint.down = True
    clock.advance(599.0)
    assert (await cache.token(), endpoint.asked) == ("t1", 2)
    clock.advance(1.0)
    with pytest.raises(NoToken):
        await cache.token()


async def test_the_life_counts_from_the_request_not_from_the_answer() -> None:
    endpoint, clock = Endpoint(600.0), DrivenClock()
    endpoint.gate = asyncio.Event()
    cache = cache_of(endpoint, clock)
    first = asyncio.create_task(cache.token())
    await settle()
    clock.advance(300.0)
    endpoint.gate.set()
    assert await first == "t1"
    clock.advance(240.0)
    assert await cache.token() == "t2"


async def test_401_renews_once_and_retries_once() -> None:
    endpoint, clock = Endpoint(), DrivenClock()
    cache = cache_of(endpoint, clock)
    seen: list[str] = []

    async def call(token: str) -> Fetched:
        seen.append(token)
        return Fetched(401 if token == "t1" else 200, b"")

    assert (await with_token(cache, call)).status == 200
    assert seen == ["t1", "t2"]


async def test_a_resource_that_refuses_every_token_does_not_get_a_new_one_for_each_call() -> None:
    endpoint, clock = Endpoint(), DrivenClock()
    cache = cache_of(endpoint, clock)
    calls = 0

    async def call(_token: str) -> Fetched:
        nonlocal calls
        calls += 1
        return Fetched(401, b"")

    assert (await with_token(cache, call)).status == 401
    assert (calls, endpoint.asked) == (2, 2)
    for _ in range(int(REFUSED_S) - 1):
        clock.advance(1.0)
        assert (await with_token(cache, call)).status == 401
    assert endpoint.asked == 2
    clock.advance(1.0)
    await with_token(cache, call)
    assert endpoint.asked == 3


async def test_two_calls_that_were_refused_together_renew_once() -> None:
    endpoint, clock = Endpoint(), DrivenClock()
    cache = cache_of(endpoint, clock)
    both = asyncio.Barrier(2)

    async def call(token: str) -> Fetched:
        if token == "t1":
            await both.wait()
        return Fetched(401 if token == "t1" else 200, b"")

    answers = await asyncio.gather(with_token(cache, call), with_token(cache, call))
    assert [answer.status for answer in answers] == [200, 200]
    assert endpoint.asked == 2


async def test_a_late_refusal_of_an_old_token_does_not_cost_the_new_one() -> None:
    endpoint, clock = Endpoint(), DrivenClock()
    cache = cache_of(endpoint, clock)
    old = await cache.token()
    assert cache.refused(old)
    assert await cache.token() == "t2"
    clock.advance(REFUSED_S)
    assert cache.refused(old), "there is another one already"
    assert (await cache.token(), endpoint.asked) == ("t2", 2)


async def test_closing_ends_a_request_and_who_waits_hears_of_it() -> None:
    endpoint, clock = Endpoint(), DrivenClock()
    endpoint.gate = asyncio.Event()
    cache = cache_of(endpoint, clock)
    waits = asyncio.create_task(cache.token())
    await settle()
    await cache.close()
    with pytest.raises(NoToken):
        await waits


@given(st.lists(st.tuples(st.floats(0, 400), st.booleans(), st.integers(1, 4)), max_size=30), st.floats(1, 1_000))
def test_a_token_that_is_given_out_always_lives(steps: list[tuple[float, bool, int]], life_s: float) -> None:
    """Whatever fails when: no token after its end, and never two requests at once."""

    async def run() -> None:
        endpoint, clock = Endpoint(life_s), DrivenClock()
        ends: dict[str, float] = {}
        under_way = 0

        async def ask() -> Granted:
            nonlocal under_way
            under_way += 1
            assert under_way == 1
            await asyncio.sleep(0)
            under_way -= 1
            granted = await endpoint()
            ends[granted.token] = clock.monotonic() + granted.life_s
            return granted

        cache = TokenCache(ask, clock=clock, name="test")
        for seconds, down, callers in steps:
            clock.advance(seconds)
            endpoint.down = down
            for got in await asyncio.gather(*(cache.token() for _ in range(callers)), return_exceptions=True):
                if isinstance(got, str):
                    assert clock.monotonic() < ends[got]
                else:
                    assert isinstance(got, NoToken)

    asyncio.run(run())


# --- one request, against a server ---------------------------------------------------------------------------------

Answerer = Callable[[web.Request], web.Response]


@pytest.fixture
async def served() -> AsyncIterator[tuple[str, list[dict[str, str]], list[web.Response]]]:
    asked: list[dict[str, str]] = []
    answers: list[web.Response] = []

    async def token(request: web.Request) -> web.Response:
        form = {name: str(value) for name, value in (await request.post()).items()}
        asked.append({**form, "authorization": request.headers.get("Authorization", "")})
        return answers.pop(0)

    app = web.Application()
    app.router.add_post("/token", token)
    async with TestServer(app) as server:
        yield str(server.make_url("/token")), asked, answers


def credentials(url: str, **more: str) -> ClientCredentials:
    return ClientCredentials(token_url=url, client_id="a b", secret_env="X", **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("style", ["basic", "form"])
async def test_the_request_is_that_of_the_standard(
    served: tuple[str, list[dict[str, str]], list[web.Response]], style: str
) -> None:
    url, asked, answers = served
    answers.append(web.json_response({"access_token": "abc", "token_type": "Bearer", "expires_in": "120", "x": 1}))
    http = Http()
    granted = await ask_for_token(http, credentials(url, scope="read", style=style), "s:1")
    await http.close()
    assert granted == Granted("abc", 120.0)
    assert "abc" not in repr(granted)
    basic = "Basic " + base64.b64encode(b"a+b:s%3A1").decode()
    expected = {"grant_type": "client_credentials", "scope": "read"}
    if style == "basic":
        assert asked == [{**expected, "authorization": basic}]
    else:
        assert asked == [{**expected, "client_id": "a b", "client_secret": "s:1", "authorization": ""}]


@pytest.mark.parametrize(
    "body",
    [
        "",
        "[]",
        "{",
        '{"access_token": "abc"}',
        '{"access_token": "abc", "token_type": "mac"}',
        '{"access_token": "", "token_type": "bearer"}',
        '{"access_token": "a\\nb", "token_type": "bearer"}',
        '{"access_token": 7, "token_type": "bearer"}',
        '{"access_token": "abc", "token_type": "bearer", "expires_in": 0}',
        '{"access_token": "abc", "token_type": "bearer", "expires_in": "nan"}',
    ],
)
async def test_what_is_no_token_is_none(
    served: tuple[str, list[dict[str, str]], list[web.Response]], body: str
) -> None:
    url, _, answers = served
    answers.append(web.Response(text=body))
    http = Http()
    with pytest.raises(NoToken) as caught:
        await ask_for_token(http, credentials(url), "secret!")
    await http.close()
    assert "secret!" not in str(caught.value)


async def test_an_error_of_the_endpoint_is_said_by_its_status_alone(
    served: tuple[str, list[dict[str, str]], list[web.Response]],
) -> None:
    url, _, answers = served
    answers.append(web.json_response({"error": "invalid_client", "error_description": "secret!"}, status=401))
    http = Http()
    with pytest.raises(NoToken, match="answered 401") as caught:
        await ask_for_token(http, credentials(url), "secret!")
    await http.close()
    assert "secret!" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://example.org/token", "ftp://x/", "https://a:b@example.org/token", "token"])
def test_a_secret_goes_to_no_such_address(url: str) -> None:
    with pytest.raises(ValueError, match="token_url"):
        credentials(url)
