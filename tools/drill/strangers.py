"""Strangers at Central's door: they say nothing, hold their HELLO, or send what nobody understands."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Sequence
from typing import Any, Final

from protocol.connection import Connection
from protocol.credentials import Credential, Role, encode_password
from tools.drill.crowd_types import Line

# Pause of a stranger between two connections, seconds: it comes back at once, but it does not spin.
PAUSE_S = 0.05
# HELLOs that are made ahead and used in turn: each costs the stranger more than it costs Central to read.
HELLOS = 512
# A byte a second is what the slow ones send.
DRIP_S = 1.0
# Garbage: a length far beyond the limit, HTTP, a frame of an unknown type, random bytes, and one byte at a time.
_GARBAGE: Final = (
    b"\x7f\xff\xff\xff",
    b"GET / HTTP/1.1\r\nHost: central\r\n\r\n",
    b"\x00\x00\x00\x05\x42what",
    b"",
    b"drip",
)


class Stranger(asyncio.Protocol):
    """One connection of a stranger."""

    def __init__(self, crowd: Crowd, gone: asyncio.Future[None]) -> None:
        self._crowd = crowd
        self._gone = gone
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # create_connection gives a full transport
        self._crowd.connections += 1
        data = self._crowd.words()
        if data == b"drip":
            self._drip()
        elif data:
            self.transport.write(data)

    def data_received(self, _data: bytes) -> None:
        self._crowd.answers += 1

    def connection_lost(self, _exc: Exception | None) -> None:
        if not self._gone.done():
            self._gone.set_result(None)

    def _drip(self) -> None:
        if not self.transport.is_closing():
            self.transport.write(b"\0")
            asyncio.get_running_loop().call_later(DRIP_S, self._drip)


class Crowd:
    """``count`` strangers from ``sources``; each comes again as soon as it is dropped."""

    def __init__(
        self,
        place: tuple[str, int],
        kind: str,
        count: int,
        sources: Sequence[str],
        central_key: bytes,
        rng: random.Random,
    ) -> None:
        self._place = place
        self._kind = kind
        self._count = count
        self._sources = sources
        self._rng = rng
        self._hellos = [_hello(central_key) for _ in range(HELLOS)] if kind == "holders" else []
        self._tasks: list[asyncio.Task[None]] = []
        self.connections = 0
        self.answers = 0
        self.open = 0

    def words(self) -> bytes:
        """What a new connection says first."""
        if self._kind == "holders":
            return self._rng.choice(self._hellos)
        if self._kind == "garbage":
            return self._rng.choice(_GARBAGE) or self._rng.randbytes(200)
        return b""

    async def act(self, go: Line) -> dict[str, Any]:
        """``come``: all of them, from now on. ``count``: how many connections so far, and how many are open."""
        if go.do == "come":
            self._tasks = [
                asyncio.create_task(self._one(self._sources[number % len(self._sources)]))
                for number in range(self._count)
            ]
            await asyncio.sleep(go.seconds)
        return {"connections": self.connections, "answers": self.answers, "open": self.open}

    async def _one(self, source: str) -> None:
        loop = asyncio.get_running_loop()
        while True:
            gone = loop.create_future()
            try:
                await loop.create_connection(lambda: Stranger(self, gone), *self._place, local_addr=(source, 0))  # noqa: B023
            except OSError:
                await asyncio.sleep(PAUSE_S)
                continue
            self.open += 1
            await gone
            self.open -= 1
            await asyncio.sleep(PAUSE_S)


def _hello(central_key: bytes) -> bytes:
    """A valid HELLO of somebody whom no registry knows."""
    nobody = Credential(
        username="nobody",
        password=encode_password(os.urandom(32)),
        role=Role.DRIVER,
        entity="nobody",
        epoch=1,
        central_public_key=central_key,
    )
    conn = Connection.client(nobody, boot_id=os.urandom(16), conn_no=1, now=0.0, entropy=os.urandom)
    return conn.data_to_send()


def addresses(count: int, second: int) -> list[str]:
    """So many addresses of 127.0.0.0/8, beginning with 127.``second``."""
    return [f"127.{second}.{number // 250}.{1 + number % 250}" for number in range(count)]
