"""A way to a real broker on which answers to one client are damaged: cut, filled with something else, overwritten."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

# Of one client: the others, the broker itself among them, get their answers as they are.
CLIENT = "damaged-client"
# In front of what an answer says: its length, and the number of the request that it answers.
LENGTH = NUMBER = 4


class Way:
    """From a port of its own to the broker's."""

    def __init__(self, to_port: int) -> None:
        self._to_port = to_port
        self.random = Random(0)
        self.share = 0.0
        """Of the answers: how many are damaged."""
        self.damaged = 0

    @asynccontextmanager
    async def open(self, port: int) -> AsyncIterator[None]:
        """While it is there."""
        async with await asyncio.start_server(self._pass, "127.0.0.1", port):
            yield

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            answers, asks = await asyncio.open_connection("127.0.0.1", self._to_port)
        except OSError:
            writer.close()
            return
        known = asyncio.Event()
        await asyncio.gather(self._there(reader, asks, known), self._back(answers, writer, known))

    async def _there(self, reader: asyncio.StreamReader, asks: asyncio.StreamWriter, known: asyncio.Event) -> None:
        try:
            while some := await reader.read(65_536):
                if CLIENT.encode() in some:
                    known.set()
                asks.write(some)
                await asks.drain()
        except OSError:
            pass
        finally:
            asks.close()

    async def _back(self, answers: asyncio.StreamReader, writer: asyncio.StreamWriter, known: asyncio.Event) -> None:
        try:
            while True:
                length = int.from_bytes(await answers.readexactly(LENGTH), "big")
                answer = bytearray(await answers.readexactly(length))
                if known.is_set() and self.random.random() < self.share:
                    answer = self._damage(answer)
                writer.write(len(answer).to_bytes(LENGTH, "big") + answer)
                await writer.drain()
        except (OSError, EOFError):
            pass
        finally:
            writer.close()

    def _damage(self, answer: bytearray) -> bytearray:
        self.damaged += 1
        said = len(answer) - NUMBER
        match self.random.randrange(6):
            case 0:
                return answer[:NUMBER] + b"\xff" * said
            case 1:
                return answer[:NUMBER] + bytes(said)
            case 2:
                return answer[: self.random.randrange(NUMBER, len(answer))]
            case _:
                for _ in range(3):
                    answer[self.random.randrange(NUMBER, len(answer))] = self.random.randrange(256)
                return answer
