"""Peers on the real wire that are led by the test: a client, and an inbox in which facts are awaited."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from evcharge.net.client import ChannelInfo, Client, Refusal
from protocol import messages as m
from protocol.credentials import Credential, Role
from protocol.errors import RefuseCode

if TYPE_CHECKING:
    from tests.support.central import Site

# How long a fact may take before the test fails, in seconds.
LIMIT_S = 20.0

M = TypeVar("M", bound=m.Message)


async def until(fact: Callable[[], object]) -> None:
    """Wait for a fact, turn by turn of the loop."""
    async with asyncio.timeout(LIMIT_S):
        while not fact():
            await asyncio.sleep(0.001)


async def turns(count: int = 50) -> None:
    """Let everything that can happen without time happen: what has not come by then was not sent."""
    for _ in range(count):
        await asyncio.sleep(0.0005)


class WirePeer:
    """One peer program: a real client, and an inbox in which facts are awaited."""

    def __init__(self, site: Site, credential: Credential, *, port: int | None = None, **client: Any) -> None:
        self.site = site
        self.credential = credential
        self.inbox: list[m.Message] = []
        self.ups: list[ChannelInfo] = []
        self.downs: list[str] = []
        self._news = asyncio.Event()
        settings = {"boot_id": os.urandom(16), "give_up": True, "rng": lambda: 0.0, "timers": site.timers}
        self.client = Client(
            credential,
            "127.0.0.1",
            port or site.central.port,
            clock=site.clock,
            listener=self,
            **(settings | client),  # type: ignore[arg-type]  # a test's own mixture
        )
        self.run = asyncio.create_task(self.client.run())
        self.run.add_done_callback(lambda _: self._news.set())

    # --- what the client tells ------------------------------------------------------------------------------------

    def channel_up(self, info: ChannelInfo) -> None:
        self.ups.append(info)
        self._news.set()

    def channel_down(self, why: str) -> None:
        self.downs.append(why)
        self._news.set()

    def message(self, message: m.Message) -> None:
        self.inbox.append(message)
        self._news.set()

    # --- what the test does ---------------------------------------------------------------------------------------

    async def _until(self, fact: Callable[[], object]) -> None:
        async with asyncio.timeout(LIMIT_S):
            while not fact():
                self._news.clear()
                await self._news.wait()

    async def up(self, times: int = 1) -> ChannelInfo:
        """Wait until the channel was opened so many times."""
        await self._until(lambda: len(self.ups) >= times or self.run.done())
        if self.run.done():
            await self.run
        return self.ups[times - 1]

    async def down(self, times: int = 1) -> str:
        """Wait until it was lost so many times; why."""
        await self._until(lambda: len(self.downs) >= times)
        return self.downs[times - 1]

    async def refused(self) -> RefuseCode:
        """Wait until Central refuses for good."""
        async with asyncio.timeout(LIMIT_S):
            try:
                await self.run
            except Refusal as refusal:
                return refusal.code
        raise AssertionError("it was not refused")

    async def next(self, kind: type[M], where: Callable[[M], object] = lambda _: True) -> M:
        """The oldest message of this kind that was not taken yet; waits for it."""

        def found() -> M | None:
            return next((msg for msg in self.inbox if isinstance(msg, kind) and where(msg)), None)

        await self._until(found)
        message = found()
        assert message is not None
        self.inbox.remove(message)
        return message

    def got(self, kind: type[M]) -> list[M]:
        """Messages of this kind that were not taken yet."""
        return [message for message in self.inbox if isinstance(message, kind)]

    def send(self, *messages: m.Message) -> None:
        """Say something; the channel has to be open."""
        for message in messages:
            assert self.client.send(message)

    async def ask(self, message: m.Message) -> Any:
        """A request and its answer. Raises RequestRefused."""
        async with asyncio.timeout(LIMIT_S):
            return await self.client.request(message, timeout_s=1e6)

    async def heard(self) -> None:
        """Everything that was sent so far has been handled by Central, and its answers that are durable are here."""
        if self.credential.role in (Role.CP, Role.MONITOR):
            await self.ask(m.Heartbeat())
        else:
            await self.ask(m.List(id=0))

    def cut(self) -> None:
        """The network drops the connection."""
        visit = self.client._visit
        assert visit is not None and visit.adapter is not None and visit.adapter._transport is not None
        visit.adapter._transport.abort()

    async def leave(self) -> None:
        """The program ends in order; or has ended by a refusal."""
        self.run.cancel()
        await asyncio.gather(self.run, return_exceptions=True)


class EnginePeer(WirePeer):
    """An engine with one outbox, which says what the test wants."""

    def __init__(self, site: Site, credential: Credential, *, outbox_epoch: int = 7, **client: Any) -> None:
        super().__init__(site, credential, outbox_epoch=outbox_epoch, **client)
        self.n = 0

    async def boot(self, connectors: int = 1, min_w: int = 1_380, max_w: int = 11_000) -> None:
        """Introduce itself and wait for the answer."""
        ratings = [m.ConnectorInfo(connector=no, min_w=min_w, max_w=max_w) for no in range(1, connectors + 1)]
        await self.ask(m.Boot(connectors=ratings, model="test"))

    def put(self, payload: m.OutboxPayload) -> int:
        """Send the next outbox item, do not wait; its number."""
        n = self.n
        self.n += 1
        self.send(m.Outbox(n=n, payload=payload))
        return n

    async def report(self, payload: m.OutboxPayload) -> None:
        """Send the next outbox item and wait until it is durable."""
        await self.acked(self.put(payload))

    async def acked(self, n: int) -> m.Ack:
        """Wait for the ack of an outbox item."""
        return await self.next(m.Ack, lambda ack: ack.n == n)

    def done(self, order: Any, outcome: str = "done") -> None:
        """Answer an order."""
        self.send(m.Result(command_id=order.command_id, outcome=outcome, fence=order.fence))  # type: ignore[arg-type]

    async def start(self, session_id: str | None = None, *, meter_wh: int = 1_000) -> m.StartSupply:
        """Wait for authorization and start, close the contactor, report it."""
        authorize = await self.next(m.Authorize, lambda order: session_id in (None, order.session_id))
        self.done(authorize)
        start = await self.next(m.StartSupply, lambda order: order.session_id == authorize.session_id)
        self.done(start)
        await self.report(
            m.SupplyStarted(session_id=start.session_id, meter_wh=meter_wh, at_ms=self.site.clock.site_ms())
        )
        return start

    async def end(self, session_id: str, *, meter_wh: int, reason: str = "target_reached") -> None:
        """Open the contactor and report it."""
        ended = m.SupplyEnded(session_id=session_id, meter_wh=meter_wh, reason=reason, at_ms=self.site.clock.site_ms())
        await self.report(ended)
