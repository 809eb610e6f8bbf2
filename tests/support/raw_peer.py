"""A peer that is led frame by frame: it stops in the middle of a handshake, or says what no client would say."""

from __future__ import annotations

import asyncio
import os

from protocol.connection import Connection
from protocol.credentials import Credential
from protocol.errors import RefuseCode, RemoteProtocolError
from protocol.events import ChannelClosed, Established, Event, MessageReceived, RefusedByCentral
from protocol.messages import Message
from tests.support.central import Site
from tests.support.wire_peers import LIMIT_S


class RawPeer:
    """One connection to Central."""

    def __init__(self, site: Site, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.site = site
        self.reader = reader
        self.writer = writer
        self.conn: Connection
        self.held = b""

    @classmethod
    async def at(cls, site: Site, credential: Credential | None = None, *, offered: tuple[int, ...] = (1,)) -> RawPeer:
        """A TCP connection; with a credential a HELLO is ready to go."""
        peer = cls(site, *await asyncio.open_connection("127.0.0.1", site.central.port))
        if credential is not None:
            now = site.clock.monotonic()
            peer.conn = Connection.client(
                credential, boot_id=os.urandom(16), conn_no=1, now=now, entropy=os.urandom, offered=offered
            )
            peer.held = peer.conn.data_to_send()
        return peer

    async def write(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def send_held(self) -> None:
        """Send the next frame of the handshake."""
        held, self.held = self.held, b""
        await self.write(held)

    async def step(self) -> Event | None:
        """Take one frame of Central; what it made ready to send is held. Raises RemoteProtocolError."""
        async with asyncio.timeout(LIMIT_S):
            head = await self.reader.readexactly(4)
            body = await self.reader.readexactly(int.from_bytes(head, "big"))
        self.conn.receive_data(head + body, self.site.clock.monotonic())
        try:
            event = self.conn.next_event()
        finally:
            self.held += self.conn.data_to_send()
        return event

    async def up_to_auth(self) -> None:
        """HELLO is answered; AUTH is held."""
        await self.send_held()
        await self.step()

    async def up_to_session(self) -> None:
        """Central has admitted it; READY is held."""
        await self.up_to_auth()
        await self.send_held()
        event = await self.step()
        assert event is None, event

    async def say_ready(self) -> None:
        """The last frame of the handshake."""
        await self.send_held()

    async def open(self) -> None:
        """Through the whole handshake."""
        await self.up_to_session()
        await self.say_ready()
        assert isinstance(await self.step(), Established)

    async def said(self) -> list[Message]:
        """The messages that are here, without waiting for more; not for use with ``step`` afterwards."""
        messages: list[Message] = []
        try:
            async with asyncio.timeout(0.05):
                while True:
                    event = await self.step()
                    if isinstance(event, MessageReceived):
                        messages.append(event.message)
        except TimeoutError:
            return messages

    async def closed(self) -> str:
        """What Central says at the end: the name of a CLOSE or REFUSE code, of an error; empty: just the end."""
        try:
            while True:
                event = await self.step()
                if isinstance(event, ChannelClosed):
                    return "" if event.code is None else event.code.name
                if isinstance(event, RefusedByCentral):
                    return event.code.name
        except RemoteProtocolError as error:
            return type(error).__name__
        except (asyncio.IncompleteReadError, ConnectionError):
            return ""

    async def end(self) -> bytes:
        """All that Central writes until it ends the connection."""
        async with asyncio.timeout(LIMIT_S):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""

    def leave(self) -> None:
        """Close the TCP connection without a word."""
        self.writer.close()

    def vanish(self) -> None:
        """Reset it."""
        self.writer.transport.abort()


async def verdict(site: Site, credential: Credential) -> RefuseCode | None:
    """What Central says to this credential; None: it is let in."""
    peer = await RawPeer.at(site, credential)
    await peer.up_to_auth()
    await peer.send_held()
    event = await peer.step()
    peer.leave()
    return event.code if isinstance(event, RefusedByCentral) else None
