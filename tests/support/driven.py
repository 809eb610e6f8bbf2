"""Time that a test drives, for tasks that wait: ``sleep`` ends when ``advance`` passes its end."""

from __future__ import annotations

import asyncio
import heapq
from itertools import count

from tests.support.clock import ManualClock

# Turns of the loop in which tasks that wait for nothing outside come to rest.
_TURNS = 50


async def settle() -> None:
    """Let every task go on as far as it can without time passing."""
    for _ in range(_TURNS):
        await asyncio.sleep(0)


class DrivenClock(ManualClock):
    """A clock by hand, and what to pass as ``sleep``."""

    def __init__(self) -> None:
        super().__init__()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = count()

    async def sleep(self, seconds: float) -> None:
        """Until time was moved so far."""
        future = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.monotonic() + seconds, next(self._order), future))
        await future

    async def pass_time(self, seconds: float) -> None:
        """Move time to each sleeper's end in turn, and let it go on there."""
        end_s = self.monotonic() + seconds
        await settle()
        while self._sleepers and self._sleepers[0][0] <= end_s:
            due_s, _, future = heapq.heappop(self._sleepers)
            self.advance(max(0.0, due_s - self.monotonic()))
            if not future.done():
                future.set_result(None)
            await settle()
        self.advance(max(0.0, end_s - self.monotonic()))
        await settle()
