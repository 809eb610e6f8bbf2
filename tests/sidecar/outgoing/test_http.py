"""Outgoing calls end: in time, in bytes, and without a secret in what is said about them."""

from __future__ import annotations

import asyncio
import gzip
import ssl
from collections.abc import AsyncIterator
from socket import AF_INET, socket

import pytest
from aiohttp import ThreadedResolver, web
from aiohttp.abc import ResolveResult
from aiohttp.test_utils import TestServer

from evcharge.sidecar.outgoing.http import FetchFailed, Http
from evcharge.sidecar.outgoing.secrets import LackingSecret, check_url, is_loopback, secret
from tests.support.ports import free_port


@pytest.fixture
async def http() -> AsyncIterator[Http]:
    client = Http(timeout_s=5.0, max_bytes=1_000)
    yield client
    await client.close()


@pytest.fixture
async def base() -> AsyncIterator[str]:
    forever = asyncio.Event()

    async def silent(_request: web.Request) -> web.Response:
        await forever.wait()
        return web.Response()

    async def large(_request: web.Request) -> web.Response:
        return web.Response(body=b"x" * 1_001)

    async def fits(_request: web.Request) -> web.Response:
        return web.Response(body=b"x" * 1_000)

    async def bomb(_request: web.Request) -> web.Response:
        return web.Response(body=gzip.compress(b"0" * 500_000), headers={"Content-Encoding": "gzip"})

    async def elsewhere(_request: web.Request) -> web.Response:
        raise web.HTTPFound("/fits")

    async def busy(request: web.Request) -> web.Response:
        return web.Response(status=429, headers={"Retry-After": request.query["after"]})

    app = web.Application()
    for handler in (silent, large, fits, bomb, elsewhere, busy):
        app.router.add_get(f"/{handler.__name__}", handler)
    async with TestServer(app) as server:
        yield str(server.make_url("")).rstrip("/")
        forever.set()


async def test_a_body_is_read_up_to_its_bound(http: Http, base: str) -> None:
    assert len((await http.get(f"{base}/fits")).body) == 1_000
    with pytest.raises(FetchFailed, match="too large"):
        await http.get(f"{base}/large")


async def test_what_is_compressed_is_not_unpacked(http: Http, base: str) -> None:
    assert (await http.get(f"{base}/bomb")).body.startswith(b"\x1f\x8b")


async def test_a_redirect_is_an_answer_not_a_way(http: Http, base: str) -> None:
    assert (await http.get(f"{base}/elsewhere")).status == 302


@pytest.mark.parametrize(("after", "seconds"), [("7", 7), ("99999", 3_600), ("soon", None), ("-1", None)])
async def test_the_wait_that_a_server_asks_for(http: Http, base: str, after: str, seconds: int | None) -> None:
    assert (await http.get(f"{base}/busy", params={"after": after})).retry_after_s == seconds


async def test_silence_ends(base: str) -> None:
    http = Http(timeout_s=0.05)
    with pytest.raises(FetchFailed, match="in time"):
        await http.get(f"{base}/silent")
    await http.close()


async def test_who_is_to_end_ends_although_the_second_address_answers_in_the_same_turn(
    http: Http, base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client takes what ends its caller for the end of its attempt at the first address."""
    loop = asyncio.get_running_loop()
    connect = loop.sock_connect

    async def resolve(_self: object, host: str, port: int = 0, **_more: object) -> list[ResolveResult]:
        both = ("127.0.0.2", "127.0.0.1")
        return [ResolveResult(hostname=host, host=one, port=port, family=AF_INET, proto=0, flags=0) for one in both]

    async def silent_first(sock: socket, address: tuple[str, int]) -> None:
        if address[0] == "127.0.0.1":
            await connect(sock, address)
            return
        try:
            await asyncio.Event().wait()
        finally:
            asking.cancel()

    monkeypatch.setattr(ThreadedResolver, "resolve", resolve)
    monkeypatch.setattr(loop, "sock_connect", silent_first)
    asking = asyncio.create_task(http.get(base.replace("127.0.0.1", "both.example") + "/fits"))
    await asyncio.wait([asking])
    assert asking.cancelled()


async def test_nobody_there_and_a_certificate_that_is_none(http: Http, base: str) -> None:
    with pytest.raises(FetchFailed, match="reached"):
        await http.get(f"http://127.0.0.1:{free_port()}/?key=secret")
    with pytest.raises(FetchFailed) as caught:
        await http.get(base.replace("http://", "https://") + "/fits?key=secret", tls=ssl.create_default_context())
    assert caught.value.kind in ("certificate", "unreachable")
    assert "secret" not in str(caught.value)


async def test_a_header_that_cannot_be_sent_is_not_quoted(http: Http, base: str) -> None:
    with pytest.raises(FetchFailed) as caught:
        await http.get(f"{base}/fits", headers={"Authorization": "secret\r\nX: y"})
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_secret_is_found_by_the_name_of_its_variable() -> None:
    assert secret({"KEY": " abc\n"}, "KEY") == "abc"
    for content in ("", "  ", "a\nb", "ä", "x" * 5_000):
        with pytest.raises(LackingSecret, match="KEY") as caught:
            secret({"KEY": content}, "KEY")
        assert not content.strip() or content not in str(caught.value)


def test_where_a_secret_may_go() -> None:
    for url in ("https://example.org", "http://127.0.0.1:8080/x", "http://[::1]/", "http://localhost/"):
        check_url(url, secret=True)
    check_url("http://10.0.0.7/status", secret=False)
    for url in ("http://10.0.0.7/", "http://example.org/", "https://u:p@example.org/", "file:///etc/passwd", "x"):
        with pytest.raises(ValueError, match=r"^(is|has|would)"):
            check_url(url, secret=True)
    assert not is_loopback("localhost.example.org")
