"""The live picture at work, without HTTP: streams are opened and read as the server does it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from evcharge.net.clock import SystemClock
from evcharge.sidecar.live.hub import Live, LiveQuery
from evcharge.sidecar.live.stream import Stream
from evcharge.sidecar.web.route import Call, Principal
from evcharge.sidecar.web.scopes import ROLES
from tests.sidecar.live.reading import Page
from tests.sidecar.live.site import FakeSite


class Served:
    """The hub over a fake Central."""

    def __init__(self, site: FakeSite, live: Live) -> None:
        self.site, self.live = site, live
        self._open: list[Stream] = []

    async def open(self, role: str = "operator", after: int | None = None, name: str | None = None) -> Page:
        """A page of a client with this role."""
        principal = Principal(name=name or role, scopes=ROLES[role])
        call = Call(principal=principal, source="test", path={}, query=LiveQuery(after=after))
        answer = await self.live.live(call)
        assert isinstance(answer.stream, Stream)
        self._open.append(answer.stream)
        return Page(answer.stream, after)

    async def cut(self, page: Page) -> None:
        """The page's connection breaks."""
        stream = page._pieces
        assert isinstance(stream, Stream)
        await stream.aclose()

    async def close(self) -> None:
        for stream in self._open:
            await stream.aclose()


@asynccontextmanager
async def served(site: FakeSite, **more: Any) -> AsyncIterator[Served]:
    """Runs until the block ends."""
    live = Live(site, clock=SystemClock(), version="1.2.3", **more)
    running = asyncio.create_task(live.run())
    made = Served(site, live)
    try:
        yield made
    finally:
        await made.close()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert running.cancelled(), "the live picture has failed"
