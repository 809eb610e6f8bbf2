"""A request's id: on its answer, on every line of the log about it, and never on another's."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
import structlog
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import given
from hypothesis import strategies as st
from structlog.contextvars import get_contextvars, merge_contextvars
from structlog.testing import capture_logs

from evcharge.sidecar.oauth.clients import CLIENT_ID, RESERVED
from evcharge.sidecar.oauth.tokens import external_name
from evcharge.sidecar.web.api import Api
from evcharge.sidecar.web.route import Answer, Call, Limit, Principal, Route
from evcharge.sidecar.web.scopes import Scope
from evcharge.sidecar.web.tracing import current, new_id
from protocol import messages as m
from tests.sidecar.conftest import HandClock, SeededEntropy

MADE = re.compile("[a-z2-7]{16}")
log = structlog.get_logger()


def route(method: str, path: str, name: str, scope: Scope | None = None) -> Route:
    limit = Limit("wide", 10_000)
    return Route(
        method=method, path=path, name=name, tag="t", summary="s", scope=scope, answers={200: None}, limit=limit
    )


ROUTES = [
    route("GET", "/look", "look"),
    route("POST", "/do", "do", Scope.CHARGE),
    route("GET", "/broken", "broken"),
    route("GET", "/slow", "slow"),
]


class Names:
    async def principal(self, authorization: str | None, source: str) -> Principal | None:
        name = None if authorization is None else authorization.removeprefix("Bearer ")
        return None if name is None else Principal(name=name, scopes=frozenset(Scope), unlimited=name == "central")


class Served:
    """The routes, and what their handlers saw."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.seen: list[str | None] = []
        self.spawned: list[asyncio.Task[None]] = []
        self.go, self.entered = asyncio.Event(), asyncio.Event()
        self.client: TestClient[Any, Any]

    async def look(self, call: Call) -> Answer:
        self.seen.append(call.request_id)
        assert call.request_id == current() == get_contextvars()["request_id"]
        return Answer()

    async def do(self, call: Call) -> Answer:
        log.info("done", what="it")
        self.clock.advance(0.25)

        async def later() -> None:
            await self.go.wait()
            log.info("done.later")

        self.spawned.append(asyncio.create_task(later()))
        return Answer()

    async def broken(self, _call: Call) -> Answer:
        raise ValueError("ours")

    async def slow(self, _call: Call) -> Answer:
        self.entered.set()
        await asyncio.Event().wait()
        return Answer()

    async def ask(self, method: str, path: str, given: str | None = None, **headers: str) -> tuple[int, str, Any]:
        """Status, the id of the answer, and its body."""
        head = headers | ({} if given is None else {"X-Request-ID": given})
        async with self.client.request(method, path, headers=head) as answer:
            text = await answer.text()
            return answer.status, answer.headers["X-Request-ID"], json.loads(text) if text else None


@pytest.fixture
async def site() -> AsyncIterator[Served]:
    served = Served()
    handlers = {"look": served.look, "do": served.do, "broken": served.broken, "slow": served.slow}
    api = Api(ROUTES, handlers, door=Names(), clock=served.clock, entropy=SeededEntropy())
    async with TestClient(TestServer(api.application())) as client:
        served.client = client
        yield served


@pytest.mark.parametrize("given", ["a", "7f3c-19", "A.b_c-9" * 9, "x" * 64])
async def test_an_id_that_is_brought_along_is_kept(site: Served, given: str) -> None:
    assert await site.ask("GET", "/look", given) == (200, given, None)
    assert site.seen == [given]


@pytest.mark.parametrize("given", [None, "", "x" * 65, "a b", "a/b", "<b>", "é", "a:b", "%0a", '"', "a,b"])
async def test_any_other_is_replaced(site: Served, given: str | None) -> None:
    _, first, _ = await site.ask("GET", "/look", given)
    _, second, _ = await site.ask("GET", "/look", given)
    assert MADE.fullmatch(first) and MADE.fullmatch(second) and first != second
    assert site.seen == [first, second]


