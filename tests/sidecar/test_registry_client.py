"""Registering over HTTP as the commands do, and one sentence for everything that can go wrong."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from evcharge.net.registry_client import MAX_ANSWER, RegistryCallFailed, register
from protocol.credentials import Credential, Role
from tests.sidecar.conftest import Site

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def url_of(site: Site) -> str:
    return str(site.client.make_url("/"))


async def test_the_answer_is_the_credential_as_it_is(site: Site) -> None:
    raw = await register(url_of(site), site.operator + "\n", "driver", "anna", "anna-1")
    credential = Credential.from_json(raw)
    assert (credential.role, credential.entity, credential.username) == (Role.DRIVER, "anna", "anna-1")
    assert Credential.from_json(await register(url_of(site), site.operator, "cp", "CP-1")).username == "cp-cp-1"


@pytest.mark.parametrize(
    ("role", "entity", "says"),
    [("cp", "CP-1", "registered already as cp-cp-1"), ("pilot", "x", "role: is one of"), ("cp", "a b", "entity: is")],
)
async def test_the_registry_s_own_sentence_is_passed_on(site: Site, role: str, entity: str, says: str) -> None:
    await site.register("CP-1")
    with pytest.raises(RegistryCallFailed, match=says):
        await register(url_of(site), site.operator, role, entity)


async def test_a_wrong_token_is_named_and_not_shown(site: Site) -> None:
    for token in ("evo1_wrong", site.service):
        with pytest.raises(RegistryCallFailed, match=r"operator\.token") as caught:
            await register(url_of(site), token, "cp", "CP-1")
        assert token not in str(caught.value) + repr(caught.value.__cause__)
    for token in ("", "two words", "ü", "a\r\nHost: evil"):
        with pytest.raises(RegistryCallFailed, match="no token"):
            await register(url_of(site), token, "cp", "CP-1")


async def test_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(RegistryCallFailed, match="does not answer"):
            await register(f"http://127.0.0.1:{taken.getsockname()[1]}", "t", "cp", "CP-1")


@pytest.mark.parametrize("url", ["", "registry", "ftp://127.0.0.1", "http://", "http://127.0.0.1:99999"])
async def test_a_bad_url(url: str) -> None:
    with pytest.raises(RegistryCallFailed, match="is not a URL"):
        await register(url, "t", "cp", "CP-1")


async def test_plain_http_beyond_this_machine_must_be_asked_for() -> None:
    for url in ("http://192.0.2.1:8080", "http://registry.invalid"):
        with pytest.raises(RegistryCallFailed, match="unencrypted"):
            await register(url, "t", "cp", "CP-1")
    with pytest.raises(RegistryCallFailed, match="does not answer"):
        await register("http://registry.invalid", "t", "cp", "CP-1", plain_http=True)


@pytest.fixture
async def strange() -> AsyncIterator[Callable[[Handler], Awaitable[str]]]:
    """Serves one handler in the registry's place; gives its URL."""
    servers: list[TestServer] = []

    async def start(handler: Handler) -> str:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", handler)
        servers.append(TestServer(app))
        await servers[-1].start_server()
        return str(servers[-1].make_url("/"))

    yield start
    for server in servers:
        await server.close()


async def test_strangers_in_the_registry_s_place(strange: Any) -> None:
    tokens: list[str | None] = []

    async def page(_request: web.Request) -> web.Response:
        return web.Response(text="<html>welcome</html>")

    async def huge(_request: web.Request) -> web.Response:
        return web.Response(status=201, body=b"x" * (MAX_ANSWER + 1))

    async def rude(_request: web.Request) -> web.Response:
        return web.json_response({"detail": "no\x1b[2J" + "o" * 9000}, status=409)

    async def elsewhere(request: web.Request) -> web.Response:
        tokens.append(request.headers.get("Authorization"))
        raise web.HTTPTemporaryRedirect("/again")

    with pytest.raises(RegistryCallFailed, match="no evcharge registry"):
        await register(await strange(page), "t", "cp", "CP-1")
    with pytest.raises(RegistryCallFailed, match="far too large"):
        await register(await strange(huge), "t", "cp", "CP-1")
    with pytest.raises(RegistryCallFailed) as caught:
        await register(await strange(rude), "t", "cp", "CP-1")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) <= 512
    with pytest.raises(RegistryCallFailed, match="answered 307"):
        await register(await strange(elsewhere), "t", "cp", "CP-1")
    assert tokens == ["Bearer t"]
