"""The whole sidecar with somebody who looks: real tokens, a real drain."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from time import monotonic

import aiohttp
import pytest

from evcharge.sidecar.oauth import concern
from evcharge.sidecar.settings import DRAIN_S
from evcharge.sidecar.web import streaming
from tests.sidecar.live.reading import LIMIT_S, Page
from tests.sidecar.live.test_http import pieces
from tests.sidecar.test_client_commands import run
from tests.sidecar.test_serve import Running, made  # noqa: F401  # a fixture


@pytest.fixture
async def token(made: Path) -> str:  # noqa: F811
    here = ("--data-dir", str(made))
    await asyncio.to_thread(run, "client", "add", "app", *here, "--role", "viewer")
    return (await asyncio.to_thread(run, "client", "token", "app", *here)).stdout.strip()


async def ended(page: Page) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not page.over:
            await page.read()


async def test_a_client_that_was_removed_is_told_nothing_more(
    made: Path,  # noqa: F811
    token: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(concern, "LOOK_S", 0.05)
    monkeypatch.setattr(streaming, "CHECK_S", 0.05)
    head = {"Authorization": f"Bearer {token}"}
    async with Running(made) as sidecar, aiohttp.ClientSession(headers=head) as session:
        async with session.get(f"{sidecar.url}/api/live") as answer:
            page = Page(pieces(answer))
            assert (await page.next("hello"))["link"]["state"] == "disconnected"
            await asyncio.to_thread(run, "client", "remove", "app", "--data-dir", str(made))
            await ended(page)
        async with session.get(f"{sidecar.url}/api/live") as answer:
            assert answer.status == 401


async def test_a_page_that_logs_out_is_told_nothing_more(
    made: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(streaming, "CHECK_S", 0.05)
    added = await asyncio.to_thread(run, "client", "add", "anna", "--data-dir", str(made), "--role", "operator")
    secret = {name: json.loads(added.stdout)[name] for name in ("client_id", "client_secret")}
    # Browsers keep no cookies of addresses unless they are told to; this one is told.
    jar = aiohttp.CookieJar(unsafe=True)
    async with Running(made) as sidecar, aiohttp.ClientSession(cookie_jar=jar) as session:
        async with session.post(f"{sidecar.url}/ui/login", json=secret) as answer:
            csrf = (await answer.json())["csrf"]
        async with session.get(f"{sidecar.url}/api/live") as answer:
            page = Page(pieces(answer))
            await page.next("hello")
            async with session.post(f"{sidecar.url}/ui/logout", headers={"X-CSRF-Token": csrf}) as left:
                assert left.status == 204
            await ended(page)


async def test_a_drain_ends_streams_and_waits_for_none(made: Path, token: str) -> None:  # noqa: F811
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session:
        async with Running(made) as sidecar, session.get(f"{sidecar.url}/api/live") as answer:
            # The first request of all: clients are known from the very start.
            assert answer.status == 200
            page = Page(pieces(answer))
            await page.next("hello")
            began = monotonic()
            await asyncio.gather(sidecar.__aexit__(), ended(page))
        # What a drain waits for answers; a stream is none.
        assert monotonic() - began < DRAIN_S