async def test_every_answer_has_it_and_problems_twice(site: Served) -> None:
    expected = {"Expect": "tea"}
    for method, path, status, head in (
        ("GET", "/nothing", 404, {}),
        ("PUT", "/look", 405, {}),
        ("POST", "/do", 401, {}),
        ("GET", "/look?x=%ff", 400, {}),
        ("GET", "/look", 417, expected),
        ("GET", "/broken", 500, {}),
    ):
        found, said, body = await site.ask(method, path, "mine-1", **head)
        assert (found, said, body["request_id"]) == (status, "mine-1", "mine-1")
        found, said, body = await site.ask(method, path, **head)
        assert found == status and MADE.fullmatch(said) and body["request_id"] == said


async def test_lines_of_a_request_have_its_id_and_no_other(site: Served) -> None:
    with capture_logs(processors=[merge_contextvars]) as logs:
        await site.ask("POST", "/do", "first", Authorization="Bearer anna")
        await site.ask("GET", "/look", "second")
        await site.ask("GET", "/broken", "third")
        site.go.set()
        await asyncio.gather(*site.spawned)
    assert get_contextvars() == {} and current() is None
    told = [(entry["event"], entry["request_id"]) for entry in logs]
    assert told == [
        ("done", "first"),
        ("http.request", "first"),
        ("http.request", "second"),
        ("http.failed", "third"),
        ("http.request", "third"),
        # The task that the first one began is still about it.
        ("done.later", "first"),
    ]


async def test_one_line_for_each_request(site: Served) -> None:
    with capture_logs() as logs:
        await site.ask("POST", "/do", "x", Authorization="Bearer anna")
        await site.ask("POST", "/do", Authorization="Bearer central")
        await site.ask("GET", "/look")
        await site.ask("GET", "/secret-path")
    assert [entry for entry in logs if entry["event"] == "http.request"] == [
        {"event": "http.request", "log_level": level, "method": method, "route": name, "status": status, "ms": ms}
        | {"client": client, "source": "127.0.0.1"}
        for level, method, name, status, ms, client in (
            ("info", "POST", "do", 200, 250.0, "anna"),
            ("debug", "POST", "do", 200, 250.0, "central"),
            ("debug", "GET", "look", 200, 0.0, None),
            ("debug", "GET", None, 404, 0.0, None),
        )
    ]


async def test_who_hangs_up_has_a_line_without_a_status(site: Served) -> None:
    with capture_logs() as logs:
        asked = asyncio.create_task(site.ask("GET", "/slow", "gone"))
        await site.entered.wait()
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        # What the server had open is cancelled when it ends, at the latest.
        await site.client.close()
    (line,) = (entry for entry in logs if entry["event"] == "http.request")
    assert (line["route"], line["status"]) == ("slow", None)


def taken(order: m.Stop) -> bool:
    """Whether Central reads it as it was said."""
    return msgspec.msgpack.decode(msgspec.msgpack.encode(order), type=m.Stop) == order


@given(entropy=st.binary(min_size=10, max_size=10))
def test_a_made_id_is_one_that_may_be_brought_along_and_that_the_wire_takes(entropy: bytes) -> None:
    made = new_id(lambda size: entropy[:size])
    assert MADE.fullmatch(made)
    assert taken(m.Stop(id=0, trace=made))


@given(issuer=st.text(max_size=80), subject=st.text(min_size=1, max_size=256))
def test_the_wire_takes_the_name_of_every_client(issuer: str, subject: str) -> None:
    """Central closes the channel of a gateway that says anything else, and with it the site's page."""
    for name in (external_name(issuer, subject), *RESERVED):
        assert taken(m.Stop(id=0, by=name))


@given(name=st.from_regex(CLIENT_ID, fullmatch=True))
def test_the_wire_takes_the_name_of_every_client_app(name: str) -> None:
    assert taken(m.Stop(id=0, by=name))
