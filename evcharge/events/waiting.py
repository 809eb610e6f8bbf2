"""How the publisher waits: to its end at most, or ``DRAIN_S`` longer for what is written, and never for long without a
word.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine
from typing import Any, TypeVar

from evcharge.events.ports import Kafka
from evcharge.events.troubles import Board, Kind, Trouble

# Kafka that has not answered for so long is a trouble, in seconds, although its answer is still waited for.
TELL_S = 5.0
# How long the transaction of now may take at the end, in seconds; then it is given up, and the next start repeats it.
DRAIN_S = 10.0

T = TypeVar("T")

_SLOW = Trouble(Kind.KAFKA_SLOW, "Kafka takes connections and does not answer in time.")


class Waiting:
    """Waits for facts and for work until ``stop``."""

    def __init__(self, stop: asyncio.Event, kafka: Kafka, board: Board) -> None:
        self._stop = stop
        self._kafka = kafka
        self._board = board

    async def until(self, fact: Awaitable[object], timeout_s: float | None) -> bool:
        """Wait for ``fact``, for so long at most, and not longer than to the end. True: it came."""
        waiting = asyncio.ensure_future(done(fact))
        stopping = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait({waiting, stopping}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            return waiting.done()
        finally:
            await _end(waiting, stopping)

    async def patiently(
        self, work: Coroutine[Any, Any, T], *, writing: bool = False, long: Trouble | None = None
    ) -> T | None:
        """The result of ``work``, of which is told when it takes long; None: the end came, and it took too long.

        At the end only what is ``writing`` has time: anything else has nothing to finish. ``long`` is what is wrong
        where the brokers let this client in, and it takes long all the same.

        Raises:
            Trouble: a topic that is written is gone; the client would wait for it. And what ``work`` raises.
        """
        task = asyncio.ensure_future(work)
        telling = asyncio.ensure_future(self._tell(writing, long or _SLOW))
        stopping = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait({task, telling, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if telling.done() and not task.done():
                telling.result()
                await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if writing and not task.done():
                await asyncio.wait({task}, timeout=DRAIN_S)
            if task.cancelled():
                # Kafka's client cancels its own tasks when it fails. Nobody has cancelled this one.
                raise Trouble(Kind.KAFKA_FAILED, "The client of Kafka gave up what it was asked for.")
            return task.result() if task.done() else None
        finally:
            await _end(task, telling, stopping)

    async def explained(self, trouble: Trouble) -> Trouble:
        """What a look at the brokers says of it: the client does not tell why it could not connect."""
        return await self.patiently(self._kafka.look()) or trouble

    async def _tell(self, writing: bool, long: Trouble) -> None:
        await asyncio.sleep(TELL_S)
        wrong = await self._kafka.look()
        if wrong is None and writing:
            wrong = await self._kafka.unwritable()
            if wrong is not None and wrong.kind is Kind.TOPIC_GONE:
                raise wrong
        self._board.came(wrong or long)


async def done(work: Awaitable[object]) -> bool:
    """Do it; True, so that it can be told from an end that came before."""
    await work
    return True


async def _end(*tasks: asyncio.Future[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
