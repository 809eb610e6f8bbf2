"""What is sent before there is a request: floods, nonsense and silence get one problem, or the end of the line."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest
from aiohttp import web
from structlog.testing import capture_logs

from evcharge.sidecar.web import server as module
from evcharge.sidecar.web.api import Api
from evcharge.sidecar.web.problem import MEDIA_TYPE
from evcharge.sidecar.web.route import Answer, Call, Handler, Limit, Principal, Route
from evcharge.sidecar.web.server import FIELD_BYTES, FIELDS, Runner
from tests.sidecar.conftest import HandClock


class Said(msgspec.Struct):
    text: str


class Nobody:
    """A door through which nobody known comes."""

    async def principal(self, authorization: str | None, source: str) -> Principal | None:
        return None


@pytest.fixture
async def port() -> AsyncIterator[int]:
    app = web.Application()
    app.router.add_get("/", lambda _request: web.Response(text="here"))
    runner = Runner(app, drain_s=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield runner.addresses[0][1]
    await runner.cleanup()


async def send(port: int, data: bytes) -> tuple[bytes, dict[str, str], bytes]:
    """Status line, headers and body of what comes back until the other side closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    answer = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    return status, dict(line.decode().split(": ", 1) for line in lines), body


HEAD = b"GET / HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(
    "data",
    [
        HEAD + b"Authorization: Bearer " + b"secret" * FIELD_BYTES + b"\r\n\r\n",
        HEAD + b"".join(b"X-%d: secret\r\n" % number for number in range(10 * FIELDS)) + b"\r\n",
        b"GET /" + b"secret" * 9_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"secret\r\n\r\n",
        b"\x16\x03\x01\x02\x00secret\r\n\r\n",
        HEAD + b"Content-Length: -1\r\n\r\n",
        HEAD + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        HEAD + b"secret no colon\r\n\r\n",
    ],
    ids=["long field", "many fields", "long line", "no HTTP", "TLS", "length", "smuggling", "no colon"],
)
async def test_what_cannot_be_read_is_one_problem_that_quotes_nothing(port: int, data: bytes) -> None:
    with capture_logs() as logs:
        status, headers, body = await send(port, data)
    assert status.split()[1] == b"400"
    assert headers["Content-Type"].startswith(MEDIA_TYPE)
    assert headers["Server"] == "evcharge"
    assert json.loads(body)["code"] == "unreadable"
    assert json.loads(body)["request_id"] == headers["X-Request-ID"] == logs[0]["request_id"]
    assert "secret" not in (body.decode() + repr(logs))
    assert [entry["event"] for entry in logs] == ["http.unreadable"]


# Time for a request's head here, in seconds: longer than a busy machine takes from a connection to its first bytes.
SHORT_HEAD_S = 0.5


async def test_who_sends_no_request_is_given_up(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEAD_S", SHORT_HEAD_S)
    status, *_ = await send(port, HEAD)
    assert status == b""


async def test_who_has_sent_one_is_not(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    over = asyncio.Event()
    give_up = module.Connection._give_up

    def looked(connection: module.Connection, transport: asyncio.BaseTransport) -> None:
        give_up(connection, transport)
        over.set()

    monkeypatch.setattr(module, "HEAD_S", SHORT_HEAD_S)
    monkeypatch.setattr(module.Connection, "_give_up", looked)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(2):
        writer.write(HEAD + b"\r\n")
        assert (await reader.readuntil(b"here")).startswith(b"HTTP/1.1 200")
        await asyncio.wait_for(over.wait(), 20)
    writer.close()


async def test_who_only_holds_a_place_loses_it_to_the_next(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONNECTIONS", 3)
    kept: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    for _ in range(5):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HEAD + b"\r\n")
        assert (await reader.readuntil(b"here")).startswith(b"HTTP/1.1 200"), "the newest always gets in"
        kept.append((reader, writer))
    for reader, _ in kept[:2]:
        assert await asyncio.wait_for(reader.read(), 10) == b"", "the longest silent ones were closed"
    for reader, writer in kept[2:]:
        writer.write(HEAD + b"\r\n")
        assert (await reader.readuntil(b"here")).startswith(b"HTTP/1.1 200")
        writer.close()


def posting() -> Route:
    return Route(
        method="POST",
        path="/x",
        name="x",
        tag="t",
        summary="s",
        scope=None,
        body=Said,
        answers={200: None},
        limit=Limit("wide", 1_000),
    )


@asynccontextmanager
async def serving(handle: Handler) -> AsyncIterator[int]:
    """One route that takes a body; its port."""
    api = Api([posting()], {"x": handle}, door=Nobody(), clock=HandClock())
    runner = Runner(api.application(), drain_s=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield runner.addresses[0][1]
    await runner.cleanup()


POST = b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n"


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "gzip, gzip", "nonsense"])
async def test_a_compressed_body_is_never_unpacked(encoding: str) -> None:
    async def handle(_call: Call) -> Answer:
        raise AssertionError("it was read")

    bomb = zlib.compress(b"0" * 10_000_000)
    head = f"Content-Encoding: {encoding}\r\nContent-Length: {len(bomb)}\r\n\r\n".encode()
    async with serving(handle) as port:
        status, headers, _ = await send(port, POST + head + bomb)
    assert status.split()[1] == b"415"
    assert headers["Content-Type"].startswith(MEDIA_TYPE)


async def test_who_expects_to_be_told_to_go_on_is_and_nothing_else_is_expected() -> None:
    async def handle(call: Call) -> Answer:
        return Answer(body={"text": call.body.text})

    body = b'{"text": "here"}'
    length = f"Content-Length: {len(body)}\r\n\r\n".encode()
    async with serving(handle) as port:
        status, _, rest = await send(port, POST + b"Expect: 100-continue\r\n" + length + body)
        assert status.split()[1] == b"100"
        assert b" 200 OK" in rest and b"here" in rest
        status, headers, rest = await send(port, POST + b"Expect: secret\r\n" + length + body)
    assert status.split()[1] == b"417"
    assert headers["Content-Type"].startswith(MEDIA_TYPE)
    assert b"secret" not in rest
