"""The live picture before a real Central: what its records and answers are made of is Central's, not a test's."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from evcharge.net import tail
from evcharge.net.client import Client
from evcharge.net.link import CentralLink
from evcharge.sidecar.live import asking, hub, stream, watch
from evcharge.sidecar.live.chain import Chain
from protocol import messages as m
from protocol.credentials import Role
from tests.central.conftest import quick  # noqa: F401  # a Central that does not wait
from tests.sidecar.live.reading import LIMIT_S, Page
from tests.sidecar.live.served import Served, served
from tests.support.central import Site, until

CP, DRIVER = "CP-1", "anna-0001"


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (watch, hub):
        monkeypatch.setattr(module, "LOOK_S", 0.1)
        monkeypatch.setattr(module, "LEAST_S", 0.02)
    monkeypatch.setattr(tail, "RETRY_S", 0.05)
    # The test looks at its clock that often.
    monkeypatch.setattr(stream, "KEEP_ALIVE_S", 0.05)


@asynccontextmanager
async def looked_at(directory: Path, **settings: Any) -> AsyncIterator[tuple[Site, CentralLink, Served]]:
    """A Central, the sidecar's link to it, and the picture."""
    async with Site(directory, **settings) as site:
        link = CentralLink(
            site.credential(Role.GATEWAY, "gateway"),
            "127.0.0.1",
            site.central.port,
            clock=site.clock,
            entropy=os.urandom,
            make_client=partial(Client, timers=site.timers, rng=lambda: 0.0),
        )
        running = asyncio.create_task(link.run())
        try:
            await until(lambda: link.state == "connected")
            async with served(link) as live:  # type: ignore[arg-type]  # a link is a link
                yield site, link, live
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def record(page: Page, kind: str) -> Any:
    """The first record of this kind."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            for said in page.all("record"):
                if said["kind"] == kind:
                    return said
            await page.read()


async def connector(page: Page, state: str) -> Any:
    """The connector once its charge point is told to be in this state."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            for name in ("points", "picture"):
                for said in page.all(name):
                    for row in said["rows" if name == "points" else "charge_points"]:
                        if row["state"] == state:
                            return row["connectors"][0]
            await page.read()


async def test_a_charge_is_seen_from_its_request_to_its_ticket(tmp_path: Path) -> None:
    async with looked_at(tmp_path) as (site, _, live):
        operator, viewer = await live.open(), await live.open("viewer")
        await site.monitor(CP)
        engine, _, session_id = await site.charging(CP, DRIVER)
        for page, name in ((operator, DRIVER), (viewer, "*0001")):
            said = await record(page, "charge_authorized")
            assert (said["session_id"], said["cp_id"], said["driver_id"]) == (session_id, CP, name)
            assert (await connector(page, "SUPPLYING"))["driver"] == name
        seen = await connector(operator, "SUPPLYING")
        assert seen["session_id"] == session_id
        await engine.leave()
        assert (await record(viewer, "peer_disconnected"))["cp_id"] == CP
        await connector(viewer, "DISCONNECTED")
        assert operator.seqs == list(range(operator.seqs[0], operator.seqs[0] + len(operator.seqs)))
        assert DRIVER.encode() not in viewer.raw


async def test_all_that_the_picture_asks_for_is_answered(tmp_path: Path) -> None:
    async with looked_at(tmp_path) as (site, link, live):
        await site.engine(CP)
        page = await live.open()
        picture = await page.next("picture")
        assert [name for name in ("substations", *asking.PARTS, "incidents", "chain") if picture[name] is None] == []
        assert picture["substations"][0]["fallback_w"] == 0
        await link.ask(m.WeatherAlert(id=0, kind="cold", active=True, cp_id=CP))
        async with asyncio.timeout(LIMIT_S):
            while not any(said.get("alerts") for said in page.all("site")):
                await page.read()


async def test_the_chain_is_read_and_agrees_with_what_central_signs(tmp_path: Path) -> None:
    async with looked_at(tmp_path) as (site, link, _):
        await site.engine(CP)
        chain = Chain()
        async with asyncio.timeout(LIMIT_S):
            async for batch in tail.follow(link, 0, "test"):
                for one in batch.records:
                    chain.add(one)
                asked_at = chain.size
                state = await asking.state(link)
                verdict = chain.judge(state.checkpoint, newest_seq=state.newest_seq, asked_at=asked_at)
                assert verdict.ok is not False, verdict
                if verdict.ok:
                    break
                # Another record, so that there is something to sign.
                await link.ask(m.Stop(id=0, cp_id=CP))
        assert chain.verdict.seq >= 1


async def test_central_restarts_and_nothing_is_missed(tmp_path: Path) -> None:
    async with looked_at(tmp_path) as (site, _, live):
        await site.monitor(CP)
        await site.engine(CP)
        page = await live.open()
        await connector(page, "ACTIVATED")
        await site.restart()
        async with asyncio.timeout(LIMIT_S):
            while [said["state"] for said in page.all("link")] != ["disconnected", "connected"]:
                await page.read()
                site.clock.advance(0.5)
        await page.next("picture")
        async with asyncio.timeout(LIMIT_S):
            while sum(said["kind"] == "central_started" for said in page.all("record")) < 2:
                await page.read()
        assert page.seqs == list(range(1, page.seqs[-1] + 1))
