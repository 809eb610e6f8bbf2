"""When to look at a session again: one heap in site time, one timer for its head.

No entry is looked for: the domain's ``wake_ms`` decides anew when one fires, and a stale one does nothing. Where most
of them may be stale they are thrown out together.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable

from evcharge.ids import SessionId
from evcharge.net.clock import Clock

# Longest sleep of the timer, seconds: site time may be frozen or run faster than it did when the timer was set.
_MAX_SLEEP_S = 1.0
# Entries above which stale ones are looked for, and again at twice what was left: a reservation may be given back a
# week before its time, again and again.
_FEW = 1_024


class Deadlines:
    """Calls ``due(session_id)`` at or shortly after each entry's site time; ``alive``: whether anything can be due."""

    def __init__(
        self, clock: Clock, due: Callable[[SessionId], None], alive: Callable[[SessionId], bool] = lambda _: True
    ) -> None:
        self._clock = clock
        self._due = due
        self._alive = alive
        self._heap: list[tuple[int, SessionId]] = []
        self._many = _FEW

    def add(self, at_ms: int, session_id: SessionId) -> None:
        """Wake ``session_id`` at ``at_ms`` site time."""
        heapq.heappush(self._heap, (at_ms, session_id))
        if len(self._heap) > self._many:
            # A sorted list is a heap.
            self._heap = sorted({entry for entry in self._heap if self._alive(entry[1])})
            self._many = max(_FEW, 2 * len(self._heap))

    def fire(self) -> float:
        """Handle what is due; returns the seconds until it is worth calling again."""
        now_ms = self._clock.site_ms()
        while self._heap and self._heap[0][0] <= now_ms:
            _, session_id = heapq.heappop(self._heap)
            self._due(session_id)
        if not self._heap:
            return _MAX_SLEEP_S
        return min(_MAX_SLEEP_S, max(0.01, (self._heap[0][0] - now_ms) / 1000 / self._clock.speed))

    async def run(self) -> None:
        """For ever; the owner cancels it."""
        while True:  # noqa: ASYNC110
            # Site time is not the loop's time, so the loop cannot wait for it: look, sleep, look again.
            await asyncio.sleep(self.fire())
