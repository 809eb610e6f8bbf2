"""Central's side for charge points: the real protocol, an outbox that applies what is next, commands by hand."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

from protocol import messages as m
from protocol.connection import Connection
from protocol.credentials import Role
from protocol.errors import RefuseCode, RemoteProtocolError
from protocol.events import AuthPresented, Established, Grant, HelloReceived, MessageReceived
from tests.support.wire import CENTRAL, T0_MS


class Link:
    """One connection of a peer."""

    def __init__(self, central: StoreCentral, writer: asyncio.StreamWriter) -> None:
        self.conn = Connection.server(CENTRAL, now=central.now(), entropy=os.urandom)
        self.writer = writer
        self.central = central

    def send(self, message: m.Message) -> None:
        self.conn.send(message, self.central.now())
        self.writer.write(self.conn.data_to_send())


class StoreCentral:
    """Use as ``async with``; listens on a free port of loopback."""

    def __init__(self) -> None:
        self.port = 0
        self.refuse: RefuseCode | None = None
        self.fence = 0
        self.links: list[Link] = []
        self.received: list[m.Message] = []
        self.applied: list[m.OutboxPayload] = []
        self._changed = asyncio.Condition()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> StoreCentral:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_error: object) -> None:
        assert self._server is not None
        self._server.close()
        for link in list(self.links):
            link.writer.transport.abort()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    async def until(self, fact: Callable[[], bool]) -> None:
        """Wait until something that links or messages bring about is true."""
        async with self._changed:
            await self._changed.wait_for(fact)

    def got(self, kind: type[m.Message]) -> list[Any]:
        """Messages of one kind so far."""
        return [message for message in self.received if isinstance(message, kind)]

    def start_session(self, session_id: str) -> None:
        """Authorize and start at once; the vehicle is there."""
        (link,) = (link for link in self.links if link.conn.role is Role.CP)
        clock_ms = link.conn.channel_ms(self.now())
        link.send(m.Authorize(command_id=1, fence=self.fence, session_id=session_id, connector=1))
        link.send(
            m.StartSupply(
                command_id=2,
                fence=self.fence,
                session_id=session_id,
                connector=1,
                limit_w=7_360,
                expires_ms=clock_ms + 3_600_000,
                fallback_w=1_380,
                reason="shared",
                valid_until_ms=clock_ms + 10_000,
            )
        )

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        link = Link(self, writer)
        try:
            while not link.conn.closed and (data := await reader.read(65536)):
                link.conn.receive_data(data, self.now())
                while (event := link.conn.next_event()) is not None:
                    self._handle(link, event)
                    writer.write(link.conn.data_to_send())
                writer.write(link.conn.data_to_send())
                async with self._changed:
                    self._changed.notify_all()
        except (ConnectionError, RemoteProtocolError):
            pass
        finally:
            self._tasks.discard(task)
            if link in self.links:
                self.links.remove(link)
            writer.close()

    def _handle(self, link: Link, event: object) -> None:
        match event:
            case HelloReceived():
                link.conn.reply_hello(T0_MS, self.now())
            case AuthPresented():
                if self.refuse is not None:
                    link.conn.refuse(self.refuse, 0, self.now())
                    return
                self.fence += 1
                grant = Grant(
                    sid=os.urandom(16),
                    secret=os.urandom(32),
                    t0_ms=T0_MS,
                    fence=self.fence,
                    next_n=len(self.applied),
                )
                link.conn.accept(grant, self.now())
            case Established():
                self.links.append(link)
            case MessageReceived():
                self.received.append(event.message)
                if isinstance(event.message, m.Outbox):
                    self._apply(link, event.message)

    def _apply(self, link: Link, message: m.Outbox) -> None:
        assert message.n <= len(self.applied), "a gap"
        if message.n == len(self.applied):
            self.applied.append(message.payload)
        link.send(m.Ack(n=message.n))
