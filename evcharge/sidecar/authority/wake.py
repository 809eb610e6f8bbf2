"""A bell that a loop waits for: it is rung when there is work, and rings by itself after a time if that is wanted."""

from __future__ import annotations

import asyncio


class Wake:
    """Rung while nobody waits, it is heard by the next who does."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """There is something to do."""
        self._rung.set()

    async def wait(self, seconds: float | None = None) -> None:
        """Until it rings, or ``seconds`` have passed."""
        try:
            async with asyncio.timeout(seconds):
                await self._rung.wait()
        except TimeoutError:
            return
        self._rung.clear()
