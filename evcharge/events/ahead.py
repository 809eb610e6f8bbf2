"""What was read from Central and is not committed yet: bounded, so that a slow broker costs no memory."""

from __future__ import annotations

import asyncio
from collections import deque

from evcharge.events.message import Message
from evcharge.events.parcels import MOST_AHEAD, MOST_BYTES, MOST_RECORDS, next_transaction


class Ahead:
    """One who reads puts, one who publishes takes; both on one loop."""

    def __init__(self, most_bytes: int = MOST_AHEAD) -> None:
        self.size = 0
        """Bytes."""
        self._most = most_bytes
        self._messages: deque[Message] = deque()
        self._room = asyncio.Event()
        self._room.set()
        self._some = asyncio.Event()
        self._much = asyncio.Event()
        self._failed: BaseException | None = None

    def __len__(self) -> int:
        """Messages."""
        return len(self._messages)

    async def put(self, messages: list[Message]) -> None:
        """Add them; waits until what is there already is less than the limit."""
        await self._room.wait()
        self._messages.extend(messages)
        self.size += sum(message.size for message in messages)
        self._look()

    def ended(self, reading: asyncio.Task[None]) -> None:
        """Who puts has ended, so nothing more will come; why is raised behind the last message."""
        if not reading.cancelled():
            self._failed = reading.exception() or RuntimeError("the log was read to an end, which it has not")
            self._look()

    async def some(self) -> None:
        """Return when there is something, or nothing more will come."""
        await self._some.wait()

    async def much(self) -> None:
        """Return when there is enough for a transaction, or nothing more will come."""
        await self._much.wait()

    def take(self) -> list[Message]:
        """Those of the next transaction, the oldest first. Raises what ended their source once all are taken."""
        if not self._messages and self._failed is not None:
            raise self._failed
        taken = [self._messages.popleft() for _ in range(next_transaction(self._messages))]
        self.size -= sum(message.size for message in taken)
        self._look()
        return taken

    def _look(self) -> None:
        over = self._failed is not None
        _tell(self._room, self.size < self._most)
        _tell(self._some, bool(self._messages) or over)
        _tell(self._much, len(self._messages) >= MOST_RECORDS or self.size >= MOST_BYTES or over)


def _tell(event: asyncio.Event, true: bool) -> None:
    if true:
        event.set()
    else:
        event.clear()
