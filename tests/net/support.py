"""A handler that admits everybody, and helpers to wait for facts."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from evcharge.net.adapter import Adapter
from evcharge.net.client import ChannelInfo, Client
from evcharge.net.server import Server
from evcharge.net.timers import TimerWheel
from protocol import messages as m
from protocol.credentials import Credential, Role
from protocol.errors import CloseCode, RefuseCode, RemoteProtocolError
from protocol.events import AuthPresented, Established, Grant
from tests.support.clock import ManualClock
from tests.support.wire import BOOT_ID, CENTRAL, credential

# How long a fact may take before the test fails, in seconds.
LIMIT_S = 20.0


async def until(fact: Callable[[], object]) -> None:
    """Wait for a fact, turn by turn of the loop."""
    async with asyncio.timeout(LIMIT_S):
        while not fact():
            await asyncio.sleep(0.001)


@dataclass
class End:
    adapter: Adapter
    code: CloseCode | None
    clean: bool
    why: str
    error: RemoteProtocolError | None


class Desk:
    """Central's handler in these tests: admits everybody, answers heartbeats and lists, keeps what came."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.refuse: tuple[RefuseCode, int] | None = None
        self.answer_hello = True
        self.answer_auth = True
        self.auths: list[tuple[Adapter, AuthPresented]] = []
        self.up: list[Adapter] = []
        self.got: list[m.Message] = []
        self.ends: list[End] = []
        self.on_message: Callable[[Adapter, m.Message], None] = self.answer
        self.fence = 0
        self.checkpoint: bytes | None = None

    def hello(self, adapter: Adapter) -> None:
        if self.answer_hello:
            adapter.reply_hello(self.clock.steady_ms())

    def auth(self, adapter: Adapter, event: AuthPresented) -> None:
        self.auths.append((adapter, event))
        if not self.answer_auth:
            return
        if self.refuse is not None:
            adapter.refuse(*self.refuse)
        else:
            self.admit(adapter)

    def admit(self, adapter: Adapter) -> bool:
        self.fence += 1
        return adapter.accept(
            Grant(
                sid=os.urandom(16),
                secret=os.urandom(32),
                t0_ms=self.clock.steady_ms(),
                fence=self.fence,
                next_n=7,
                checkpoint=self.checkpoint,
            )
        )

    def established(self, adapter: Adapter, event: Established) -> None:
        assert adapter.ready
        self.up.append(adapter)

    def message(self, adapter: Adapter, message: m.Message) -> None:
        self.got.append(message)
        self.on_message(adapter, message)

    def answer(self, adapter: Adapter, message: m.Message) -> None:
        if isinstance(message, m.Heartbeat):
            adapter.send(m.Ack(re=message.id, time_ms=self.clock.site_ms()))
        elif isinstance(message, m.List):
            adapter.send(m.Reply(re=message.id, charge_points=[]))

    def closed(
        self, adapter: Adapter, code: CloseCode | None, clean: bool, why: str, error: RemoteProtocolError | None
    ) -> None:
        self.ends.append(End(adapter, code, clean, why, error))


class Ear:
    """A client's listener that keeps what it is told."""

    def __init__(self) -> None:
        self.ups: list[ChannelInfo] = []
        self.downs: list[str] = []
        self.got: list[m.Message] = []

    def channel_up(self, info: ChannelInfo) -> None:
        self.ups.append(info)

    def channel_down(self, why: str) -> None:
        self.downs.append(why)

    def message(self, message: m.Message) -> None:
        self.got.append(message)


class Site:
    """A server and its clients on one manual clock."""

    def __init__(self, **server: Any) -> None:
        self.clock = ManualClock()
        self.timers = self.clock.watch(TimerWheel(self.clock))
        self.desk = Desk(self.clock)
        self.server = self._make(**server)
        self.port = 0
        self.runs: list[asyncio.Task[None]] = []

    def _make(self, **server: Any) -> Server:
        made = Server(CENTRAL, self.desk, clock=self.clock, timers=self.timers, **server)
        self.clock.watch(made.lanes.timers)
        return made

    async def restart(self, **server: Any) -> None:
        """Another server at the same port, after the end of the first."""
        self.server = self._make(**server)
        await self.start()

    async def start(self) -> None:
        ((_, self.port),) = await self.server.start("127.0.0.1", self.port)

    def client(self, who: Credential | None = None, port: int = 0, **settings: Any) -> tuple[Client, Ear]:
        """A running client of Central (or of a link before it)."""
        ear = Ear()
        client = Client(
            who or credential(Role.DRIVER),
            "127.0.0.1",
            port or self.port,
            clock=self.clock,
            listener=ear,
            boot_id=BOOT_ID,
            timers=self.timers,
            **({"rng": lambda: 0.5} | settings),
        )
        self.runs.append(asyncio.create_task(client.run()))
        return client, ear

    async def idle(self, client: Client) -> None:
        """Wait until this client has left Central (or was not let in) and waits for its next attempt."""
        before = self.server.counts.accepted
        await until(lambda: client._visit is None and self.server.counts.open == 0)
        assert self.server.counts.accepted == before

    async def joined(self, **settings: Any) -> tuple[Client, Ear, Adapter]:
        """A client with an open channel, and Central's adapter of it."""
        before = len(self.desk.up)
        client, ear = self.client(**settings)
        await until(lambda: client.connected and len(self.desk.up) > before)
        return client, ear, self.desk.up[-1]

    async def stop(self) -> None:
        for run in self.runs:
            run.cancel()
        await asyncio.gather(*self.runs, return_exceptions=True)
        closing = asyncio.create_task(self.server.close())
        while not closing.done():
            await asyncio.sleep(0.001)
            self.clock.advance(1)
        await closing
        self.timers.close()


@asynccontextmanager
async def a_site(**server: Any) -> AsyncIterator[Site]:
    site = Site(**server)
    await site.start()
    try:
        yield site
    finally:
        await site.stop()
